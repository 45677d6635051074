"""The files of an attempt at a trial: its worker writes them, the driver reads what a dead one has left. One comes from
the user. Needs no PyTorch."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.search.job import Failure
from bench.search.trials import STOPPED

FOLDER = "checkpoints"
"""Of a run: in it every open trial has a folder, by its uid."""


@dataclass(frozen=True)
class AttemptFolder:
    """The folder of the trial `uid`, as its `attempt` (1, 2, ...) sees it. No two attempts write the same file."""

    run_dir: Path
    uid: str
    attempt: int

    @property
    def path(self) -> Path:
        return self.run_dir / FOLDER / self.uid

    @property
    def checkpoint(self) -> Path:
        """{"epoch", "reports": all epochs so far, "state": the trainer's}. A new attempt reads the newest of earlier
        attempts, so a worker that should be dead spoils nothing."""
        return self._file("pt")

    @property
    def alive(self) -> Path:
        """A worker process starts for the attempt: where devices are shared it is charged from then on."""
        return self._file("alive")

    @property
    def note(self) -> Path:
        """Why the worker had to end itself: out of memory or a device error (the kind of the failure, as in
        `bench.search.events`, and a line that describes it), or a hanging epoch's stack."""
        return self._file("note")

    @property
    def stop(self) -> Path:
        """The user's request to stop the trial (`bench.execution.stopping`): its worker sees it and ends itself."""
        return self._file("stop")

    @property
    def elapsed(self) -> Path:
        """Seconds that the attempt had run when its driver died."""
        return self._file("elapsed")

    def _file(self, kind: str, attempt: int | None = None) -> Path:
        return self.path / f"attempt-{attempt or self.attempt}.{kind}"

    def earlier_checkpoints(self) -> Iterator[Path]:
        """Those of earlier attempts that are there, the newest first."""
        paths = (self._file("pt", attempt) for attempt in range(self.attempt - 1, 0, -1))
        return (path for path in paths if path.exists())

    def seconds(self) -> float:
        """What `elapsed` says; 0 where nobody could write that."""
        try:
            return float(self.elapsed.read_text())
        except (OSError, ValueError):
            return 0.0

    def failure(self) -> Failure | None:
        """Why the worker ended: the user asked for it or, as `note` says, it had to; None where neither is so, and
        something else has ended it."""
        if self.stop.exists():
            return Failure(STOPPED, "stopped by hand; what it held stays charged to its method")
        try:
            note = self.note.read_text()
        except OSError:
            return None
        limit = re.match(r"Timeout \((.*?)\)", note)
        if limit is None:
            kind, _, reason = note.partition("\n")
            return Failure(kind, reason) if reason else None
        frame = re.search(r'File "(.*?)", line (\d+)', note.split("Thread ")[-1])  # the training thread is the last
        where = f", at {Path(frame[1]).name}:{frame[2]}" if frame else ""
        return Failure("hung", f"time limit: an epoch took more than {limit[1]}{where}")
