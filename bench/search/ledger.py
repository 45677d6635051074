"""The ledger: the only state of a run. An append-only file of events (`bench.search.events`).

Everything that the harness knows (budget spent, Optuna's studies, pruning rungs, winners, unfinished trials)
is a function of these lines (`bench.search.fold`), so that a driver killed at any instant continues by reading them
again. One `write` and `fsync` a line, one writer (a lock refuses a second). What a power cut made of the last line is
dropped.
"""

import contextlib
import errno
import fcntl
import itertools
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.files import make_folder, sync_folder
from bench.search.events import plain, read_own_events
from bench.search.fold import fold_events

PAUSES = (0.05, 0.25)
"""Seconds before a line is tried again that met a full disk: what a worker cannot write whole, such as a checkpoint,
takes the last of it until the worker removes it."""


class Ledger:
    """The ledger opened by the one driver that may write it; `fold` follows every append.

    Raises UserError if another driver holds the folder, the file is damaged or an earlier version began the run, and
    OSError of the disk.
    """

    def __init__(self, run_dir: str | Path, *, fresh: bool = False) -> None:
        self.run_dir = Path(run_dir)
        self.path = self.run_dir / "ledger.jsonl"
        make_folder(self.run_dir)
        self._lock = lock(self.run_dir)
        try:
            if fresh and self.path.exists():
                former = (self.run_dir / f"ledger.previous-{number}.jsonl" for number in itertools.count(1))
                os.replace(self.path, next(path for path in former if not path.exists()))
            events, self._size = read_own_events(self.path)
            self.fold = fold_events(events, self.path)
            self._file = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
            self._torn, self._full = True, False
            sync_folder(self.run_dir)  # before the first line: the file's name, and that of the former one
        except BaseException:
            os.close(self._lock)
            raise

    def append(self, event: str, **values: Any) -> None:
        """Make one event durable, then fold it. Raises UserError on a full disk; the file stays whole."""
        entry = {"event": event, "time": round(time.time(), 3), **plain(values)}
        line = (json.dumps(entry, separators=(",", ":"), allow_nan=False) + "\n").encode()
        for pause in (*PAUSES, None):
            try:
                self._write(line)
                self._full = False
                break
            except OSError as error:
                if self._full or pause is None or error.errno != errno.ENOSPC:
                    self._full = True  # and no later line waits: trials hold their slots meanwhile
                    raise UserError(
                        f"{self.path} cannot be written ({error.strerror or error}); "
                        "free some space and run the same command again (without --fresh), it continues"
                    ) from error
                time.sleep(pause)
        self._size += len(line)
        self.fold.apply(entry)

    def _write(self, line: bytes) -> None:
        try:
            self._cut_torn()
            self._torn = True
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
            self._torn = False
        except OSError:
            with contextlib.suppress(OSError):  # else the next append cuts it, or the next driver drops it
                self._cut_torn()
            raise

    def _cut_torn(self) -> None:
        """Remove what an append that failed has left, or the next line would be glued to it."""
        if self._torn:
            os.ftruncate(self._file, self._size)
            self._torn = False

    def close(self) -> None:
        os.close(self._file)
        os.close(self._lock)


def is_abandoned(run_dir: Path) -> bool:
    """Whether the last driver was on this machine and has ended. Of one elsewhere nobody here can tell: many shared
    file systems keep a lock on the node that took it."""
    try:
        descriptor = os.open(run_dir / "lock", os.O_RDONLY)
    except OSError:
        return True  # no driver was ever here
    try:
        holder = os.read(descriptor, 200).decode(errors="replace")
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # for an instant, as workers do
        return holder.rstrip().endswith(f" on {socket.gethostname()}")
    except OSError:
        return False
    finally:
        os.close(descriptor)


def lock(run_dir: Path) -> int:
    """Take the folder's lock and return its descriptor; the kernel frees it however the driver dies.

    Workers wait for the same lock to learn of their driver's death (`bench.execution.worker`) and then
    hold it for an instant, so a refusal comes only after a second of trying.
    """
    descriptor = os.open(run_dir / "lock", os.O_CREAT | os.O_RDWR, 0o644)
    deadline = time.monotonic() + 1.0
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.read(descriptor, 200).decode(errors="replace").strip()
                os.close(descriptor)
                raise UserError(
                    f"{run_dir} is in use by another run ({holder}); wait for it or use another --run-dir"
                ) from None
            time.sleep(0.02)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return descriptor
