"""What a data set is: images as uint8 tensors, their labels, the classes, and what to know of them."""

import hashlib
from dataclasses import dataclass

from torch import Tensor

SMALLEST = 8
"""Least side of an image, pixels: the encoders halve it three times."""


@dataclass(frozen=True)
class Split:
    pixels: Tensor
    """uint8 [N, 3, S, S], red, green, blue."""
    labels: Tensor
    """int64 [N], places in the data set's `classes`; -1 = unlabelled (training images only)."""


@dataclass(frozen=True)
class Dataset:
    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    fingerprint: str
    """SHA-256 of the pixels and labels of both splits, hexadecimal."""
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
        digest.update(repr(tuple(split.pixels.shape)).encode())
        digest.update(split.pixels.contiguous().numpy().data)
        digest.update(split.labels.numpy().astype("<i8").data)
    return digest.hexdigest()
