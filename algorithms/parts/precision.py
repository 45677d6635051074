"""Which numbers have how many digits: networks in bfloat16 where the device computes in it, losses in float32."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware. Elsewhere it is emulated, and slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    can: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of PyTorch do not tell
    return device.type == "cpu" and bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def device_name(device: torch.device) -> str:
    """What a reader of a result should know of the device: "NVIDIA H200 in bfloat16", "CPU in float32"."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return f"{name} in {'bfloat16' if computes_bfloat16(device) else 'float32'}"


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` outside autocast, its half-precision tensors raised to float32.

    exp(1 / 0.05) overflows float16, and bfloat16 keeps too few digits for softmax over thousands of entries.
    """

    @functools.wraps(function)
    def wrapped(*arguments: P.args, **keywords: P.kwargs) -> R:
        def raised(value: Any) -> Any:
            half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
            return value.float() if half else value

        device = next(value.device.type for value in arguments if isinstance(value, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*map(raised, arguments), **{name: raised(value) for name, value in keywords.items()})

    return wrapped
