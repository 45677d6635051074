"""What gives reason to doubt a result, or makes one impossible: imbalance, few images, few classes."""

from collections.abc import Collection, Iterator

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
LEAST_UNLABELLED = 4
"""Training images without labels that a search needs: of fewer, the criteria tell nothing."""
IMBALANCE = 10
"""How many times as many images the largest class has as the smallest where this is said."""


def why_unlabelled(labels: Integers, classes: tuple[str, ...], reasons: Collection[str] = ()) -> str:
    """Why labels int64 [N] of the training images count as none: they are of fewer than two of the `classes`, for which
    `reasons` may be why there are no more. Empty where they count, or where there are no classes."""
    found = np.unique(labels[labels >= 0])
    if not classes or len(found) > 1:
        return ""
    of = f"only of the class {classes[found[0]]}" if len(found) else "of none of the classes"
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return (
        f"the training images have labels {of}, which count as none: what judges by labels needs two classes at "
        f"least{why}"
    )


def doubts(train: Split, test: Split, classes: tuple[str, ...]) -> Iterator[str]:
    """What the images and labels themselves give reason to doubt, a sentence each."""
    if not classes:
        for what, images in (("training", len(train)), ("test", len(test))):
            if images < FEW:
                yield f"only {amount(images, f'{what} image')}: what they tell of a training is rough"
        return
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
    if train.groups is not None and len(single := np.flatnonzero(np.bincount(_groups_of(train)[0]) == 1)):
        yield (
            f"all training images of {named(single)} are of one group: none of another group tells them, so they count "
            "as wrong where training images judge each other"
        )
    for what, images in (("labelled training", labelled), ("test", int(of_test.sum()))):
        if 0 < images < FEW:
            yield f"only {amount(images, f'{what} image')}: each is worth {100 / images:.1f} points of accuracy"


def _groups_of(train: Split) -> tuple[Integers, Integers]:
    """The class of each pair of a class and a group that labelled images are of, rising, and how many are of the pair;
    an image is a group of its own where nothing is said."""
    labels, groups = train.labels.numpy(), np.arange(len(train)) if train.groups is None else train.groups.numpy()
    _, group = np.unique(groups[labels >= 0], return_inverse=True)
    pairs, images = np.unique(labels[labels >= 0] * (len(group) + 1) + group, return_counts=True)
    return pairs // (len(group) + 1), images


def check_enough(dataset: Dataset) -> None:
    """Raises UserError where there are too few images for a search to judge by."""
    train, test = dataset.train, len(dataset.test)
    if not dataset.classes:
        if len(train) < LEAST_UNLABELLED or test < LEAST_TO_SEARCH:
            raise UserError(
                f"there are too few images to search with: {len(train)} for training and {test} for testing; "
                f"{LEAST_UNLABELLED} and {LEAST_TO_SEARCH} are the least where none has a label"
            )
        return
    of, images = _groups_of(train)
    # An image is told by another one of its class, which is of another group where there are groups.
    several = np.bincount(of) > 1
    told = int(images[several[of]].sum())
    if told < LEAST_TO_SEARCH or test < LEAST_TO_SEARCH:
        which = "of the same class" if train.groups is None else "of the same class and of another group"
        raise UserError(
            f"there are too few images to search with: {told} of {amount(int(images.sum()), 'labelled training image')}"
            f" have another {which}, and there are {test} for testing; {LEAST_TO_SEARCH} of each are the least"
        )
