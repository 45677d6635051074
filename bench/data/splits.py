"""Which images train, which test, and which a limit keeps: stratified, and the same in every run."""

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from bench.data.source import Integers
from bench.errors import UserError

HELD_OUT = 0.2
"""Share of the labelled images that is held out for testing where a data set has no test images."""


def held_out_split(labels: Tensor, fraction: float = HELD_OUT) -> tuple[Tensor, Tensor]:
    """(training, test) places, int64 and rising, of images with `labels` int64 [N].

    The test images are `fraction` of the labelled ones, stratified. They depend on the labels alone, so that
    they are the same in every run and for every method. Unlabelled images (-1) are for training, and so is the only
    image of a class.
    """
    found = labels.numpy()
    held = stratified(found, round(fraction * int((found >= 0).sum())), leave=1)
    keep = np.ones(len(found), dtype=bool)
    keep[held] = False
    return torch.from_numpy(np.flatnonzero(keep)), torch.from_numpy(held)


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


def limited(train: Integers, test: Integers, limit: int | None) -> tuple[Integers, Integers]:
    """The places of the training and test images (by their labels) that a limit keeps."""
    if limit is None or limit >= len(train):
        return np.arange(len(train)), np.arange(len(test))
    strata = np.where(train < 0, train.max() + 1, train)  # here the unlabelled images are one more class
    if limit < len(np.unique(strata)):
        raise UserError(f"a limit of {limit} images is less than one of each of {len(np.unique(strata))} classes")
    return stratified(strata, limit, leave=0), stratified(test, max(1, round(len(test) * limit / len(train))), leave=0)
