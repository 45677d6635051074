"""What gives reason to doubt a result, or makes one impossible: duplicates, imbalance, few images, few classes."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.dataset import Dataset, Split
from bench.data.source import Integers
from bench.data.wording import amount, enumeration
from bench.errors import UserError

FEW = 50
"""Of so many images that judge, one more or less is worth 2 points: said where there are fewer."""
LEAST_TO_SEARCH = 2
"""So many training images must have another one of their class to be told by, and so many test images there must be."""
IMBALANCE = 10
"""How many times as many images the largest class has as the smallest where this is said."""


def check_classes(path: str | Path, labels: Integers, reasons: Collection[str]) -> None:
    """Refuse fewer than two classes; `reasons` may be why there are no more."""
    classes = len(np.unique(labels[labels >= 0]))
    if classes < 2:
        why = f" ({'; '.join(reasons)})" if reasons else ""
        raise UserError(f"{path} has labelled images of {classes} classes; nearest neighbours need two at least{why}")


def doubts(train: Split, test: Split, classes: tuple[str, ...]) -> Iterator[str]:
    """What the images and labels themselves give reason to doubt, a sentence each."""
    counts, of_test = (
        split.labels[split.labels >= 0].bincount(minlength=len(classes)).numpy() for split in (train, test)
    )
    labelled, present = int(counts.sum()), np.flatnonzero(counts)

    def named(places: NDArray[np.intp]) -> str:
        return enumeration(classes[place] for place in places)

    if 2 * len(present) > labelled:
        yield (
            f"{labelled:,} labelled training images have {len(present):,} different labels: are these classes, or "
            "numbers of images?"
        )
    elif len(single := np.flatnonzero(counts == 1)):
        yield f"only one training image in {named(single)}"
    if labelled and counts.max() >= IMBALANCE * (least := counts[present].min()):
        yield (
            f"the largest class ({classes[counts.argmax()]}) has {counts.max():,} training images and the smallest "
            f"{least:,}: who always names one class is right for {of_test.max() / of_test.sum():.1%} of the test images"
        )
    if len(unknown := np.flatnonzero((counts == 0) & (of_test > 0))):
        yield (
            f"{amount(int(of_test[unknown].sum()), 'test image')} of classes that training does not have count as "
            f"wrong: {named(unknown)}"
        )
    copies = Counter(_digests(test))
    if twice := sum(copies[digest] for digest in copies.keys() & _digests(train)):
        yield f"{twice:,} of {amount(len(test.labels), 'test image')} are training images too, pixel by pixel"
    for what, images in (("labelled training", labelled), ("test", int(of_test.sum()))):
        if 0 < images < FEW:
            yield f"only {amount(images, f'{what} image')}: each is worth {100 / images:.1f} points of accuracy"


def _digests(split: Split) -> Iterator[bytes]:
    return (hashlib.sha256(image).digest() for image in split.pixels.contiguous().numpy())


def check_enough(dataset: Dataset) -> None:
    """Raises UserError where there are too few images for a search to judge by."""
    labels = dataset.train.labels
    counts, test = labels[labels >= 0].bincount(), len(dataset.test.labels)
    told = int(counts[counts > 1].sum())
    if (len(counts) and told < LEAST_TO_SEARCH) or test < LEAST_TO_SEARCH:
        raise UserError(
            f"there are too few images to search with: {told} of {amount(int(counts.sum()), 'labelled training image')}"
            f" have another of the same class, and there are {test} for testing; "
            f"{LEAST_TO_SEARCH} of each are the least"
        )
