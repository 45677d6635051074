"""The ledger: the only state of a run. An append-only file of events, and the pure fold that reads them.

Everything that the harness knows (budget spent, Optuna's studies, pruning rungs, winners, unfinished trials)
is a function of these lines, so that a driver killed at any instant continues by reading them again. One JSON
object a line, one `write` and `fsync` a line, one writer (a lock refuses a second). What a power cut made of the last
line is dropped.

**Events.** `event` names the kind. Every event has `time`, seconds of wall clock since 1970, for display
only: no charge is computed from it.

`run`        the first line. `format` (int); `settings` (dict: what identifies the run, compared when it is
             continued, `bench.search.plan.Experiment.identity`); `plan` (dict: `epochs`, `calibration`
             {method: {"epoch", "evaluation", "start", "published": seconds}}, `calibration_seconds` charged, `startup`,
             `choices` {method: {hyper-parameter: [those left of its choices, as the others train the same]}}, `halved`
             [methods and baselines that have half the batch, as the device's memory does not hold the whole])
`session`    a driver begins: `number` (from 0), `budget` {"device": "gpu"|"cpu", "seconds": float},
             `slots`, `rate` (device-seconds per second of a slot), `share` (device-seconds per method),
             `facts` (dict: whatever the command wants on record: device name, versions, commit, ...) and, where
             it calibrated anew, `plan` (dict: what is new of the run's: `calibration`, `calibration_seconds`
             of all calibrations, `startup`, `halved`)
`suggested`  a trial exists: `uid`, `method`, `stage`, `seed`, `number` (0, 1, ... within method and stage),
             `hyperparameters`, `parameters` (as Optuna stores them; search only), `published` (bool: the published
             recipe), `ours` (true for our recipe where it is another one, else left out), `of` (uid of the search
             trial that a confirm trial repeats, or null), `epochs`, `evaluate_at`,
             `halved` (whether it has half the images in a step)
`assigned`   a slot is kept for it: `uid`, `attempt` (1, 2, ...); charging begins, on a cluster with its
             worker's first sign of life
`started`    a worker has it: `uid`, `held`, `startup`
`reported`   one epoch: `uid`, `attempt`, `report` (dict: `EpochReport.to_json`; null for NaN),
             `held`, `decision` (`continue`, `complete`, `pruned`, `failed`, `cut`), `reason` (or null); where
             it failed, its `kind`; with an attempt's first report, `facts` (dict: the trainer's `facts`
             attribute, where it has one: `encoder_parameters`, `own_encoder`, `device`)
`held`       heartbeat: `held` {uid: device-seconds}, `startup`
`lost`       its worker died without a word: `uid`, `held`, `startup`, `reason`. The trial is tried again.
`cut`        the budget, the user or the driver's death stopped it: the same fields. It stays open.
`halved`     memory was out before its first report: the same fields. It stays open, and is tried again with half the
             images in a step; so have all search trials of its method that begin later
`failed`     it ended between two reports: the same fields, and its `kind`
`chosen`     search ended for a method: `method`, `winner` (uid or null), `share`; where it was given up, because its
             trials fail, the `reason`
`closed`     a driver ended in good order: `reason` ("done", "budget", "interrupted", "error")

`held` is always the trial's total so far in device-seconds (slot time x GPUs per trial; core-seconds on the
CPU), from monotonic clocks, everything counted from the moment a worker has it. `startup` is the run's total of
the time that slots waited for their workers to start: charged to the budget, but to no method. A decision stands
in the line of the report that caused it: both are durable or neither is.

The `kind` of a failure says whose it is. The recipe's: `diverged` (something is not finite), `collapsed`, `memory`
(the device's or the machine's is too small for it), `error` (the trainer raised). The machine's: `hung` (an epoch took
too long), `lost` (workers died), `device` (an error of the device). Older ledgers have none.

**To read it**: `read(path) -> Fold`; `Fold.trials` maps uid -> `Trial`, whose `reports` maps epoch -> `Epoch`.
`bench.report.results` makes tables of it.
"""

import contextlib
import errno
import fcntl
import itertools
import json
import math
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algorithms.evaluation.metrics import SELECTION
from algorithms.training.report import EpochReport
from bench.errors import UserError
from bench.files import make_folder, sync_folder
from bench.search.job import Job

FORMAT = 3
READABLE = (1, 2, 3)
"""Runs of formats 1 and 2 can be read, but not continued: their methods had other recipes and heads, and one recipe
each, where ours may stand beside the published one; format 1, that of version 0.1, also recorded batch sizes, effective
hyper-parameters and failures otherwise."""
PAUSES = (0.05, 0.25)
"""Seconds before a line is tried again that met a full disk: what a worker cannot write whole, such as a checkpoint,
takes the last of it until the worker removes it."""
FINAL = ("complete", "pruned", "failed")
RECIPES = ("published", "ours")
"""What the recipes of a method are called, and the stages that confirm them: the first search trials, in this order."""
OF_THE_RECIPE = ("diverged", "collapsed", "memory", "error")
OF_THE_MACHINE = ("hung", "lost", "device")


@dataclass(frozen=True)
class Epoch(EpochReport):
    """An epoch's report as the ledger knows it. In device-seconds: what the trial had held then, and what of it the
    epoch took."""

    device_seconds: float = 0.0
    took: float = 0.0
    attempt: int = 0


@dataclass
class Trial:
    """One trial as the ledger knows it.

    `state` is `running`, `cut` (stopped but open: continues when the budget allows), `complete`, `pruned`,
    `failed`.
    """

    uid: str
    method: str
    stage: str
    seed: int
    number: int
    hyperparameters: dict[str, Any]
    parameters: dict[str, Any]
    published: bool
    of: str | None
    epochs: int
    evaluate_at: list[int]
    halved: bool = False
    state: str = "running"
    reason: str | None = None
    kind: str | None = None  # of its failure
    reports: dict[int, Epoch] = field(default_factory=dict)
    decisions: dict[int, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    fruitless: int = 0  # workers lost since the last report
    held: float = 0.0  # device-seconds
    held_at_start: float = 0.0  # of which before the present attempt's worker had it
    started: float | None = None  # wall clock
    ended: float | None = None
    ours: bool = False

    @property
    def job(self) -> Job:
        """What its trainer gets."""
        asked = (self.uid, self.method, self.stage, self.seed, self.hyperparameters, self.epochs)
        return Job(*asked, tuple(self.evaluate_at), self.halved)

    @property
    def recipe(self) -> str | None:
        """`published` or `ours` where the trial is of a recipe, as the stage is called that confirms it; else None."""
        return "published" if self.published else "ours" if self.ours else None

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def epoch(self) -> int:
        """The last epoch reported; 0 before the first."""
        return max(self.reports, default=0)

    @property
    def last(self) -> Epoch | None:
        """The last epoch's report; None before the first."""
        return self.reports.get(self.epoch)

    @property
    def accuracy(self) -> float | None:
        """The metric that selects, of the last planned epoch, never of the best one; None unless the trial is
        complete."""
        return self.last.metrics.get(SELECTION.name) if self.last and self.state == "complete" else None


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
        return self.plan.get("calibration_seconds", 0.0) + self.startup + sum(self.spent.values())


def plain(value: Any) -> Any:
    """`value` as strict JSON holds it: NaN and infinity become None, tuples lists, numpy scalars numbers, and what is
    not Unicode in a text, such as a path's odd bytes, an escape."""
    if isinstance(value, dict):
        return {plain(str(key)): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if value is None or isinstance(value, bool | int):
        return value
    if hasattr(value, "item"):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    raise TypeError(f"the ledger holds plain values, not {type(value).__name__}")


def read_events(path: str | Path) -> tuple[list[dict[str, Any]], int]:
    """The events of a ledger and the length in bytes of their lines.

    A power cut may leave any part of the last line, or empty pages in it: whatever is no event at the end is left out.
    Raises UserError if a line before a whole one is damaged, or the file is of a format that this version cannot read.
    """
    path = Path(path)
    content = path.read_bytes() if path.exists() else b""
    events: list[dict[str, Any]] = []
    good, damaged = 0, 0
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            damaged = damaged or number
            continue
        if damaged:
            raise UserError(f"{path}: line {damaged} is damaged; restore the file, or use --fresh or another --run-dir")
        events.append(event)
        good += len(line) + 1
    if events and (found := events[0].get("format")) not in READABLE:
        raise UserError(
            f"{path} has format {found}, this version reads {' and '.join(map(str, READABLE))}; "
            "continue it with the version that wrote it, or use --fresh or another --run-dir"
        )
    return events, good


def read_own_events(path: str | Path) -> tuple[list[dict[str, Any]], int]:
    """`read_events` of a run that is to be continued. Raises UserError also where an earlier version began it."""
    events, good = read_events(path)
    if events and (found := events[0]["format"]) != FORMAT:
        raise UserError(
            f"{Path(path).parent} holds a run that an earlier version began (format {found}), and recipes and heads "
            "are others now; continue it with that version, or use --fresh to begin it anew, or --run-dir for another "
            "place"
        )
    return events, good


def fold_events(events: list[dict[str, Any]], path: str | Path) -> Fold:
    """The state after these events of the ledger at `path`. Raises UserError if one lacks what its kind has."""
    fold = Fold()
    for number, event in enumerate(events, 1):
        try:
            fold.apply(event)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}: line {number} is no event of a run ({type(error).__name__}: {error}); "
                "restore the file, or use --fresh or another --run-dir"
            ) from error
    return fold


def read(path: str | Path) -> Fold:
    """The state of the run that a ledger tells. Writes nothing and needs no lock. Raises UserError."""
    events, _ = read_events(path)
    return fold_events(events, path)


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
