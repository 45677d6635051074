"""Where images are kept, and how a batch of them comes to the device that trains."""

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor


class ImageStore(Protocol):
    """Square images that trainings and evaluations read by their places."""

    @property
    def image_size(self) -> int:
        """Side, px."""

    @property
    def channels(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where `gather` puts a batch."""

    def __len__(self) -> int: ...

    def gather(self, index: Tensor) -> Tensor:
        """The images at `index` int64 [B], which is on the device, there and packed: uint8 [B, S, C, S] (`pack`)."""


@dataclass(frozen=True, eq=False)
class ResidentImages:
    """Images that are all on the device, in one tensor."""

    packed: Tensor
    """uint8 [N, S, C, S] (`pack`)."""

    @classmethod
    def of(cls, images: Tensor, device: torch.device | str = "cpu") -> Self:
        """Images uint8 [N, C, S, S], packed and put on the device."""
        return cls(pack(images).to(device))

    @property
    def image_size(self) -> int:
        return self.packed.shape[-1]

    @property
    def channels(self) -> int:
        return self.packed.shape[2]

    @property
    def device(self) -> torch.device:
        return self.packed.device

    def __len__(self) -> int:
        return len(self.packed)

    def gather(self, index: Tensor) -> Tensor:
        return self.packed.index_select(0, index)


def pack(images: Tensor) -> Tensor:
    """uint8 [N, C, H, W] -> uint8 [N, H, C, W], the layout that the crop's matrix products want."""
    return images.permute(0, 2, 1, 3).contiguous()


def unpack(packed: Tensor) -> Tensor:
    """The images [N, C, H, W] that `pack` made `packed` of; no copy, and to `pack` them again is none either."""
    return packed.permute(0, 2, 1, 3)
