"""What belongs together - images of one patient, slide or video - and must not stand in two splits."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from bench.data.source import EncodedSource, EncodedSplit, Integers
from bench.data.splits import HELD_OUT
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError

ABOUT = (0.15, 0.25)
"""Shares between which what is held out is about a fifth."""
ALONE = ""
"""The group of an image that belongs to no other."""


def by_expression(source: EncodedSource, expression: str) -> EncodedSource:
    """The source with the groups that a regular expression finds in the paths of its images: its first group, or else
    the whole match. An image in whose path it finds nothing is a group of its own, which is told.

    Raises UserError where it is no regular expression, or finds nothing at all.
    """
    try:
        pattern = re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"--group-by '{expression}' is no regular expression ({error})") from None

    def grouped(split: EncodedSplit) -> EncodedSplit:
        matches = map(pattern.search, split.names)
        return replace(split, groups=[_of(match) if match else ALONE for match in matches])

    splits = [grouped(split) for split in (source.train, source.test) if split]
    names = list(chain.from_iterable(split.names for split in splits))
    if not names:
        raise UserError("--group-by needs images that have paths, and these have none; give --group COLUMN")
    alone = [name for split in splits for name, group in zip(split.names, split.groups or (), strict=True) if not group]
    if len(alone) == len(names):
        raise UserError(
            f"--group-by '{expression}' finds nothing in the paths of the images, which are such as {valid(names[0])}"
        )
    remarks = source.remarks
    if alone:
        remarks += (
            f"--group-by '{expression}' finds nothing in the paths of {len(alone):,} of {amount(len(names), 'image')}, "
            f"each of which is a group of its own: {enumeration(map(valid, alone))}",
        )
    return replace(source, train=splits[0], test=splits[1] if source.test else None, remarks=remarks)


def _of(match: re.Match[str]) -> str:
    found = match.group(1) if match.re.groups else match.group()
    return found or ALONE


def numbered(train: EncodedSplit, test: EncodedSplit | None) -> tuple[Integers | None, Integers | None]:
    """The groups of both splits as numbers int64 [N], the same for the same string, and another one for each image that
    is `ALONE`; None of both where neither has groups."""
    if train.groups is None and (test is None or test.groups is None):
        return None, None
    numbers: dict[str, int] = {}
    free = iter(range(-1, -2 - len(train.labels) - (len(test.labels) if test else 0), -1))

    def of(split: EncodedSplit) -> Integers:
        groups = [ALONE] * len(split.labels) if split.groups is None else split.groups
        found = (numbers.setdefault(group, len(numbers)) if group else next(free) for group in groups)
        return np.fromiter(found, np.int64, len(split.labels))

    return of(train), of(test) if test else None


def told(train: EncodedSplit, test: EncodedSplit | None) -> Iterator[str]:
    """What of the groups that a source has a user should know, a sentence each."""
    if test and (both := _named(train.groups) & _named(test.groups)):
        of_test = sum(group in both for group in test.groups or ())
        yield (
            f"{amount(len(both), 'group')} of {amount(of_test, 'test image')} "
            f"{'stand' if len(both) > 1 else 'stands'} in training too, as the test images were given: "
            f"{enumeration(map(valid, sorted(both)))}"
        )
    counts: dict[str, int] = {}
    for group in filter(None, train.groups or ()):
        counts[group] = counts.get(group, 0) + 1
    largest = max(counts, key=counts.__getitem__, default=ALONE)
    if 2 * counts.get(largest, 0) > len(train.labels):
        yield (
            f"the group {valid(largest)} has {counts[largest]:,} of {amount(len(train.labels), 'training image')}, "
            "more than all others"
        )


def _named(groups: Sequence[str] | None) -> set[str]:
    return set(groups or ()) - {ALONE}


def told_of_held_out(labels: Integers, train: Integers, test: Integers, classes: tuple[str, ...]) -> Iterator[str]:
    """What became of images with `labels` int64 [N] where whole groups were held out, the places `test`, and those that
    train are the places `train`, a sentence each."""
    judging = int((labels >= 0).sum()) or len(labels)
    if not ABOUT[0] < len(test) / judging < ABOUT[1] and len(test):
        yield (
            f"{len(test):,} of {judging:,} images are held out, and not {HELD_OUT:.0%}: no groups are nearer to that"
        )
    if aside := len(labels) - len(train) - len(test):
        yield f"{amount(aside, 'image')} without labels, of groups that are held out, left out"
    counts, of_test = (np.bincount(of[of >= 0], minlength=len(classes)) for of in (labels, labels[test]))
    if len(lacking := np.flatnonzero((counts > 1) & (of_test == 0))):
        named = enumeration(classes[place] for place in lacking)
        yield f"no test image of {named}: of each class the images of a group are left for training"
