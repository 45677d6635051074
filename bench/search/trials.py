"""A trial as the ledger knows it: what was asked of it, what it reported, how it ended."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from algorithms.training.report import EpochReport
from bench.search.job import Job
from bench.search.selection import figure

FINAL = ("complete", "pruned", "failed")
RECIPES = ("published", "ours")
"""What the recipes of a method are called, and the stages that confirm them: the first search trials, in this order."""
CONFIRMING = ("confirm", *RECIPES)
"""The stages that confirm."""
OF_THE_RECIPE = ("diverged", "collapsed", "memory", "error")
OF_THE_MACHINE = ("hung", "lost", "device")
STOPPED = "stopped"
"""The kind of a trial that was stopped by hand."""


@dataclass(frozen=True)
class Epoch(EpochReport):
    """An epoch's report as the ledger knows it. In device-seconds: what the trial had held then, and what of it the
    epoch took."""

    device_seconds: float = 0.0
    took: float = 0.0
    attempt: int = 0


@dataclass
class Suggestion:
    """A trial that there should be: what the ledger's `suggested` event has."""

    uid: str
    method: str
    stage: str
    seed: int
    number: int
    hyperparameters: dict[str, Any]
    parameters: dict[str, Any]
    published: bool
    of: str | None
    epochs: int
    evaluate_at: list[int]
    halved: bool = False
    ours: bool = False
    protocol: str | None = None

    def event(self) -> dict[str, Any]:
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(Suggestion)}
        return {name: value for name, value in values.items() if value or name not in ("ours", "protocol")}


@dataclass
class Trial(Suggestion):
    """One trial as the ledger knows it.

    `state` is `running`, `cut` (stopped but open: continues when the budget allows), `complete`, `pruned`,
    `failed`.
    """

    state: str = "running"
    reason: str | None = None
    kind: str | None = None  # of its failure
    reports: dict[int, Epoch] = field(default_factory=dict)
    decisions: dict[int, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    fruitless: int = 0  # workers lost since the last report
    held: float = 0.0  # device-seconds
    held_at_start: float = 0.0  # of which before the present attempt's worker had it
    started: float | None = None  # wall clock
    ended: float | None = None

    @property
    def job(self) -> Job:
        """What its trainer gets."""
        judges = self.of if self.protocol else None
        asked = (self.uid, self.method, self.stage, self.seed, self.hyperparameters, self.epochs)
        return Job(*asked, tuple(self.evaluate_at), self.halved, self.protocol, judges)

    @property
    def recipe(self) -> str | None:
        """`published` or `ours` where the trial is of a recipe, as the stage is called that confirms it; else None."""
        return "published" if self.published else "ours" if self.ours else None

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def epoch(self) -> int:
        """The last epoch reported; 0 before the first."""
        return max(self.reports, default=0)

    @property
    def last(self) -> Epoch | None:
        """The last epoch's report; None before the first."""
        return self.reports.get(self.epoch)

    @property
    def accuracy(self) -> float | None:
        """The figure that selects, of the last planned epoch, never of the best one; None unless the trial is
        complete."""
        return figure(self.last.metrics) if self.last and self.state == "complete" else None

    @property
    def configuration(self) -> str:
        """The uid of the search trial that has the configuration of this trial, which searches or confirms."""
        return self.of or (search_uid(self.method, RECIPES.index(self.recipe)) if self.recipe else self.uid)

    def at_milestone(self, epoch: int) -> bool:
        """Whether a search trial may be pruned at this epoch."""
        return self.stage == "search" and epoch < self.epochs and epoch in self.evaluate_at


def search_uid(method: str, number: int) -> str:
    """Of a search trial. Those of the recipes have their places in `RECIPES` as numbers."""
    return f"{method}-{number:04d}"
