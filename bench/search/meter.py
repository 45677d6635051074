"""The meter of a run: which trials hold slots, since when, and what that is charged."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.search.fold import Fold
from bench.search.plan import Plan
from bench.search.trials import Trial


@dataclass
class Running:
    """A trial that holds a slot."""

    attempt: int
    since: float
    """When its slot was held for it, then when its worker had it (monotonic seconds)."""
    before: float
    """Device-seconds that it had held before this attempt."""


class Meter:
    """Counts the device-seconds of slots: a trial's from the moment a worker has it, start-up before that.

    `clock` counts seconds and never jumps. On `shared` devices, where others may hold what a trial waits for, its slot
    is charged only when its worker is `alive`.
    """

    def __init__(self, plan: Plan, fold: Fold, clock: Callable[[], float], *, shared: bool) -> None:
        self._plan, self._fold, self._clock, self._shared = plan, fold, clock, shared
        self.running: dict[str, Running] = {}
        self.pending: set[str] = set()
        """Those of which nothing says yet that they hold a device: not charged."""
        self._starting: dict[str, Running] = {}  # those that hold a slot, but whose worker is not there yet
        # The charge at any time is one sum, whatever runs: settled + rate * (running and charged * now - since)
        self._settled, self._since, self._startup = fold.charged, 0.0, fold.startup

    @property
    def charged(self) -> float:
        """Device-seconds charged up to now, running trials included."""
        charged = len(self.running) - len(self.pending)
        return self._settled + self._plan.rate * (charged * self._clock() - self._since)

    @property
    def exhausted(self) -> bool:
        return self.charged >= self._plan.budget.seconds

    @property
    def training(self) -> bool:
        """Whether any worker has a trial."""
        return len(self.running) > len(self._starting) + len(self.pending)

    def held(self, uid: str) -> float:
        """Device-seconds that a trial has held up to now."""
        running = self.running.get(uid)
        if running is None or uid in self._starting or uid in self.pending:
            return self._fold.trials[uid].held
        return running.before + self._plan.rate * (self._clock() - running.since)

    @property
    def startup(self) -> float:
        """Device-seconds in which slots waited for their workers, up to now."""
        now = self._clock()
        return self._startup + self._plan.rate * sum(now - running.since for running in self._starting.values())

    def begin(self, trial: Trial) -> None:
        """A slot is kept for the trial's present attempt."""
        self.running[trial.uid] = Running(trial.attempts, self._clock(), trial.held)
        self.pending.add(trial.uid)
        if not self._shared:
            self.alive(trial.uid)

    def alive(self, uid: str) -> None:
        """The trial's slot is held, at least by a worker that starts: from now on it is charged."""
        if uid in self.pending:
            self.pending.remove(uid)
            running = self._starting[uid] = self.running[uid]
            running.since = self._clock()
            self._since += running.since

    def working(self, uid: str) -> None:
        """A worker has the trial; what went before was start-up."""
        self.alive(uid)
        running = self._starting.pop(uid, None)
        if running is None:
            return
        now = self._clock()
        waited = self._plan.rate * (now - running.since)
        self._startup += waited
        self._settled += waited
        self._since += now - running.since
        running.since = now

    def end(self, trial: Trial) -> None:
        """The trial gave its slot back; `trial.held` is final for now."""
        self.alive(trial.uid)
        running = self.running.pop(trial.uid)
        self._starting.pop(trial.uid, None)
        self._since -= running.since
        self._settled += trial.held - running.before
