"""Arithmetic on lists of tensors, as PyTorch's `_foreach_` functions do it."""

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...] | list[Tensor]


def each(factor: Tensor, tensors: Tensors) -> Tensor | list[Tensor]:
    """A factor [] of all `tensors`, as `torch._foreach_mul` takes it: one tensor runs as one kernel, but a compiler can
    trace only a list, of which it makes one kernel itself."""
    return [factor] * len(tensors) if torch.compiler.is_compiling() else factor
