"""What the trials of a method have come to."""

from collections import Counter
from dataclasses import dataclass, field

from bench.search.selection import merit
from bench.search.trials import CONFIRMING, STOPPED, Trial


def standing(trial: Trial) -> tuple[float, int]:
    """The more the better, of complete search trials; of equals the earlier."""
    assert trial.accuracy is not None
    return merit(trial.accuracy), -trial.number


@dataclass
class Tally:
    """Of one method, by its search trials where nothing else is said."""

    suggested: int = 0
    running: set[str] = field(default_factory=set)
    waiting: list[tuple[float, Trial]] = field(default_factory=list)
    """Those that are open and do not run, with the device-seconds to the next milestone as planned."""
    failures: Counter[str | None] = field(default_factory=Counter)
    """By kind; those that were stopped by hand are none."""
    best: Trial | None = None
    """Of those that are complete."""
    racing: set[str] = field(default_factory=set)
    """The trainings of its race that run."""
    raced: bool = False
    """Whether its race is over, for the trials that are complete."""
    filling: bool = False
    """Whether no other trial has room that could win, and what is left of the share is spent on what cannot."""
    confirmed: Counter[str] = field(default_factory=Counter)
    """Seeds that are complete, by the stage that confirms."""
    unconfirmed: bool = False
    """Whether a training that confirms has failed."""

    def count(self, trial: Trial) -> None:
        """Take note of what a trial has come to."""
        if trial.stage in CONFIRMING:
            self.confirmed[trial.stage] += trial.state == "complete"
            self.unconfirmed |= trial.state == "failed"
        elif trial.stage == "search" and trial.state == "failed" and trial.kind != STOPPED:
            self.failures[trial.kind] += 1
        elif trial.stage == "search" and trial.state == "complete":
            self.best = max(self.best or trial, trial, key=standing)
            self.raced = False
