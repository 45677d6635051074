"""Makes a worker's process like one that has run no trial yet. What was not imported has nothing to be put back."""

import gc
import random
import sys
from collections.abc import Callable
from typing import Any

_pristine: dict[str, Any] = {}


def _process_settings() -> dict[str, tuple[Any, Callable[[Any], object]]]:
    """Those of PyTorch that a trial might change: name -> (its value, how to set it)."""
    torch = sys.modules["torch"]
    backends = torch.backends
    return {
        "dtype": (torch.get_default_dtype(), torch.set_default_dtype),
        "threads": (torch.get_num_threads(), torch.set_num_threads),
        "grad": (torch.is_grad_enabled(), torch.set_grad_enabled),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.use_deterministic_algorithms),
        "precision": (torch.get_float32_matmul_precision(), torch.set_float32_matmul_precision),
        "benchmark": (backends.cudnn.benchmark, lambda value: setattr(backends.cudnn, "benchmark", value)),
    }


def clean_process(seed: int) -> None:
    """Make this process like one that has run no trial yet: memory, process-wide settings, random generators."""
    torch = sys.modules.get("torch")
    if torch is not None:
        for name, (value, put) in _process_settings().items():
            if _pristine.setdefault(name, value) != value:
                put(_pristine[name])
    gc.collect()
    random.seed(seed)
    if torch is not None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        torch.manual_seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
