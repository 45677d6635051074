"""Schedulers: which trials of a method go on at a milestone.

**To plug one in**: `--scheduler package.module:Class` or `file.py:Class`, called as `Class(epochs)` once for each
method. It is told every arrival once, in the order of the ledger, again after a restart: it must be a function of what
it was told.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from typing import Protocol

from bench.search.selection import merit


class Scheduler(Protocol):
    """Prunes the trials of one method."""

    @property
    def milestones(self) -> Sequence[int]:
        """The epochs at which trials are evaluated and may end, rising, all before the last."""

    def arrive(self, uid: str, epoch: int, accuracy: float) -> bool:
        """Take note of a trial's figure at a milestone; whether the trial goes on."""


class Asha:
    """Asynchronous successive halving, the stopping variant (Li et al. 2020, arXiv 1810.05934), but gentler at first:
    two thirds go on at a ninth of a training, and a third at a third of it. Halving by thirds from a ninth on ends the
    training of what will be the best too often (docs/log.md, 2026-11-27).

    Milestones lie in the first half of a training: later there is little left to save. A trial goes on if it is among
    that part of those that came there before it and itself; the first to come always goes on.
    """

    def __init__(self, epochs: int) -> None:
        parts = {max(1, round(epochs / 9)): 2 / 3, math.ceil(epochs / 3): 1 / 3}
        self._parts = {epoch: part for epoch, part in parts.items() if 2 * epoch <= epochs}
        self.milestones = list(self._parts)
        self._rungs: dict[int, list[float]] = {}

    def arrive(self, uid: str, epoch: int, accuracy: float) -> bool:
        """Record the accuracy at a milestone; whether the trial goes on."""
        rung, own = self._rungs.setdefault(epoch, []), merit(accuracy)
        insort(rung, own)
        better = len(rung) - bisect_left(rung, own) - rung.count(own)
        return better < max(1, int(len(rung) * self._parts[epoch] + 1e-9))


class Full:
    """No pruning: every trial runs to its last epoch."""

    def __init__(self, epochs: int) -> None:
        self.milestones: list[int] = []

    def arrive(self, uid: str, epoch: int, accuracy: float) -> bool:
        return True


SCHEDULERS: dict[str, Callable[[int], Scheduler]] = {"asha": Asha, "full": Full}
