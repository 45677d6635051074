"""Arithmetic on lists of tensors, as PyTorch's `_foreach_` functions do it."""

from collections.abc import Sequence

import torch
from torch import Tensor


def each(factor: Tensor, tensors: Sequence[Tensor]) -> Tensor | list[Tensor]:
    """A factor [] of all `tensors`, as `torch._foreach_mul` takes it: one tensor runs as one kernel, but a compiler can
    trace only a list, of which it makes one kernel itself."""
    return [factor] * len(tensors) if torch.compiler.is_compiling() else factor
