"""What a source of images gives, encoded or as pixels. Whoever decodes, splits and saves them knows no more of it.

A new source is a file with a function that gives one of these, and a line in `images.BY_NAME` or `images.BY_PATH`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.dataset import Split

Integers = NDArray[np.int64]
"""Labels, or places of images in a split."""
Encoded = bytes | Path | Callable[[], bytes] | None
"""What an image is decoded from: a function reads its bytes, in whichever thread decodes; None where nothing is
stored."""
Item = tuple[int, str, Encoded]
"""Row, name and what is stored of an image."""
VALIDATION_UNUSED = "; its validation images left out"
"""The note of a source that has test images and validation images."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a user says of the files at a path."""

    labels: Path | None = None
    """A CSV or Parquet file of the path or the number of an image, and its label. These alone are labels then."""
    unlabelled: bool = False
    """Whether what would be taken for labels is none."""
    group: str | None = None
    """A column that names what belongs together: of the Parquet files, or of the file of `labels`."""
    group_by: str | None = None
    """A regular expression, whose first group (or whole match) in an image's path names what belongs together."""
    everything: bool = False
    """Whether the images that neither train nor test are wanted as well (`EncodedSource.others`)."""


AS_IT_IS = Asked()
"""Nothing is said of them."""


@dataclass(frozen=True)
class EncodedSplit:
    """Encoded images, and how to get at them."""

    labels: Integers
    """[N], places in the source's `classes`; -1 = unlabelled."""
    read: Callable[[Integers], Iterator[tuple[str, Encoded]]]
    """Rising places -> the name and the encoded image of each."""
    names: Sequence[str] = ()
    """[N], each image's path below the root of the files, by which `Asked` speaks of it."""
    groups: Sequence[str] | None = None
    """[N], equal for images that belong together; None where nothing is said."""
    stamp: str = ""
    """Changes whenever what is stored changes: a hash of names, sizes and times."""


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
    judging: str = "test"
    """The split whose images `test` has: test or validation."""
    others: Mapping[str, EncodedSplit] = field(default_factory=dict)
    """Where `Asked.everything` is, the images that neither train nor test, by their split; '' of those in none."""


@dataclass(frozen=True)
class PixelSource:
    """Images that are pixels already."""

    title: str
    """What tables call it."""
    train: Split
    test: Split
    classes: tuple[str, ...]


def items(splits: Sequence[EncodedSplit], rows: Integers) -> Iterator[Item]:
    """What is stored in these rows (rising) of the splits, one after another."""
    start = 0
    for split in splits:
        own = rows[(rows >= start) & (rows < start + len(split.labels))]
        stored = split.read(own - start) if len(own) else iter(())
        for row, (name, encoded) in zip(own.tolist(), stored, strict=True):
            yield row, name, encoded
        start += len(split.labels)
