"""What a tracker is told of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.search.trials import Trial

PROJECT = "ssl-bench"
"""What trackers that have projects call ours."""


@dataclass(frozen=True)
class Run:
    """The run that the trials belong to."""

    name: str
    """That of its folder."""
    folder: Path
    began: float
    """Seconds since 1970: two runs that had the same folder one after the other differ in it."""
    settings: Mapping[str, Any]
    """What identifies the run (`bench.search.experiment.Experiment.identity`)."""

    def key(self, trial: Trial) -> str:
        """A name of the trial that no trial of another run has: letters, digits and hyphens."""
        return f"{trial.uid}-{round(1000 * self.began):x}"


class Tracker(Protocol):
    """Made without arguments, in a process beside the run; what it raises ends the logging, never the run.

    `trial` is the trial as the ledger knows it at that moment: `uid`, `method`, `stage`, `seed`, `hyperparameters`,
    `epochs` planned and, once it has ended, `state` (complete, pruned or failed), `reason` and `held` (device-seconds).
    Every epoch of a trial is told once, also where a run is continued: then `begin` is called anew, and a trial that
    was begun may go on. A crash of this process may tell its last second again.
    """

    def begin(self, run: Run) -> None:
        """Before all else."""

    def report(self, trial: Trial, epoch: int, figures: Mapping[str, float], time: float) -> None:
        """An epoch (from 1) has ended at `time`, seconds since 1970. The figures are called as the columns of
        `epochs.parquet`, what was measured of the encoder as those of `trials.parquet`, such as train_knn_200; they are
        finite, and those that were not measured are not there."""

    def ended(self, trial: Trial) -> None:
        """The trial will report no more."""

    def close(self) -> None:
        """After all else; trials that have not ended may go on another day."""


def about(trial: Trial) -> dict[str, Any]:
    """What a trial is, beside its hyper-parameters."""
    return {
        "uid": trial.uid,
        "method": trial.method,
        "stage": trial.stage,
        "seed": trial.seed,
        "epochs": trial.epochs,
        "published_recipe": trial.published,
    } | {name: value for name, value in (("of", trial.of), ("protocol", trial.protocol)) if value}


def outcome(trial: Trial) -> dict[str, Any]:
    """How a trial ended."""
    known = {"state": trial.state, "reason": trial.reason, "failure": trial.kind, "device_seconds": trial.held}
    return {name: value for name, value in known.items() if value is not None}
