"""A run that is watched: its page as it is now, made again when its ledger or its tables have changed."""

import threading
import time
from pathlib import Path

from bench.errors import UserError
from bench.report import inspections, report, results, table
from bench.report.results import Results
from bench.report.run import Run
from bench.search.events import FORMAT
from bench.watch import live
from bench.watch.follow import Follower
from bench.watch.parts import Parts, Versions

FILES = ("trials.parquet", "epochs.parquet")
PAUSE, PART = 5.0, 20
"""Least seconds between two makings of a page, which also get at most this part of the time."""
WANTED = 15.0
"""Seconds for which a page is renewed after a browser has asked for it."""


class Watched:
    """The run in `folder`, whether it has begun or not. Used by several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.name = self.folder.name
        self.versions = Versions(["live", "page"])
        self.results: Results | None = None
        """As the page shows them; None before it was made for the first time."""
        self.made_at: float | None = None
        """When the page was made of them (wall clock)."""
        about = {"title": self.name, "subtitle": ["The report is being made."]}
        self.frame: str = live.TEMPLATES.get_template("page.html").render(**live.NOTHING | about)
        """The page that was made last; before that an empty one."""
        self.made = threading.Event()
        """Whether it was made, or cannot be."""
        self._lock = threading.Lock()
        self._follower = Follower(self.folder / "ledger.jsonl")
        self._error: str | None = None
        self._state: object = None  # that the page was made of
        self.versions.put("page", Parts.of(self.frame))
        self._due = self._wanted = 0.0
        self._run: Run = {}

    def look(self) -> None:
        """Bring what the run does now up to date: as cheap as what was appended to its ledger."""
        self._wanted = time.monotonic()
        with self._lock:
            self._follower.look()
            fold = self._follower.fold
            if fold.settings and self._by_ledger:
                self._run = results.facts(fold, self.name)
            elif self.results is not None and self.results.run.get("budget"):
                self._run = self.results.run
            told = self._follower.error or self._error
            self.versions.put("live", live.parts(fold, self._run, self.folder, told, self.made_at))

    @property
    def state(self) -> str:
        """In a few words."""
        with self._lock:
            self._follower.look()
            return live.briefly(self._run, self._follower.fold, time.time())

    @property
    def _by_ledger(self) -> bool:
        """Whether the page is made of the ledger: of one of an earlier format its version has made the tables."""
        return self._follower.format == FORMAT

    def _now(self) -> object:
        """What the page depends on. Heartbeats alone are no reason to make it again."""
        if self._by_ledger:
            return self._follower.told, self._follower.fold.closed
        stamps = []
        for name in FILES:
            try:
                found = (self.folder / name).stat()
                stamps.append((found.st_ino, found.st_size, found.st_mtime_ns))
            except OSError:
                stamps.append((0, 0, 0))
        return tuple(stamps)

    @property
    def due(self) -> bool:
        """Whether the page should be made again: somebody looks, the run has changed, and it is time to."""
        now = time.monotonic()
        return now < self._wanted + WANTED and now >= self._due and self._now() != self._state

    def make(self) -> None:
        """Make the page again, which may take seconds."""
        began = time.monotonic()
        with self._lock:
            self._follower.look()
            state, fold, found = self._now(), self._follower.fold, None
            if self._by_ledger:
                found = results.of(fold, self.name)
        try:
            found = found or self._load()
            page = report.render(
                found, inspections.load(self.folder, found), live=fold.closed is None and bool(fold.settings)
            )
            self.versions.put("page", Parts.of(page))
            self.results, self.frame, self.made_at, self._error = found, page, time.time(), None
        except UserError as error:
            self._error = str(error)
        self._state = state
        self._due = time.monotonic() + max(PAUSE, PART * (time.monotonic() - began))
        self.made.set()

    def _load(self) -> Results:
        """The tables; of a run that has not begun, empty ones."""
        if not self._follower.error and not any((self.folder / name).exists() for name in FILES):
            return results.of(self._follower.fold, self.name)
        return results.load(self.folder)

    def page(self) -> str:
        """The whole page."""
        return self.versions.page(self.frame, "live.js")

    def file(self, name: str) -> bytes | None:
        """A file that the page links: the tables as they lie in the folder, the others made of what it shows."""
        if name in FILES:
            try:
                return (self.folder / name).read_bytes()
            except OSError:
                return None
        made = {"table.md": table.markdown, "table.csv": table.csv}.get(name)
        return made(self.results).encode() if made and self.results is not None else None
