"""What a data set is: images as uint8 tensors, their labels, the classes, and what to know of them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from algorithms.images.statistics import Statistics
from algorithms.images.store import pack, unpack

SMALLEST = 8
"""Least side of an image, pixels: the encoders halve it three times."""


PART = 2**23
"""Bytes of images that are looked at at a time."""


@dataclass(frozen=True)
class Split:
    packed: Tensor
    """uint8 [M, S, C, S] (`algorithms.images.store.pack`), in memory or a mapped file, among which its images are. With
    three channels they are red, green and blue."""
    rows: Tensor
    """int64 [N], the place in `packed` of each image."""
    labels: Tensor
    """int64 [N], places in the data set's `classes`; -1 = unlabelled."""
    groups: Tensor | None = None
    """int64 [N], equal for images that belong together (of one patient, one video); None where nothing is said."""
    file: Path | None = None
    """The NumPy file that `packed` maps, if any."""

    @classmethod
    def of(cls, pixels: Tensor, labels: Tensor, groups: Tensor | None = None) -> Self:
        """Of images uint8 [N, C, S, S] in memory, which are copied unless they are packed already."""
        return cls(pack(pixels), torch.arange(len(pixels)), labels, groups)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """Side of an image, px."""
        return self.packed.shape[-1]

    @property
    def channels(self) -> int:
        return self.packed.shape[2]

    @property
    def pixels(self) -> Tensor:
        """The images uint8 [N, C, S, S]: no copy where they lie in `packed` one after another."""
        start = int(self.rows[0]) if len(self) else 0
        if torch.equal(self.rows, torch.arange(start, start + len(self))):
            return unpack(self.packed[start : start + len(self)])
        return unpack(self.packed[self.rows])

    def parts(self) -> Iterator[Tensor]:
        """All images in their order, uint8 [n, C, S, S], about `PART` bytes at a time."""
        each = max(1, PART // max(1, self.packed[:1].numel()))
        return (unpack(self.packed[rows]) for rows in self.rows.split(each))

    def taken(self, places: Tensor) -> "Split":
        """The images at these places, int64 [n], alone; nothing is copied."""
        groups = None if self.groups is None else self.groups[places]
        return Split(self.packed, self.rows[places], self.labels[places], groups, self.file)


@dataclass(frozen=True)
class Dataset:
    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    fingerprint: str
    """SHA-256 of the pixels and labels of both splits, and of their groups where there are some, hexadecimal."""
    statistics: Statistics
    """Of the training images."""
    note: str
    """What tables call it, with the format in which lossy images were stored and what was done to it."""
    skipped: tuple[str, ...]
    """The images that could not be read."""
    remarks: tuple[str, ...] = ()
    """What a user should know before believing a result, a sentence each."""


def fingerprint(train: Split, test: Split) -> str:
    """The `fingerprint` of a data set with these splits."""
    digest = hashlib.sha256()
    for split in (train, test):
        digest.update(repr((len(split), split.channels, split.size, split.size)).encode())
        for part in split.parts():
            digest.update(part.contiguous().numpy().data)
        digest.update(split.labels.numpy().astype("<i8").data)
        if split.groups is not None:  # they decide who judges whom
            digest.update(split.groups.numpy().astype("<i8").data)
    return digest.hexdigest()
