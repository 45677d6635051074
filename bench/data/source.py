"""What a source of images gives, encoded or as pixels. Whoever decodes, splits and saves them knows no more of it.

A new source is a file with a function that gives one of these, and a line in `images.BY_NAME` or `images.BY_PATH`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.dataset import Split

Integers = NDArray[np.int64]
"""Labels, or places of images in a split."""
Encoded = bytes | Path | None
"""What Pillow reads an image from; None where nothing is stored."""
VALIDATION_UNUSED = "; its validation images left out"
"""The note of a source that has test images and validation images."""


@dataclass(frozen=True)
class EncodedSplit:
    """Encoded images, and how to get at them."""

    labels: Integers
    """[N], places in the source's `classes`; -1 = unlabelled."""
    read: Callable[[Integers], Iterator[tuple[str, Encoded]]]
    """Rising places -> the name and the encoded image of each."""


@dataclass(frozen=True)
class EncodedSource:
    """Images that must be decoded."""

    train: EncodedSplit
    test: EncodedSplit | None
    """None where a part of the training images must be held out."""
    classes: tuple[str, ...]
    note: str = ""
    """What was done with it, to be read after its name."""
    remarks: tuple[str, ...] = ()
    """What a user should know of it, a sentence each."""


@dataclass(frozen=True)
class PixelSource:
    """Images that are pixels already."""

    title: str
    """What tables call it."""
    train: Split
    test: Split
    classes: tuple[str, ...]
