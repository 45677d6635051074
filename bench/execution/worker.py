"""A worker process. It lives through many trials: imports, data and compiled code stay, everything else is put back
(`bench.execution.process`).

`python -m bench.execution.worker DESCRIPTOR` is one that hears and answers through a pipe
(`bench.execution.processes`).
"""

import contextlib
import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.errors import one_line
from bench.execution import attempt
from bench.execution.answer import GO_ON
from bench.execution.attempt import Attempt
from bench.execution.attempt_folder import AttemptFolder
from bench.execution.factory import Trainers
from bench.machine import name as machine
from bench.search.job import Assignment

GLANCE = 0.5
"""Seconds between two looks for a request to stop the trial: a look costs microseconds."""


class Worker:
    """What a worker does with assignments, whoever gives them; all it hears and tells is JSON.

    `factory` and `settings` are the run's, `driver` is the name of its machine, `first` the assignment for which the
    process starts.
    """

    def __init__(self, factory: str, settings: Mapping[str, Any], run_dir: str, driver: str, first: str) -> None:
        self._run_dir, self._trainers = Path(run_dir), Trainers(factory, settings)
        self._attempt: Attempt | None = None
        _show_life(Assignment.from_json(json.loads(first)), self._run_dir)
        _stop_when_asked()
        if driver == machine():
            _die_with_driver(self._run_dir)
        self._trainers.prepare()
        self.begin(first)

    def begin(self, assignment: str) -> None:
        self._attempt = None  # before the next one, so that its memory is free
        self._attempt = Attempt(Assignment.from_json(json.loads(assignment)), self._trainers, self._run_dir)

    def step(self) -> str:
        """The next answer (`Answer`) of the present attempt."""
        assert self._attempt is not None
        return json.dumps(self._attempt.step().to_json())


def _show_life(assignment: Assignment, run_dir: Path) -> None:
    """Leave the sign that a process starts for this assignment, where it can be left."""
    folder = AttemptFolder(run_dir, assignment.job.uid, assignment.attempt)
    with contextlib.suppress(OSError):
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.alive.touch()


def _stop_when_asked() -> None:
    """End this process, in the middle of an epoch too, when its trial is to be stopped. The driver takes that for the
    trial's end, as it takes other deaths, and finds why in the same file."""

    def watch() -> None:
        while True:
            present = attempt.current
            if present is not None and present.folder.stop.exists() and attempt.current is present:
                os._exit(1)
            time.sleep(GLANCE)

    threading.Thread(target=watch, daemon=True).start()


def _die_with_driver(run_dir: Path) -> None:
    """End this process at once when the driver dies, however it dies; its slot is another's then.

    The driver holds a lock on the run's folder while it lives. A thread waits for that lock; when it gets it, it
    notes how long the present attempt had run. Only for workers on the driver's machine: elsewhere the lock may be
    free though the driver lives, as many shared file systems keep locks on each node. Those Ray ends, a little later.
    """

    def wait() -> None:
        try:
            file = os.open(run_dir / "lock", os.O_RDWR)
            fcntl.flock(file, fcntl.LOCK_SH)
        except OSError:
            return
        try:
            present = attempt.current
            if present is not None and present.folder.path.exists():
                present.folder.elapsed.write_text(f"{present.elapsed:.3f}")
        finally:
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def serve(pipe: Connection) -> None:
    """Do what the other end says, until it is gone: first how to start, then to every answer whether the trial goes on,
    and after its end the next assignment. Tells [kind, content]: that a trial is `started`, an `answer`, or the `error`
    that ends this process."""

    def tell(kind: str, content: str = "") -> None:
        pipe.send_bytes(json.dumps([kind, content]).encode())

    def hear() -> str:
        return pipe.recv_bytes().decode()

    try:
        worker = Worker(**json.loads(hear()))
        while True:
            tell("started")
            tell("answer", worker.step())
            while hear() == GO_ON:
                tell("answer", worker.step())
            worker.begin(hear())
    except (EOFError, ConnectionError):
        pass
    except Exception as error:
        tell("error", f"{type(error).__name__}: {one_line(error)}")


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
