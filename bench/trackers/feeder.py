"""Tells a tracker what a ledger says, while it grows or afterwards: the same lines give the same calls."""

import contextlib
import fcntl
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import doors
from bench.errors import UserError
from bench.files import make_folder, slug, write_atomically
from bench.search.events import READABLE
from bench.search.fold import Fold
from bench.search.job import CHOOSING
from bench.search.trials import Trial
from bench.trackers.tracker import Run, Tracker

FOLDER = "trackers"
"""In a run's folder: for each tracker how many lines of the ledger it was told, and what it printed."""


class Feeder:
    """Follows the ledger in `run_dir` for one tracker, which is called by `name` on the command line.

    What the tracker was told before, of the same run, is not told again.
    """

    def __init__(self, run_dir: Path, name: str, tracker: Tracker) -> None:
        self._path, self._tracker = run_dir / "ledger.jsonl", tracker
        self._place = place(run_dir, name, "json")
        self._run_dir, self._fold = run_dir, Fold()
        self._bytes, self._lines, self._told, self._before = 0, 0, 0, 0
        self._began: float | None = None

    def feed(self) -> int:
        """Tell what the ledger has by now; the trials that ended by it. Raises UserError where the file is none of this
        version's, and whatever the tracker raises."""
        ended = 0
        for event in self._events():
            if self._began is None:
                self._begin(event)
            trial = self._fold.trials.get(event.get("uid", ""))
            epochs, final = (len(trial.reports), trial.final) if trial else (0, False)
            self._apply(event)
            self._lines += 1
            if trial is None or self._lines <= self._before:
                continue
            if len(trial.reports) > epochs:
                epoch = event["report"]["epoch"]
                self._tracker.report(trial, epoch, figures(trial, epoch), event["time"])
            if trial.final and not final:
                self._tracker.ended(trial)
                ended += 1
        return ended

    def note(self) -> None:
        """Remember what the tracker was told, when it has it. Raises OSError."""
        if self._lines > self._told:
            self._told = self._lines
            write_atomically(self._place, json.dumps({"began": self._began, "lines": self._told}))

    def _begin(self, event: dict[str, Any]) -> None:
        if event.get("event") != "run" or event.get("format") not in READABLE:
            raise UserError(
                f"{self._path} is no ledger that this version reads; log the run with the one that wrote it"
            )
        self._began = event["time"]
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # a damaged note tells nothing
            note = json.loads(self._place.read_text())
            self._told = self._before = int(note["lines"]) if note["began"] == self._began else 0
        self._tracker.begin(Run(self._run_dir.name, self._run_dir, event["time"], event["settings"]))

    def _apply(self, event: dict[str, Any]) -> None:
        try:
            self._fold.apply(event)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(f"{self._path}: line {self._lines + 1} is no event of a run; restore the file") from None

    def _events(self) -> Iterator[dict[str, Any]]:
        """Of the lines that are whole and were not read yet: what a power cut has left behind them is none."""
        with open(self._path, "rb") as file:
            file.seek(self._bytes)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    return
                if not isinstance(event, dict):
                    return
                self._bytes += len(line)
                yield event


def figures(trial: Trial, epoch: int) -> dict[str, float]:
    """What an epoch was: loss, speed, memory and cost, and what was measured of the encoder, called by the images on
    which it was. The figures of each class, or of each draw of labels, are left out."""
    report = trial.reports[epoch]
    images = "train" if trial.stage in CHOOSING else "test"
    told: Mapping[str, float | None] = {
        "loss": report.loss,
        "images_per_second": report.images_per_second,
        "peak_memory_bytes": report.peak_memory_bytes,
        "device_seconds": report.device_seconds,
        **{f"{images}_{name}": value for name, value in report.metrics.items() if "/" not in name},
    }
    return {name: float(value) for name, value in told.items() if value is not None and math.isfinite(value)}


def place(run_dir: Path, name: str, kind: str) -> Path:
    """A file of a tracker in a run's folder."""
    return run_dir / FOLDER / f"{slug(doors.short(name))}.{kind}"


@contextlib.contextmanager
def alone(run_dir: Path, name: str) -> Iterator[None]:
    """One process at a time tells a tracker of a run. Raises UserError where another one does."""
    path = place(run_dir, name, "lock")
    make_folder(path.parent)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{run_dir} is being logged to {name} already; wait for the end of that run") from None
        yield
