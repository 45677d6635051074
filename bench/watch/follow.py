"""A ledger, as it grows: only what was appended is read."""

import os
from pathlib import Path

from bench.errors import UserError
from bench.search.events import read_events
from bench.search.fold import Fold, fold_events


class Follower:
    """The state of the run whose ledger lies at `path`, whether it is there yet or not; `look` brings it up to date."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told = 0
        """Rises with every event that is no heartbeat, and when the file is read anew."""
        self._forget()

    def _forget(self) -> None:
        self.fold = Fold()
        self.format: int | None = None
        """Of the ledger; None before its first line."""
        self.told += 1
        self.error: str | None = None
        """Why the ledger cannot be read on."""
        self._end, self._file, self._stamp = 0, 0, (0, 0)

    def look(self) -> bool:
        """Take in what is new; whether there was anything. A torn last line waits until it is whole, and a file that
        another one has replaced, as after --fresh, is read from its beginning."""
        try:
            found = os.stat(self.path)
        except OSError:
            known = bool(self._file)
            self._forget()
            return known
        stamp = (found.st_size, found.st_mtime_ns)
        if found.st_ino == self._file and stamp == self._stamp:
            return False
        if found.st_ino != self._file or found.st_size < self._end or self.error:
            self._forget()
        self._file, self._stamp = found.st_ino, stamp
        try:
            return self._read_on()
        except (UserError, KeyError, TypeError, ValueError, AttributeError):  # told again with the line's number
            self._read_anew()
            return True

    def _read_on(self) -> bool:
        events, length = read_events(self.path, self._end)
        if events and self._end == 0:
            self.format = events[0]["format"]
        for event in events:
            self.fold.apply(event)
            self.told += event["event"] != "held"
        self._end += length
        return bool(events)

    def _read_anew(self) -> None:
        file, stamp = self._file, self._stamp
        self._forget()
        self._file, self._stamp = file, stamp
        try:
            events, self._end = read_events(self.path)
            self.fold, self.format = fold_events(events, self.path), events[0]["format"] if events else None
        except (UserError, OSError) as error:
            self.error = str(error)
