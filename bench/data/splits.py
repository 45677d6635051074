"""Which images train, which test, and which a limit keeps: stratified, and the same in every run."""

from itertools import pairwise

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from bench.data.source import Integers
from bench.errors import UserError

HELD_OUT = 0.2
"""Share of the labelled images that is held out for testing where a data set has no test images; of all images where
none has a label."""
MOST_LABELLED, MOST_UNLABELLED = 50_000, 10_000
"""Images that are held out at most: as many as ImageNet's validation has, which tell an accuracy to half a point; of a
data set without labels as many as the criteria look at."""


def held_out_split(labels: Tensor, fraction: float = HELD_OUT, groups: Integers | None = None) -> tuple[Tensor, Tensor]:
    """(training, test) places, int64 and rising, of images with `labels` int64 [N].

    The test images are `fraction` of the labelled ones, stratified. They depend on the labels and groups alone, so that
    they are the same in every run and for every method. Unlabelled images (-1) are for training, and so is the only
    image of a class. Where no image has a label, all are alike. At most `MOST_LABELLED` or `MOST_UNLABELLED` are held
    out.

    No group of `groups` int64 [N] is divided (`_whole_groups`); an unlabelled image of a group that is held out is in
    neither split.
    """
    found = labels.numpy()
    most = MOST_LABELLED
    if not (found >= 0).any():
        found, most = np.zeros_like(found), MOST_UNLABELLED
    total = min(round(fraction * int((found >= 0).sum())), most)
    if groups is None:
        held = stratified(found, total, leave=1)
        aside = np.isin(np.arange(len(found)), held)
    else:
        aside = np.isin(groups, _whole_groups(found, groups, total))
        held = np.flatnonzero(aside & (found >= 0))
    return torch.from_numpy(np.flatnonzero(~aside)), torch.from_numpy(held)


def held_out_note(labels: Integers, held: Tensor, groups: Integers | None = None) -> str:
    """What a note says of images with `labels` of which these were `held` out."""
    of = len(labels) if (labels < 0).all() else int((labels >= 0).sum())
    usual = groups is None and len(held) not in (MOST_LABELLED, MOST_UNLABELLED)
    fixed = f"{HELD_OUT:.0%}" if usual else f"{len(held):,} of {of:,}"
    return f"; no test images: a fixed {fixed} held out" + ("" if groups is None else ", no group divided")


def stratified(labels: Integers, total: int, leave: int) -> Integers:
    """Rising places of `total` labelled images, of each class its share, chosen by a fixed order; at least one of
    each class, but never the last `leave` of it."""
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    # RandomState's stream is frozen (NEP 19): the same images on every machine and with every version.
    order = RandomState(0).permutation(len(labels))
    ordered = labels[order]
    quotas = _quotas(counts, total, np.maximum(counts - leave, 0))
    chosen = [order[ordered == label][:quota] for label, quota in zip(classes, quotas, strict=True)]
    return np.sort(np.concatenate([*chosen, np.empty(0, dtype=np.int64)])).astype(np.int64)


def _quotas(counts: Integers, total: int, most: Integers) -> Integers:
    """How many of each class make `total`: in proportion to `counts` (largest remainders), at least 1 and at most
    `most` of each where that can be."""
    share = counts * total / max(counts.sum(), 1)
    quotas: Integers = np.clip(np.floor(share), np.minimum(1, most), most).astype(np.int64)
    while quotas.sum() < min(total, most.sum()):
        quotas[np.argmax(np.where(quotas < most, share - quotas, -np.inf))] += 1
    while quotas.sum() > total and (quotas > 1).any():
        quotas[np.argmax(np.where(quotas > 1, quotas - share, -np.inf))] -= 1
    return quotas


def _whole_groups(labels: Integers, groups: Integers, total: int) -> Integers:
    """The groups that are held out so that of each class about its share of `total` labelled images is: greedily, in an
    order that is fixed. Of each class a group is left, and more than half of the images are held out only where
    otherwise none would be."""
    labelled = labels >= 0
    _, label, counts = np.unique(labels[labelled], return_inverse=True, return_counts=True)
    names, group = np.unique(groups[labelled], return_inverse=True)
    pairs, images = np.unique(group * len(counts) + label, return_counts=True)
    owner, of = np.divmod(pairs, max(1, len(counts)))
    bounds = np.searchsorted(owner, np.arange(len(names) + 1))
    classes_of, images_of = of.tolist(), images.tolist()
    members = [[*zip(classes_of[a:b], images_of[a:b], strict=True)] for a, b in pairwise(bounds.tolist())]
    quotas = _quotas(counts, total, np.maximum(counts - 1, 0)).tolist()
    held, left, taken = [0] * len(counts), np.bincount(of, minlength=len(counts)).tolist(), [False] * len(names)

    def take(place: int) -> None:
        taken[place] = True
        for of_class, count in members[place]:
            held[of_class] += count
            left[of_class] -= 1

    def free(place: int) -> bool:
        return not taken[place] and all(left[of_class] > 1 for of_class, _ in members[place])

    order = RandomState(0).permutation(len(names))
    size = np.bincount(group, minlength=len(names))
    rising = order[np.argsort(size[order], kind="stable")].tolist()
    for place in order.tolist():  # what no class has too much by
        if free(place) and all(held[of_class] + count <= quotas[of_class] for of_class, count in members[place]):
            take(place)
    for place in rising:  # what leaves the classes nearer to their shares than they are
        farther = sum(
            count * (count + 2 * (held[of_class] - quotas[of_class])) / max(1, quotas[of_class])
            for of_class, count in members[place]
        )
        if free(place) and farther < 0:
            take(place)
    for place in rising:  # what has a class of which there is none yet
        lacking = any(not held[of_class] for of_class, _ in members[place])
        if lacking and free(place) and (not any(held) or 2 * (sum(held) + size[place]) <= counts.sum()):
            take(place)
    chosen: Integers = names[np.array(taken, dtype=bool)]
    return chosen


def limited(train: Integers, test: Integers, limit: int | None) -> tuple[Integers, Integers]:
    """The places of the training and test images (by their labels) that a limit keeps."""
    if limit is None or limit >= len(train):
        return np.arange(len(train)), np.arange(len(test))
    # Here the unlabelled images are one more class.
    strata, of_test = (np.where(labels < 0, labels.max(initial=-1) + 1, labels) for labels in (train, test))
    if limit < len(np.unique(strata)):
        raise UserError(f"a limit of {limit} images is less than one of each of {len(np.unique(strata))} classes")
    return stratified(strata, limit, leave=0), stratified(
        of_test, max(1, round(len(test) * limit / len(train))), leave=0
    )
