"""State dicts from files, and how they fit a network."""

import hashlib
import pickle
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LEAST = 0.9
"""The part of a network's tensors that must fit, at least, for weights to be those of this network."""
COUNTERS = "num_batches_tracked"
"""Tensors of this name are no weights: batch norm counts in them, and files of other programs lack them."""


@dataclass(frozen=True)
class Fit:
    """How weights fit a network."""

    fitted: int
    of: int
    """The network's tensors."""
    unfit: tuple[str, ...]
    """A text for each of them that does not fit."""
    unused: tuple[str, ...]
    """Names of what the network has no place for."""

    def __str__(self) -> str:
        text = f"{self.fitted} of {self.of} tensors fit"
        text += f"; not {_some(self.unfit)}" if self.unfit else ""
        return text + (f"; left over are {_some(self.unused)}" if self.unused else "")


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of safetensors, or in one of PyTorch's that holds nothing but tensors and plain values;
    where it is a training's checkpoint, the first mapping of tensors in it.

    Raises ValueError where there is none, and for a file that would run code.
    """
    content: Any
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            content = load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is no whole file of safetensors ({_line(error)}).") from None
    else:
        try:
            with open(path, "rb") as file:
                content = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{path} holds more than weights, or is damaged, and is not read, as it could run code "
                f"({_line(error)}); save the state dict alone, best as .safetensors."
            ) from None
        except Exception as error:  # of the file's format: such as RuntimeError, EOFError, KeyError, UnicodeDecodeError
            raise ValueError(f"{path} is no whole file of PyTorch's weights ({_line(error)}).") from None
    state = _state_dict(content)
    if state is None:
        raise ValueError(f"{path} holds no weights by name; it must be a state dict.")
    return state


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]


def _state_dict(content: Any) -> dict[str, Tensor] | None:
    """The first mapping, in the content or in mappings in it, whose values are mostly tensors by name."""
    if not isinstance(content, Mapping):
        return None
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor) and isinstance(name, str)}
    if tensors and 2 * len(tensors) >= len(content):
        return tensors
    found = (_state_dict(value) for value in content.values())
    return next((state for state in found if state is not None), None)


@torch.no_grad()
def load(network: nn.Module, state: Mapping[str, Tensor], *, least: float = LEAST) -> Fit:
    """Copy the weights into the network as far as they fit, and leave the rest of it as it is.

    Names may have a prefix that the network's lack, such as `module.encoder_q.`, or lack one: it is found by where most
    names agree. Raises ValueError where less than the part `least` of the network's tensors fits, and where what fits
    is not finite.
    """
    own = {name: tensor for name, tensor in network.state_dict(keep_vars=True).items() if not name.endswith(COUNTERS)}
    named = _named_as(own, state)
    fitting, unfit = {}, []
    for name, tensor in own.items():
        if (there := named.get(name)) is None:
            unfit.append(f"{name}, which is not there")
        elif there.shape != tensor.shape:
            unfit.append(f"{name}, which is {list(there.shape)} there and {list(tensor.shape)} here")
        else:
            fitting[name] = there
    unused = tuple(name for name in named if name not in own and not name.endswith(COUNTERS))
    fit = Fit(len(fitting), len(own), tuple(unfit), unused)
    if not own or not fitting or len(fitting) < least * len(own):
        raise ValueError(f"These are weights of another network: {fit}.")
    if wrong := [name for name, tensor in fitting.items() if not bool(torch.isfinite(tensor.float()).all())]:
        raise ValueError(f"Its weights are not finite: {_some(tuple(wrong))}.")
    for name, tensor in fitting.items():
        own[name].copy_(tensor)
    return fit


def _named_as(own: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by names with one prefix taken off, and another put on, so that most are names of `own`."""
    if own.keys() <= state.keys():
        return dict(state)
    ends: dict[str, list[str]] = {}
    for name in own:
        ends.setdefault(name.rpartition(".")[2], []).append(name)
    votes: Counter[tuple[str, str]] = Counter()
    for name in state:
        for mine in ends.get(name.rpartition(".")[2], ()):
            votes[_before_common_end(name, mine)] += 1
    (off, on), _ = max(votes.items(), key=lambda vote: vote[1], default=(("", ""), 0))
    return {on + name.removeprefix(off): tensor for name, tensor in state.items() if name.startswith(off)}


def _before_common_end(one: str, other: str) -> tuple[str, str]:
    """What is left of two dotted names without the parts at their ends that are the same."""
    first, second = one.split("."), other.split(".")
    while first and second and first[-1] == second[-1]:
        first.pop()
        second.pop()
    return ".".join([*first, ""]), ".".join([*second, ""])


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """12 hexadecimal digits of the SHA-256 of names, kinds, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]
