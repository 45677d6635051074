"""What a run says while it runs: an overall line, and a line for each trial that ends."""

import sys
import time
from collections.abc import Mapping
from typing import TextIO

from algorithms.evaluation.metrics import SELECTION
from bench.search.search import Search
from bench.search.selection import called, figure, metric
from bench.search.trials import Trial

EVERY = 5.0
"""Seconds between overall lines; on a terminal the line is renewed in place, each second."""


class Progress:
    def __init__(self, search: Search, stream: TextIO | None = None) -> None:
        self.search, self.stream = search, stream or sys.stdout
        self._terminal = self.stream.isatty()
        self._every = 1.0 if self._terminal else EVERY
        self._began, self._spent = time.monotonic(), search.charged
        self._next, self._live_line = self._began + self._every, False
        self._given_up = search.fold.given_up

    def tick(self) -> None:
        """Say how far the run is, if it is time to; at once, which method was given up."""
        self._say_given_up()
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._every
        line = self._overall(now)
        if self._terminal:
            self.stream.write(f"\r\x1b[K{line}")
            self._live_line = True
        else:
            self.stream.write(line + "\n")
        self.stream.flush()

    def say(self, line: str) -> None:
        """A line of its own."""
        self.stream.write(("\r\x1b[K" if self._live_line else "") + line + "\n")
        self.stream.flush()
        self._live_line = False

    def ended(self, trial: Trial) -> None:
        """Say how a trial ended."""
        told = (_told(report.metrics) for report in reversed(trial.reports.values()))
        shown = next(filter(None, told), "")
        reason = f" ({trial.reason})" if trial.reason else ""
        self.say(
            f"  {trial.uid}: {trial.state} at epoch {trial.epoch} of {trial.epochs},{shown} "
            f"{trial.stage}, {trial.held:.1f} s{reason}"
        )

    def closed(self) -> None:
        """Say, at a run's end, where nothing could be trained."""
        self._say_given_up()
        given_up = self.search.fold.given_up
        if given_up.keys() >= self.search.spaces.keys():
            method, reason = next(iter(given_up.items()))
            which = "its only method was" if len(given_up) == 1 else f"all {len(given_up)} methods were"
            self.say(f"The run ends: {which} given up ({method}: {reason}). Mend that, then begin anew with --fresh.")

    def _say_given_up(self) -> None:
        given_up = self.search.fold.given_up
        for method, reason in given_up.items():
            if method not in self._given_up:
                self.say(f"{method} is given up: {reason}")
        self._given_up = given_up

    def _overall(self, now: float) -> str:
        search = self.search
        budget, spent = search.plan.budget, search.charged
        states = dict.fromkeys(("complete", "pruned", "failed"), 0)
        best: dict[str, float] = {}
        by = ""
        for trial in search.fold.trials.values():
            if trial.final:
                states[trial.state] += 1
            if trial.stage == "search" and trial.accuracy is not None:
                best[trial.method] = max(best.get(trial.method, 0.0), trial.accuracy)
                by = _name(trial.last.metrics) if trial.last else by
        rate = (spent - self._spent) / max(1e-9, now - self._began) or search.slots * search.plan.rate
        left = max(0.0, budget.seconds - spent) / rate
        unit, seconds = ("h", 3600) if budget.seconds >= 7200 else ("min", 60)
        ranking = " ".join(f"{m} {a:.1%}" for m, a in sorted(best.items(), key=lambda item: -item[1])[:4])
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        running, pending = len(search.running) - len(search.pending), len(search.pending)
        waiting = f", {pending} waiting for a device" if pending else ""
        return (
            f"{spent / seconds:.1f} of {budget.seconds / seconds:.1f} {budget.device}-{unit} "
            f"({spent / budget.seconds:.0%}) | {running} running{waiting}, {counts} | "
            f"{left / seconds:.1f} {unit} left" + (f" | best{by} {ranking}" if ranking else "")
        )


def _name(measured: Mapping[str, float]) -> str:
    """Of the figure that compares trainings: nothing where it is an accuracy."""
    return "" if metric(measured) is SELECTION else f" {called(measured)}"


def _told(measured: Mapping[str, float]) -> str:
    """That figure, with its name; nothing where it was not measured."""
    value = figure(measured)
    return "" if value is None else f"{_name(measured)} {value:.1%}"
