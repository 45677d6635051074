"""Pictures that stand more than once in a data set: test images among the training images, exactly or nearly, copies
within training, and one picture with several labels.

Two pictures are nearly the same where they differ as after another compression, another size or a change of
brightness: their thumbnails agree in the edges and in the colours. With the thresholds below, of CIFAR-10's training
images 99.5 % are found again after JPEG of quality 30, 99.9 % of quality 50, and all after quality 75, half the size
and back, or 10 % more or less brightness; of its own test images 1.3 % are said to be nearly training images, all of
the same class, where people found near duplicates of 3.3 %, many of them shifted or recoloured (ciFAIR: Barz and
Denzler 2020, arXiv 1902.00423). Of the embedded textures none is. Pictures of few pixels that are all alike, such as
digits, are said to be the same too often: of scanned digits of 8 px 8 %.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from algorithms.images.store import pack
from bench.data.dataset import Split
from bench.data.source import EncodedSplit, Integers
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError

SIDE = 8
"""Of a thumbnail, px."""
EDGES, COLOURS = 0.95, 0.95
"""Cosines of the differences between a thumbnail's neighbouring pixels, and of its channels less their means, from
which two pictures are nearly the same. The edges alone take bars of one period for the same, under whatever light."""
FLAT = 2.0
"""Root mean square of the differences, of 255, below which a picture has too little contrast to be told from others."""
BLOCK = 2**22
"""Pairs that are compared at a time: what fits into a cache."""
MOST_ASKED, MOST_PAIRS = 10_000, 5 * 10**9
"""Test images that are looked for, and pairs that are compared, at most: 10,000 among 50,000 take a second on two
cores, and 5,000 among a million about ten times as long."""
EXAMPLES = 3
"""Pictures that are named."""
TOLD_EVERY = 3.0
"""Seconds between two lines on the progress."""

Name = Callable[[int], str]
"""What the image at a place of a split is called."""
Names = tuple[Name, Name]
"""Those of the training and of the test images."""
Keys = NDArray[np.uint64]
"""Equal for equal pictures, and for others by a chance of one in 10 million among two million images."""


@dataclass(frozen=True)
class Duplicates:
    """What was found."""

    remarks: tuple[str, ...]
    """What a user should know, a sentence each."""
    dropped: Integers
    """Rising places of the training images that are to be left out: those that are test images too, exactly or nearly,
    those whose picture has several labels, and of equal ones all but the first (with a label, where any has one)."""

    def plain(self) -> tuple[list[str], list[int]]:
        """Both, as JSON holds them."""
        return list(self.remarks), self.dropped.tolist()


def without(train: Split, dropped: Collection[int]) -> Split:
    """The training images that are left. Raises UserError where none is."""
    if len(dropped) == len(train):
        raise UserError("all training images are duplicates; leave out --drop-duplicates, or give others to test")
    left = torch.ones(len(train), dtype=torch.bool)
    left[list(dropped)] = False
    return train.taken(left.nonzero()[:, 0])


def names_of(*splits: tuple[EncodedSplit, Integers]) -> Names | None:
    """What the training and the test images are called that are at these places of a source's splits, if anything."""
    if not all(split.names for split, _ in splits):
        return None
    train, test = (lambda place, of=of, at=at: valid(of.names[at[place]]) for of, at in splits)
    return train, test


def find(train: Split, test: Split, classes: tuple[str, ...] = (), names: Names | None = None) -> Duplicates:
    """The duplicates within the training images, and between them and the test images; `names` of both, where images
    have names. All pixels are read once, in parts."""
    test_keys = np.concatenate([_keys(part) for part in test.parts()] or [np.empty(0, np.uint64)])
    asked = np.arange(min(len(test), MOST_ASKED, max(1, MOST_PAIRS // max(1, len(train)))))
    asked = asked * len(test) // max(1, len(asked))
    bank = [_thumbnails(part) for part in test.taken(torch.from_numpy(asked)).parts()]
    edges, colours = (torch.cat(each) for each in zip(*bank, strict=True))
    keys, near, like = list[Keys](), np.zeros(len(train), dtype=bool), np.full(len(test), -1)
    began, told, done = time.monotonic(), time.monotonic(), 0
    for part in train.parts():
        keys.append(_keys(part))
        for one, other in _near(*_thumbnails(part), edges, colours):
            other_only = keys[-1][one] != test_keys[asked[other]]
            places, tests = done + one[other_only], asked[other[other_only]]
            near[places] = True
            new = like[tests] < 0
            like[tests[new][::-1]] = places[new][::-1]  # the one that is written last is the first
        done += len(part)
        if time.monotonic() - told > TOLD_EVERY:
            told = time.monotonic()
            print(f"looking for duplicates: {done:,} of {len(train):,}, {told - began:.0f} s", file=sys.stderr)
    # Equal pictures have one number, in whichever split.
    picture = np.unique(np.concatenate([*keys, test_keys]), return_inverse=True)[1]
    return _put_together(train.labels.numpy(), test.labels.numpy(), picture, near, like, len(asked), classes, names)


def _keys(images: Tensor) -> Keys:
    """[n], of images uint8 [n, C, S, S]."""
    rows = pack(images).numpy()
    return np.frombuffer(b"".join(hashlib.sha256(row).digest()[:8] for row in rows), dtype="<u8")


def _thumbnails(images: Tensor) -> tuple[Tensor, Tensor]:
    """The edges [n, 2 SIDE (SIDE - 1)] and the colours [n, C SIDE SIDE] of the thumbnails of images uint8 [n, C, S, S],
    rows of length 1; those of pictures that are `FLAT` have length 0, and are like nothing."""
    small = F.interpolate(images.float(), (SIDE, SIDE), mode="area")
    grey = small.mean(1)
    differences = torch.cat([grey.diff(dim=1).flatten(1), grey.diff(dim=2).flatten(1)], 1)
    flat = differences.square().mean(1, keepdim=True).sqrt() < FLAT
    edges = F.normalize(differences, dim=1).masked_fill(flat, 0)
    return edges, F.normalize((small - small.mean((2, 3), keepdim=True)).flatten(1), dim=1)


def _near(edges: Tensor, colours: Tensor, of_test: Tensor, colours_of_test: Tensor) -> Iterator[tuple[Integers, ...]]:
    """Training images, by their edges and colours, and the test images that each nearly is: int64 [p] each, rising by
    the training image, some of the images at a time."""
    for start, part in enumerate(edges.split(size := max(1, BLOCK // max(1, len(of_test))))):
        cosines = part @ of_test.T
        rows = (cosines.amax(1) > EDGES).nonzero()[:, 0]  # few: all is gone through once
        row, other = (cosines[rows] > EDGES).nonzero(as_tuple=True)
        one = rows[row] + start * size
        same = (colours[one] * colours_of_test[other]).sum(1) > COLOURS
        yield one[same].numpy(), other[same].numpy()


def _put_together(
    labels: Integers,
    test_labels: Integers,
    picture: Integers,
    near: NDArray[np.bool_],
    like: Integers,
    asked: int,
    classes: tuple[str, ...],
    names: Names | None,
) -> Duplicates:
    """What there is to say, of the labels of both splits, the `picture` of each image, training images first, which
    training images are `near` a test image, and what training image each test image is `like`, -1 for none, where so
    many test images were `asked` for."""
    of_train, of_test = np.split(picture, [len(labels)])
    count = picture.max(initial=-1) + 1
    in_training, in_test = (np.bincount(of, minlength=count) > 0 for of in (of_train, of_test))
    first = np.zeros(count, dtype=np.int64)
    for places in (np.flatnonzero(labels < 0)[::-1], np.flatnonzero(labels >= 0)[::-1]):
        first[of_train[places]] = places  # the last one that is written is the first, and one with a label
    both = np.concatenate([labels, test_labels])
    of_pairs = np.unique(np.stack([picture, both])[:, both >= 0], axis=1)[0]
    several = np.bincount(of_pairs, minlength=count) > 1

    twice = np.flatnonzero(in_training[of_test])
    nearly = np.flatnonzero((like >= 0) & ~in_training[of_test])
    copies = (first[of_train] != np.arange(len(labels))) & ~in_test[of_train]
    drop = in_test[of_train] | copies | several[of_train] | near

    def called(place: int | np.int64) -> str:
        assert names
        return names[0](int(place)) if place < len(labels) else names[1](int(place) - len(labels))

    def examples(lines: Iterator[str], of: int) -> str:
        told = [*islice(lines, EXAMPLES)] if names else []
        more = f" and {of - len(told):,} more" if of > len(told) else ""
        return f": {enumeration(told)}{more}" if told else ""

    def remarks() -> Iterator[str]:
        tests = amount(len(test_labels), "test image")
        if len(twice):
            lines = (f"{called(len(labels) + place)} is {called(first[of_test[place]])}" for place in twice)
            yield f"{len(twice):,} of {tests} are training images too, pixel by pixel{examples(lines, len(twice))}"
        if len(nearly):
            among = tests if asked == len(test_labels) else f"the {asked:,} of {tests} that were looked for"
            each = zip(nearly + len(labels), like[nearly], strict=True)
            lines = (f"{called(one)} is like {called(two)}" for one, two in each)
            yield (
                f"{len(nearly):,} of {among} look nearly like training images, as if compressed, resized or brightened"
                f"{examples(lines, len(nearly))}"
            )
        if number := int(copies.sum()):
            lines = (f"{called(place)} is {called(first[of_train[place]])}" for place in np.flatnonzero(copies))
            yield f"{amount(number, 'training image')} are copies of others, pixel by pixel{examples(lines, number)}"
        if number := int(several.sum()):
            wrong, place = np.unique(picture[several[picture]], return_index=True)
            rising = wrong[np.argsort(place)]  # by the first image of each
            lines = (_labelled(np.flatnonzero((picture == each) & (both >= 0))) for each in rising)
            yield (
                f"{amount(number, 'picture')} with more than one label, of which one at most is right"
                f"{examples(lines, number)}"
            )

    def _labelled(places: Integers) -> str:
        return " and ".join(f"{called(place)} ({classes[both[place]]})" for place in places[:EXAMPLES])

    return Duplicates(tuple(remarks()), np.flatnonzero(drop))
