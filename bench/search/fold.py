"""The state of a run: the pure fold of its ledger's events.

`read(path) -> Fold`; `Fold.trials` maps uid -> `Trial`, whose `reports` maps epoch -> `Epoch`. `bench.report.results`
makes tables of it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from bench.errors import UserError
from bench.search.events import read_events
from bench.search.trials import Epoch, Trial


class Fold:
    """The state of a run: a pure function of its events, one `apply` each."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.plan: dict[str, Any] = {}
        self.sessions: list[dict[str, Any]] = []
        self.trials: dict[str, Trial] = {}
        self.by_method: dict[str, list[Trial]] = {}
        self.arrivals: list[tuple[str, int]] = []  # (uid, epoch) of every report, in order
        self.chosen: dict[str, dict[str, Any]] = {}
        self.halved: set[str] = set()  # methods and baselines of which new trials have half the batch
        self.spent: dict[str, float] = {}  # device-seconds by method and baseline
        self.startup: float = 0.0  # device-seconds in which slots waited for workers
        self.open: dict[str, Trial] = {}
        self.closed: str | None = None
        self.time: float = 0.0

    def apply(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        self.time = event["time"]
        self.startup = max(self.startup, event.get("startup", 0.0))
        if kind == "reported":
            trial = self.trials[event["uid"]]
            self._hold(trial, event["held"])
            if trial.final:
                return
            report = event["report"]
            if report["epoch"] in trial.reports:  # a later attempt told it again: the first stands
                return
            took = event["held"] - max(trial.held_at_start, trial.last.device_seconds if trial.last else 0.0)
            own = {"device_seconds": event["held"], "took": took, "attempt": event["attempt"]}
            trial.reports[report["epoch"]] = Epoch.from_json(report, **own)
            trial.decisions[report["epoch"]] = event["decision"]
            self.arrivals.append((trial.uid, report["epoch"]))
            trial.fruitless = 0
            trial.facts |= event.get("facts") or {}
            if event["decision"] != "continue":
                self._end(trial, event["decision"], event)
        elif kind == "held":
            for uid, held in event["held"].items():
                self._hold(self.trials[uid], held)
        elif kind == "suggested":
            values = {key: event[key] for key in event if key not in ("event", "time")}
            trial = self.trials[event["uid"]] = self.open[event["uid"]] = Trial(**values)
            self.by_method.setdefault(trial.method, []).append(trial)
            self.spent.setdefault(trial.method, 0.0)
        elif kind == "assigned":
            trial = self.trials[event["uid"]]
            trial.attempts = event["attempt"]
            trial.state, trial.reason, trial.kind, trial.ended = "running", None, None, None
            trial.started = trial.started if trial.started is not None else event["time"]
            trial.held_at_start = trial.held
        elif kind == "started":
            trial = self.trials[event["uid"]]
            self._hold(trial, event["held"])
            trial.held_at_start = trial.held
        elif kind in ("lost", "cut", "halved", "failed"):
            trial = self.trials[event["uid"]]
            trial.fruitless += kind == "lost"
            if kind == "halved":
                trial.halved = True
                self.halved.add(trial.method)
            self._hold(trial, event["held"])
            self._end(trial, "failed" if kind == "failed" else "cut", event)
        elif kind == "chosen":
            self.chosen[event["method"]] = event
        elif kind == "run":
            self.settings, self.plan = event["settings"], event["plan"]
        elif kind == "session":
            self.sessions.append(event)
            self.settings = self.settings | event.get("settings", {})
            self.plan = self.plan | event.get("plan", {})
            self.halved.update(self.plan.get("halved", ()))
            self.closed = None
        elif kind == "closed":
            self.closed = event["reason"]

    def _hold(self, trial: Trial, held: float) -> None:
        if held > trial.held:  # never backwards, whatever a clock did
            self.spent[trial.method] += held - trial.held
            trial.held = held

    def _end(self, trial: Trial, state: str, event: dict[str, Any]) -> None:
        trial.state, trial.reason, trial.kind = state, event.get("reason"), event.get("kind")
        trial.ended = self.time
        if trial.final:
            self.open.pop(trial.uid, None)

    def of(self, method: str, *stages: str) -> Iterator[Trial]:
        """The method's trials of these stages, in the order of their suggestion."""
        return (trial for trial in self.by_method.get(method, ()) if trial.stage in stages)

    def winner(self, method: str) -> str | None:
        """The uid of the search trial that was chosen; None before that, or where no trial completed."""
        return self.chosen.get(method, {}).get("winner")

    @property
    def given_up(self) -> dict[str, str]:
        """The methods whose search ended because their trials fail, with the reason of each."""
        return {method: event["reason"] for method, event in self.chosen.items() if event.get("reason")}

    def stage(self, trial: Trial) -> str:
        """The trial's stage; `superseded` for a confirm trial of a winner that a larger budget replaced."""
        former = trial.stage == "confirm" and trial.of != self.winner(trial.method)
        return "superseded" if former else trial.stage

    def confirming(self, method: str) -> list[Trial]:
        """The trials that confirm the method's winner; those of the recipe where the winner is one."""
        winner = self.winner(method)
        if winner is None:
            return []
        if recipe := self.trials[winner].recipe:
            return list(self.of(method, recipe))
        return [trial for trial in self.of(method, "confirm") if trial.of == winner]

    @property
    def charged(self) -> float:
        """Device-seconds charged to the budget, calibration and start-up included."""
        calibration: float = self.plan.get("calibration_seconds", 0.0)
        return calibration + self.startup + sum(self.spent.values())


class EventLog(Protocol):
    """What decisions are written to: `bench.search.ledger.Ledger` in a run."""

    @property
    def fold(self) -> Fold: ...

    def append(self, event: str, **values: Any) -> None:
        """Write an event, then fold it."""


def fold_events(events: list[dict[str, Any]], path: str | Path) -> Fold:
    """The state after these events of the ledger at `path`. Raises UserError if one lacks what its kind has."""
    fold = Fold()
    for number, event in enumerate(events, 1):
        try:
            fold.apply(event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path}: line {number} is no event of a run ({type(error).__name__}: {error}); "
                "restore the file, or use --fresh or another --run-dir"
            ) from error
    return fold


def read(path: str | Path) -> Fold:
    """The state of the run that a ledger tells. Writes nothing and needs no lock. Raises UserError."""
    events, _ = read_events(path)
    return fold_events(events, path)
