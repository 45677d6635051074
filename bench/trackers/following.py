"""A tracker beside a run: a process of its own reads the ledger as it grows, so that no tracker can slow a run, end it,
or touch what it decides.

`python -m bench.trackers.following RUN_DIR NAME` is that process. It ends when its standard input does, that is with
the driver, however that ends.
"""

import contextlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import doors
from bench.errors import one_line
from bench.trackers import feeder, known

EVERY = 1.0
"""Seconds between two looks at the ledger."""
LAST_WORDS = 60.0
"""Seconds that a tracker has after the run, to send what it holds."""


@contextlib.contextmanager
def followed(run_dir: Path, names: Sequence[str]) -> Iterator[None]:
    """The trackers of these names follow the run in `run_dir`, which has a ledger, while the block lasts. Of one that
    fails a warning tells, on standard error."""
    processes = {name: _start(run_dir, name) for name in dict.fromkeys(names)}
    watchers = [threading.Thread(target=_watch, args=(run_dir, *each), daemon=True) for each in processes.items()]
    for watcher in watchers:
        watcher.start()
    try:
        yield
    finally:
        for process in processes.values():
            assert process.stdin is not None
            process.stdin.close()
        for process in processes.values():
            try:
                process.wait(LAST_WORDS)
            except subprocess.TimeoutExpired:
                process.kill()
        for watcher in watchers:
            watcher.join()


def _start(run_dir: Path, name: str) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "bench.trackers.following", str(run_dir.resolve()), doors.absolute(name)]
    path = feeder.place(run_dir, name, "log")
    path.parent.mkdir(exist_ok=True)
    # its own session: Ctrl-C is for the driver, whose end it sees
    with open(path, "wb") as log:
        return subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )


def _watch(run_dir: Path, name: str, process: subprocess.Popen[bytes]) -> None:
    """Say so where the process ends otherwise than well."""
    if process.wait() == 0:
        return
    path = feeder.place(run_dir, name, "log")
    with contextlib.suppress(OSError):
        lines = path.read_text(errors="replace").split("\n")
        why = next((line for line in reversed(lines) if line.strip()), "it was killed")
        print(
            f"warning: {doors.short(name)} is told no more of this run ({one_line(why)[:200]}); the run goes on, and "
            f"ssl-bench log {run_dir} --to {name} tells the rest",
            file=sys.stderr,
        )


def follow(run_dir: Path, name: str) -> None:
    """Tell the tracker of what the ledger gets until standard input ends. Raises whatever the tracker raises."""
    with feeder.alone(run_dir, name):
        tracker = known.make(name)
        of_run = feeder.Feeder(run_dir, name, tracker)
        while True:
            readable, _, _ = select.select([sys.stdin], [], [], EVERY)
            of_run.feed()
            if readable:
                break
            of_run.note()
        tracker.close()
        of_run.note()


if __name__ == "__main__":
    os.nice(10)
    follow(Path(sys.argv[1]), sys.argv[2])
