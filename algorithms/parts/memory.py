"""What a method remembers from step to step: an average of its weights, a queue of keys, a bank of all images."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algorithms.parts.foreach import each


def averaged_copy(module: nn.Module) -> nn.Module:
    """A copy of `module` to hold an exponential moving average of its weights: the same values, no gradients."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, online: nn.Module, momentum: Tensor) -> None:
    """average <- momentum * average + (1 - momentum) * online, parameters only.

    The average keeps batch statistics of its own: it runs in train mode and is never evaluated.
    """
    averages: list[Tensor] = list(average.parameters())
    values: list[Tensor] = [value.detach() for value in online.parameters()]
    change = torch._foreach_sub(values, averages)
    torch._foreach_mul_(change, each(1 - momentum, change))
    torch._foreach_add_(averages, change)


def fitting_length(length: int, *, batch_size: int, images: int) -> int:
    """The length of a queue where `length` is asked for: a multiple of `batch_size`, and at most as many as there are
    `images` (though one batch at least): a longer queue would hold most images twice."""
    return max(min(length, images) // batch_size, 1) * batch_size


class Queue(nn.Module):
    """The last `length` keys of `width` numbers, normalised; random directions at first (MoCo, section 3.2). `images`
    int64 [length] are the places of their images in the training set, where known, else -1."""

    keys: Tensor
    images: Tensor
    pointer: Tensor

    def __init__(self, length: int, width: int):
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(length, width), dim=1))
        self.register_buffer("images", torch.full((length,), -1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    def contents(self) -> Tensor:
        """A copy [length, width], which a later `append` does not change under the backward pass."""
        return self.keys.clone()

    @torch.no_grad()
    def append(self, keys: Tensor, index: Tensor | None = None) -> None:
        """Replace the oldest keys by `keys` [B, width], of the images at `index` [B]. B must divide the length."""
        place = (self.pointer + torch.arange(len(keys), device=keys.device)) % len(self.keys)
        self.keys.index_copy_(0, place, F.normalize(keys.detach().to(self.keys.dtype), dim=1))
        if index is not None:
            self.images.index_copy_(0, place, index)
        self.pointer.copy_((self.pointer + len(keys)) % len(self.keys))


class MemoryBank(nn.Module):
    """One normalised vector for each training image, a moving average of its embeddings (PIRL, section 3.2)."""

    vectors: Tensor

    def __init__(self, images: int, width: int):
        super().__init__()
        self.register_buffer("vectors", F.normalize(torch.randn(images, width), dim=1))

    def __getitem__(self, index: Tensor) -> Tensor:
        """The vectors [..., width] of the images at `index`."""
        return self.vectors[index]

    @torch.no_grad()
    def update(self, index: Tensor, embeddings: Tensor, momentum: Tensor | float) -> None:
        """Move the vectors at `index` [B] towards `embeddings` [B, width] and normalise them again."""
        new = F.normalize(embeddings.detach().to(self.vectors.dtype), dim=1)
        mixed = momentum * self.vectors[index] + (1 - momentum) * new
        self.vectors.index_copy_(0, index, F.normalize(mixed, dim=1))
