"""Where images are kept, and how a batch of them comes to the device that trains."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from algorithms.images.statistics import Statistics, measure

AHEAD = 2
"""Batches that are prepared while the device works."""
T = TypeVar("T")


class ImageStore(Protocol):
    """Square images that trainings and evaluations read by their places."""

    @property
    def image_size(self) -> int:
        """Side, px."""

    @property
    def statistics(self) -> Statistics:
        """By which the images are normalised; they have as many channels."""

    @property
    def device(self) -> torch.device:
        """Where `gather` puts a batch."""

    def __len__(self) -> int: ...

    def normalised_by(self, statistics: Statistics) -> "ImageStore":
        """The same images, to be normalised by these statistics: this very store where it has them."""

    def gather(self, index: Tensor) -> Tensor:
        """The images at `index` int64 [B], which is on the device, there and packed: uint8 [B, S, C, S] (`pack`)."""

    def batches(self, order: Tensor) -> Iterator[Tensor]:
        """What `gather` gives of each row of `order` int64 [steps, B]: the next ones may be prepared meanwhile."""


@dataclass(frozen=True, eq=False)
class ResidentImages:
    """Images that are all on the device, in one tensor."""

    packed: Tensor
    """uint8 [N, S, C, S] (`pack`)."""
    statistics: Statistics

    @classmethod
    def of(cls, images: Tensor, device: torch.device | str = "cpu", statistics: Statistics | None = None) -> Self:
        """Images uint8 [N, C, S, S], packed and put on the device; of their own statistics, unless others are given."""
        return cls(pack(images).to(device), statistics or measure([images]))

    @property
    def image_size(self) -> int:
        return self.packed.shape[-1]

    @property
    def device(self) -> torch.device:
        return self.packed.device

    def __len__(self) -> int:
        return len(self.packed)

    def normalised_by(self, statistics: Statistics) -> Self:
        return self if statistics == self.statistics else replace(self, statistics=statistics)

    def gather(self, index: Tensor) -> Tensor:
        return self.packed.index_select(0, index)

    def batches(self, order: Tensor) -> Iterator[Tensor]:
        return map(self.gather, order)


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Images that stay where they are, in memory or a mapped file, but for the batches that are asked for."""

    packed: Tensor
    """uint8 [M, S, C, S] (`pack`), not on the device unless that is the CPU."""
    rows: Tensor
    """int64 [N], the place in `packed` of each image."""
    statistics: Statistics
    device: torch.device

    @property
    def image_size(self) -> int:
        return self.packed.shape[-1]

    def __len__(self) -> int:
        return len(self.rows)

    def normalised_by(self, statistics: Statistics) -> Self:
        return self if statistics == self.statistics else replace(self, statistics=statistics)

    def gather(self, index: Tensor) -> Tensor:
        return self._read(index.cpu()).to(self.device)

    def batches(self, order: Tensor) -> Iterator[Tensor]:
        if self.device.type == "cpu":
            yield from map(self._read, order)
            return
        stream = torch.cuda.Stream(self.device)

        def copied(index: Tensor) -> tuple[Tensor, torch.cuda.Event]:
            # The memory is PyTorch's own pool of pinned memory, which knows when the copy is over.
            images = torch.empty(len(index), *self.packed.shape[1:], dtype=torch.uint8, pin_memory=True)
            self._read(index, out=images)
            with torch.cuda.stream(stream):
                there, done = images.to(self.device, non_blocking=True), torch.cuda.Event()
                done.record(stream)
            return there, done

        for images, done in ahead(copied, order.cpu()):
            working = torch.cuda.current_stream(self.device)
            working.wait_event(done)
            images.record_stream(working)
            yield images

    def _read(self, index: Tensor, out: Tensor | None = None) -> Tensor:
        return torch.index_select(self.packed, 0, self.rows[index], out=out)


def ahead(make: Callable[[Tensor], T], order: Tensor) -> Iterator[T]:
    """What `make` makes of each row of `order`, in a thread, at most `AHEAD` of them before they are asked for."""
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(make, index) for index in order[:AHEAD])
        following = iter(order[AHEAD:])
        while waiting:
            made = waiting.popleft().result()
            waiting.extend(pool.submit(make, index) for index in [next(following, None)] if index is not None)
            yield made


def pack(images: Tensor) -> Tensor:
    """uint8 [N, C, H, W] -> uint8 [N, H, C, W], the layout that the crop's matrix products want."""
    return images.permute(0, 2, 1, 3).contiguous()


def unpack(packed: Tensor) -> Tensor:
    """The images [N, C, H, W] that `pack` made `packed` of; no copy, and to `pack` them again is none either."""
    return packed.permute(0, 2, 1, 3)
