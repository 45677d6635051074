"""The nearest rows of a bank of features by cosine, exact to float32, in bounded memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

GROUP = 8
"""Columns in a group of `largest`; on a CPU 6 to 12 take about the same time."""


def neighbours(
    queries: Tensor,
    bank: Tensor,
    k: int,
    *,
    own: Tensor | None = None,
    groups: Tensor | None = None,
    memory: int = 128 << 20,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields (first row, cosines float32 [b, k], bank rows int64 [b, k]) of the `k` nearest rows of `bank` float32
    [N, D] to each of `queries` [Q, D], the nearest first: a block of queries at a time, which takes about `memory`
    bytes.

    All rows have length 1. `own` int64 [Q] is the bank's row of each query, where the queries are some of the bank: no
    row is its own neighbour, nor is another one of its group where there are `groups` int64 [N] of the bank. Where a
    row has fewer than `k` neighbours, those that are none come last, with the cosine -inf.
    """
    size = max(1, memory // (4 * len(bank)))
    for start in range(0, len(queries), size):
        similarity = queries[start : start + size] @ bank.T
        if own is not None and groups is not None:
            similarity.masked_fill_(groups[own[start : start + size], None] == groups, float("-inf"))
        elif own is not None:
            similarity.scatter_(1, own[start : start + size, None], float("-inf"))
        yield start, *largest(similarity, k)


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
