"""What is decided upon a report: whether a trial goes on."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from algorithms.evaluation.metrics import FEATURE_STD
from algorithms.training.report import EpochReport
from bench.search.meter import Meter
from bench.search.paces import Paces
from bench.search.schedulers import Scheduler
from bench.search.selection import figure
from bench.search.shares import Shares
from bench.search.trials import Trial

COLLAPSED = 0.02
"""A trial whose `feature_std` is below this has the same features for all images."""


class Decision(NamedTuple):
    """`continue`, or how the trial ends: `complete`, `pruned`, `failed`, `cut`."""

    name: str
    reason: str | None = None
    kind: str | None = None
    """Of a failure."""


class Decisions:
    """The scheduler prunes search trials within their method at its milestones; a recipe is never pruned. Where a share
    has no room for what a trial takes to its next milestone, it is cut and stays open for a larger budget. A trial that
    is dearer than the method's others goes on only where it has room for its own confirmation too, or it could win and
    not be confirmed."""

    def __init__(self, schedulers: Mapping[str, Scheduler], meter: Meter, paces: Paces, shares: Shares) -> None:
        self._schedulers, self._meter, self._paces, self._shares = schedulers, meter, paces, shares

    def decide(self, trial: Trial, report: EpochReport) -> Decision:
        if trial.protocol is not None:
            return _decide_evaluation(report)
        epoch, accuracy, spread = report.epoch, figure(report.metrics), report.metrics.get(FEATURE_STD.name)
        if not math.isfinite(report.loss):
            return Decision("failed", f"loss is {report.loss} at epoch {epoch}", "diverged")
        if spread is not None and not spread >= COLLAPSED and trial.stage != "baseline":
            return Decision("failed", f"collapsed: feature_std is {spread:.3g} at epoch {epoch}", "collapsed")
        kind = "error" if accuracy is None else "diverged"
        if epoch >= trial.epochs:
            if accuracy is None or not math.isfinite(accuracy):
                return Decision("failed", f"accuracy is {accuracy} at the last epoch", kind)
            return Decision("complete")
        if trial.at_milestone(epoch):
            if accuracy is None or not math.isfinite(accuracy):
                return Decision(
                    "failed", f"accuracy is {accuracy} at epoch {epoch}, where it should be evaluated", kind
                )
            goes_on = self._schedulers[trial.method].arrive(trial.uid, epoch, accuracy)
            if not trial.recipe:
                if not goes_on:
                    return Decision("pruned")
                coming = next(e for e in trial.evaluate_at if e > epoch)
                planned = self._paces.planned(trial.method, "search", epoch, coming)
                if planned * self._paces.pace(trial.method, trial.uid) > self._shares.room(trial.method):
                    return Decision("cut", "its method's share has no room for the epochs to the next milestone")
        if self._meter.exhausted:
            return Decision("cut", "the budget is spent")
        return Decision("continue")


def _decide_evaluation(report: EpochReport) -> Decision:
    """An evaluation is complete where it has measured something, and all of that is finite."""
    wrong = next((name for name, value in report.metrics.items() if not math.isfinite(value)), None)
    if wrong is not None:
        return Decision("failed", f"{wrong} is {report.metrics[wrong]}", "diverged")
    return Decision("complete") if report.metrics else Decision("failed", "nothing was measured", "error")
