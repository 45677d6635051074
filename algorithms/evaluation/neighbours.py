"""The nearest rows of a bank of features by cosine, exact to float32, in bounded memory."""

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from algorithms.parts import precision

GROUP = 8
"""Columns in a group of `largest`; on a CPU 6 to 12 take about the same time."""
HALF_SPACING = 2.0**-8
"""A number rounded to bfloat16 moves by at most this share of the result."""


def neighbours(
    queries: Tensor, bank: Tensor, k: int, *, others: bool = False, memory: int = 128 << 20
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields (first row, cosines float32 [b, k], bank rows int64 [b, k]) of the `k` nearest rows of `bank` float32
    [N, D] to each of `queries` [Q, D], the nearest first: a block of queries at a time, which takes about `memory`
    bytes.

    All rows have length 1. With `others` the queries are the bank itself, and no row is its own neighbour.
    """
    rough = Rough(bank) if Rough.pays(bank, k) else None
    size = max(1, memory // (4 * len(bank)))
    for start in range(0, len(queries), size):
        part = queries[start : start + size]
        itself = torch.arange(start, start + len(part), device=queries.device) if others else None
        if rough is None:
            found = exact_nearest(part, bank, k, itself)
        else:
            *found, certain = rough.nearest(part, k, itself)
            doubtful = (~certain).nonzero()[:, 0]
            again = exact_nearest(part[doubtful], bank, k, None if itself is None else itself[doubtful])
            for whole, mended in zip(found, again, strict=True):
                whole[doubtful] = mended
            if 2 * len(doubtful) > len(part):  # as where most rows are alike: it costs more than it saves
                rough = None
        yield start, *found


def exact_nearest(queries: Tensor, bank: Tensor, k: int, itself: Tensor | None) -> tuple[Tensor, Tensor]:
    """Cosines and rows [b, k] of the bank's rows nearest to the queries but for the rows `itself` [b]."""
    similarity = queries @ bank.T
    if itself is not None:
        similarity.scatter_(1, itself[:, None], float("-inf"))
    return largest(similarity, k)


def largest(similarity: Tensor, k: int, *, ordered: bool = True) -> tuple[Tensor, Tensor]:
    """The `k` largest numbers of each row of [b, N], the largest first if `ordered`, and their columns: [b, k] each.

    What `topk` finds, in less time: a row's k largest lie in the k groups of columns with the largest maxima.
    """
    groups = similarity.shape[1] // GROUP
    if groups < 2 * max(k, 1):
        return similarity.topk(k, dim=1, sorted=ordered)
    grouped = groups * GROUP
    parted = similarity[:, :grouped].unflatten(1, (GROUP, groups))
    group = largest(parted.amax(1), k, ordered=False)[1]
    members = parted.gather(2, group[:, None].expand(-1, GROUP, -1)).flatten(1)
    found, place = torch.cat([members, similarity[:, grouped:]], 1).topk(k, dim=1, sorted=ordered)
    column = place // k * groups + group.gather(1, place % k)
    return found, torch.where(place < GROUP * k, column, place - GROUP * k + grouped)


class Rough:
    """Finds the nearest rows of a bank among twice as many candidates, which one product in bfloat16 selects.

    Let m be the bank's mean, p = q - m for a query q, c = b - m for a row b, and p~, c~ these in bfloat16. Then

        q.b - q.m  =  p.c + m.c  <=  p~.c~ + m.c + |p - p~| |c| + |p~| |c - c~|

    by Cauchy and Schwarz. (Without m the bound would be useless for features that all point the same way, as those of
    an untrained network do.) Five more columns make the product of the two matrices this upper bound: m.c, which as a
    sum of three numbers in bfloat16 is whole, and the two products of lengths. No row that is not a candidate exceeds
    the least candidate's bound. So where the k-th nearest candidate, computed in float32, is no less than it, the
    candidates' nearest are the bank's.
    """

    def __init__(self, bank: Tensor):
        self.bank, self.mean = bank, bank.mean(0)
        # The sum of D products in float32 errs by up to D 2^-24 of the lengths' product; twice that, for m.c as well.
        self.slack = bank.shape[1] * 2.0**-23
        self.rounded = bank.new_empty(len(bank), bank.shape[1] + 5, dtype=torch.bfloat16)
        for rows, into in zip(bank.split(4096), self.rounded.split(4096), strict=True):
            centred = rows - self.mean
            into[:, :-5] = centred
            shift = centred @ self.mean
            for column in (-5, -4, -3):
                into[:, column] = shift
                shift -= into[:, column]
            into[:, -2] = upwards(centred.norm(dim=1))
            into[:, -1] = upwards((centred - into[:, :-5]).norm(dim=1))

    @staticmethod
    def pays(bank: Tensor, k: int) -> bool:
        """Whether products in bfloat16 are much the faster, and the larger part of the work."""
        wide, long = bank.shape[1] >= 256, len(bank) >= 32 * k
        return wide and long and bank.device.type == "cpu" and precision.computes_bfloat16(bank.device)

    def nearest(self, queries: Tensor, k: int, itself: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """What `exact_nearest` returns, and of which queries, bool [b], it certainly is the answer."""
        centred = queries - self.mean
        query = queries.new_empty(len(queries), self.rounded.shape[1], dtype=torch.bfloat16)
        query[:, :-5] = centred
        query[:, -5:-2] = 1
        length = query[:, :-5].float().norm(dim=1)
        error = (centred - query[:, :-5]).norm(dim=1) + self.slack * (length + self.mean.norm())
        query[:, -2] = upwards(error)
        query[:, -1] = upwards(length)
        bound = query @ self.rounded.T
        if itself is not None:
            bound.scatter_(1, itself[:, None], float("-inf"))
        bounds, place = largest(bound, 2 * k, ordered=False)
        cosine, order = self._cosines(queries, place).topk(k, dim=1)
        least = bounds.float().amin(1)
        certain = cosine[:, -1] - queries @ self.mean >= least + HALF_SPACING * least.abs()
        return cosine, place.gather(1, order), certain

    def _cosines(self, queries: Tensor, place: Tensor) -> Tensor:
        """The queries' products with their rows `place` [b, j] of the bank."""
        starts = torch.arange(0, place.numel() + 1, place.shape[1])
        shape = len(queries), len(self.bank)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
            empty = torch.zeros(place.numel())
            pairs = torch.sparse_csr_tensor(starts, place.flatten(), empty, shape, check_invariants=False)
            return torch.sparse.sampled_addmm(pairs, queries, self.bank.T, beta=0).values().view_as(place)


def upwards(number: Tensor) -> Tensor:
    """No less than `number`, once it is rounded to bfloat16."""
    return number * (1 + 2 * HALF_SPACING)
