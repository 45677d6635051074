"""The plan of a run: what is asked, what each epoch costs as calibrated, each method's share, how many epochs.

`make` gives the plan, `describe` says it in words (`--dry-run`). `python -m bench.plan` is the process in which the
calibration runs, on one slot, before Ray starts.
"""

import dataclasses
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.budget import Budget, trials_per_device
from bench.errors import UserError
from bench.ledger import Fold, plain, read_events
from bench.search import SCHEDULERS, SEARCHERS, plugin

MOST_EPOCHS = 200
"""The longest training that is chosen by itself: the published CIFAR-10 tables begin at 200 epochs."""
CONFIRM_IMAGES = 10 / 9
"""Confirming trains on train + validation, and validation is a tenth."""
CONFIRM_PART = 0.3
MOST_CONFIRM_PART = 0.65
"""Epochs are chosen so that confirming takes at most the first of the shares on average, and the second of any."""
UNTRAINED = ("pixels", "random")
"""Baselines that are evaluated only, in one epoch."""
SINGLE = ("pixels",)
"""Baselines that have nothing random, so that one seed tells all."""


@dataclass(frozen=True)
class Experiment:
    """What is asked of a run, whatever the budget and the machine.

    `spaces` maps method -> search space (`bench.search_space.SearchSpace`), in the order of tables. `factory` is
    "module:function", called in workers as `function(trial, settings)`. Beside it in the same module are
    `calibrate(trial, settings)`, which gives {"epoch": seconds, "evaluation": seconds}, and where wanted
    `prepare(settings)`, called once in each worker process before its first trial, and `effective(trial, settings)`,
    the hyper-parameters with which the trial is trained: choices in which they do not differ are searched as one.
    `settings` (plain values) go to all of them and identify the run, as do the fields below them; `local` (plain
    values: folders, threads) goes to all of them and does not. `patience` is the seconds that an epoch may take beyond
    ten times its calibration: a step may have to be compiled in it.
    """

    spaces: dict[str, Any]
    factory: str
    settings: dict[str, Any] = field(default_factory=dict)
    local: dict[str, Any] = field(default_factory=dict)
    baselines: tuple[str, ...] = ("pixels", "random", "supervised")
    epochs: int | None = None
    seeds: int = 3
    seed: int = 0
    searcher: str = "tpe"
    scheduler: str = "asha"
    patience: float = 360.0

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be continued; the ledger's first line has it."""
        return plain(
            self.settings
            | {
                "methods": list(self.spaces),
                "search_spaces": {method: space.hash for method, space in self.spaces.items()},
                "baselines": list(self.baselines),
                "epochs": self.epochs,
                "seeds": self.seeds,
                "seed": self.seed,
                "searcher": self.searcher,
                "scheduler": self.scheduler,
                "factory": self.factory,
            }
        )


@dataclass(frozen=True)
class Plan:
    """An experiment with a budget on a machine. `rate` is the device-seconds of a second on a slot.

    `calibration` maps method -> {"epoch": seconds, "evaluation": seconds, "start": seconds} on one slot; `start` is
    what beginning a trial takes in a warm worker (0 where it is not there). `choices` maps method -> {hyper-parameter:
    the choices that are left}, where some of a search space train the same.
    """

    experiment: Experiment
    budget: Budget
    slots: int
    rate: float
    epochs: int
    calibration: dict[str, dict[str, float]]
    calibration_seconds: float
    startup: float
    choices: dict[str, dict[str, list]] = field(default_factory=dict)

    @cached_property
    def spaces(self) -> dict[str, Any]:
        """The search spaces by method, with the `choices` that are left."""
        spaces = self.experiment.spaces.items()
        return {m: space.narrowed(self.choices[m]) if m in self.choices else space for m, space in spaces}

    @cached_property
    def milestones(self) -> list[int]:
        """The epochs before the last at which search trials are evaluated and may be pruned."""
        return plugin("scheduler", self.experiment.scheduler, SCHEDULERS)(self.epochs).milestones

    @property
    def baselines(self) -> dict[str, tuple[int, int]]:
        """Baseline -> (epochs, seeds)."""
        return {
            name: (1 if name in UNTRAINED else self.epochs, 1 if name in SINGLE else self.experiment.seeds)
            for name in self.experiment.baselines
        }

    def cost(self, method: str, stage: str, first: int, last: int) -> float:
        """Device-seconds that the epochs after `first` up to `last` take by the calibration; the first epoch of a trial
        with what beginning it takes."""
        seconds = self.calibration[method]
        if stage == "search":
            training, evaluations = 1.0, sum(first < m <= last for m in [*self.milestones, self.epochs])
        else:
            training = 1.0 if method in UNTRAINED else CONFIRM_IMAGES
            evaluations = last >= (1 if method in UNTRAINED else self.epochs)
        start = seconds.get("start", 0.0) if first == 0 else 0.0
        return self.rate * (start + (last - first) * training * seconds["epoch"] + evaluations * seconds["evaluation"])

    @cached_property
    def allowance(self) -> float:
        """Device-seconds for the baselines, and for the start of a worker on each slot."""
        baselines = self.baselines.items()
        trainings = sum(seeds * self.cost(name, "baseline", 0, epochs) for name, (epochs, seeds) in baselines)
        return trainings + self.rate * self.slots * self.startup

    @cached_property
    def share(self) -> float:
        """Device-seconds of each method."""
        left = self.budget.seconds - self.calibration_seconds - self.allowance
        return left / len(self.experiment.spaces)

    def training(self, method: str) -> float:
        """Device-seconds of one search trial that runs to its last epoch."""
        return self.cost(method, "search", 0, self.epochs)

    def confirming(self, method: str) -> float:
        """Device-seconds kept back: the winner and the published recipe with every seed."""
        return 2 * self.experiment.seeds * self.cost(method, "confirm", 0, self.epochs)

    def least_share(self) -> float:
        """The share with which every method can make and confirm one trial."""
        return max(self.training(method) + self.confirming(method) for method in self.experiment.spaces)

    def trials(self, method: str) -> float:
        """About how many search trials fit, at the mean cost of a trial when the scheduler prunes as it should."""
        milestones = [0, *self.milestones, self.epochs]
        mean = sum(self.cost(method, "search", a, b) / 3**rung for rung, (a, b) in enumerate(pairwise(milestones)))
        return 1 + max(0.0, self.share - self.confirming(method) - self.training(method)) / mean

    def time_limit(self, method: str) -> float:
        """Seconds after which an epoch counts as hung."""
        return self.experiment.patience + 10 * sum(self.calibration[method].values())


def make(
    experiment: Experiment,
    budget: Budget,
    slots: int,
    rate: float = 1.0,
    *,
    run_dir: str | Path | None = None,
    fresh: bool = False,
    prepare: Callable[[], None] = lambda: None,
) -> Plan:
    """The plan; from the ledger in `run_dir` where a run is continued, else calibrated now. Writes nothing.

    `prepare` is called before a calibration. Raises UserError if the settings are not those of the run in `run_dir`, or
    the budget is too small for one trial of each method and its confirmation (it says which would do).
    """
    plugin("searcher", experiment.searcher, SEARCHERS)
    plugin("scheduler", experiment.scheduler, SCHEDULERS)
    earlier = None if fresh or run_dir is None else _earlier(Path(run_dir), experiment, budget)
    if earlier is not None:
        known = earlier.plan
        epochs = known["epochs"]
    else:
        prepare()
        began = time.monotonic()
        found = calibrate(experiment)
        seconds = rate * (time.monotonic() - began)
        # It had a device to itself. What trials do to each other on a shared one, the run will measure.
        sharing = trials_per_device(rate)
        calibration = {m: {name: sharing * cost for name, cost in of.items()} for m, of in found["calibration"].items()}
        known = {"calibration": calibration, "startup": found["startup"], "calibration_seconds": round(seconds, 3)}
        known |= {"choices": found.get("choices", {})}
        epochs = experiment.epochs
    fields = {key: known[key] for key in ("calibration", "startup", "calibration_seconds")}
    fields |= {"choices": known.get("choices", {})}  # older runs have none
    plan = Plan(experiment, budget, slots, rate, epochs or 1, **fields)
    if plan.share < plan.least_share():
        needed = plan.least_share() * len(experiment.spaces) + plan.allowance + plan.calibration_seconds
        raise UserError(
            f"a budget of {budget} is too small for one trial of each method at {plan.epochs} epochs, confirmed "
            f"with {experiment.seeds} seeds; --budget {Budget(budget.device, needed * 1.05).rounded_up()} would do"
        )
    return plan if epochs else _choose_epochs(plan)


def _choose_epochs(plan: Plan) -> Plan:
    """The plan with the longest training that leaves enough of every share to search with."""
    best = plan
    for epochs in range(2, MOST_EPOCHS + 1):
        candidate = dataclasses.replace(plan, epochs=epochs)
        parts = [candidate.confirming(m) / candidate.share for m in plan.experiment.spaces]
        if candidate.share <= 0 or max(parts) > MOST_CONFIRM_PART or sum(parts) / len(parts) > CONFIRM_PART:
            break
        best = candidate
    return best


def _earlier(run_dir: Path, experiment: Experiment, budget: Budget) -> Fold | None:
    """The run in the folder, if there is one. Raises UserError where its settings are others."""
    events, _ = read_events(run_dir / "ledger.jsonl")
    if not events:
        return None
    fold = Fold()
    for event in events[:2]:  # the run, and its first session
        fold.apply(event)
    check_identity(fold, experiment, budget, run_dir)
    return fold


def check_identity(fold: Fold, experiment: Experiment, budget: Budget, run_dir: Path) -> None:
    """Raises UserError, which names the difference, if the run in `run_dir` was made with other settings, or its budget
    is in time of another device."""
    there, here = dict(fold.settings), experiment.identity()
    if fold.sessions:
        there["a budget in time of"], here["a budget in time of"] = fold.sessions[0]["budget"]["device"], budget.device
    if here["epochs"] == fold.plan["epochs"]:
        here["epochs"] = there["epochs"]  # asked for what had been chosen
    for key in sorted(there.keys() | here.keys()):
        if there.get(key) != here.get(key):
            before, now = there.get(key), here.get(key)
            if isinstance(before, dict) and isinstance(now, dict):
                name = next(n for n in {**before, **now} if before.get(n) != now.get(n))
                key, before, now = f"{key} of {name}", before.get(name), now.get(name)
            raise UserError(
                f"{run_dir} holds a run with {key} {_short(before)}, not {_short(now)}; "
                "use --fresh to begin it anew or --run-dir for another place"
            )


def _short(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def describe(plan: Plan, spent: float = 0.0) -> str:
    """The plan in words, for people: slots, cost of each method, trials that fit, when it ends."""
    experiment, seconds = plan.experiment, plan.budget.seconds
    wall = max(0.0, seconds - max(spent, plan.calibration_seconds)) / (plan.slots * plan.rate)
    ends = time.strftime("%a %H:%M", time.localtime(time.time() + wall))
    lines = [
        f"Plan: {len(experiment.spaces)} methods, {plan.budget} on {plan.slots} slots, {plan.epochs} epochs "
        f"a training, pruning at {', '.join(map(str, plan.milestones)) or 'no epoch'}, {experiment.seeds} seeds.",
        f"Each method has {_duration(plan.share)} of device time; baselines and start-up have "
        f"{_duration(plan.allowance)}, calibration took {_duration(plan.calibration_seconds)}.",
        f"It ends in about {_duration(wall)} ({ends}).",
        "",
        f"  {'method':<12} {'s/epoch':>8} {'s/evaluation':>13} {'training':>9} {'confirming':>11} {'trials':>7}",
    ]
    for method in experiment.spaces:
        cost = plan.calibration[method]
        lines.append(
            f"  {method:<12} {cost['epoch']:>8.3g} {cost['evaluation']:>13.3g} "
            f"{_duration(plan.training(method)):>9} {plan.confirming(method) / plan.share:>11.0%} "
            f"{f'~{plan.trials(method):.0f}':>7}"
        )
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def calibrate(experiment: Experiment) -> dict[str, Any]:
    """`calibration`, {method or baseline: {"epoch", "evaluation", "start": seconds}}; `startup`, a worker's seconds;
    `choices`, those that are left of the search spaces (`Plan.choices`).

    Measured in a process of its own on one slot, so that nothing stays behind in this one. Raises UserError with
    the process's last line if it fails.
    """
    spaces = {m: space.defaults for m, space in experiment.spaces.items()} | {b: {} for b in experiment.baselines}
    print("Calibrating, once in a run:", end="", flush=True)
    trials = [
        {
            "uid": f"{method}-calibration",
            "method": method,
            "stage": "search" if method in experiment.spaces else "baseline",
            "seed": experiment.seed,
            "hyperparameters": hyperparameters,
            "epochs": experiment.epochs or MOST_EPOCHS,
            "evaluate_at": [],
        }
        for method, hyperparameters in spaces.items()
    ]
    task = {
        "factory": experiment.factory,
        "settings": experiment.settings | experiment.local,
        "trials": trials,
        "choices": {method: getattr(space, "choices", {}) for method, space in experiment.spaces.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "calibration.json"
        limit = max(60.0, experiment.patience) * len(trials)
        try:
            process = subprocess.run(
                [sys.executable, "-m", "bench.plan", str(answer)],
                input=json.dumps(plain(task)),
                text=True,
                stderr=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
                check=False,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"calibration took more than {_duration(limit)}; the device may hang") from None
        finally:
            print(flush=True)
        if process.returncode != 0:
            last = (process.stderr.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
            raise UserError(f"calibration failed: {last}")
        return json.loads(answer.read_text())


def _calibration_process(answer: str) -> None:
    began = time.monotonic()
    task = json.load(sys.stdin)
    module, _, function = task["factory"].partition(":")
    hook = importlib.import_module(module).calibrate
    if hasattr(sys.modules[module], "prepare"):
        sys.modules[module].prepare(task["settings"])
    startup = time.monotonic() - began
    calibration, choices = {}, {}
    effective = getattr(sys.modules[module], "effective", None)
    for trial in task["trials"]:
        every = task["choices"].get(trial["method"], {}) if effective else {}
        if left := _distinct(trial, every, lambda trial: effective(trial, task["settings"])):
            choices[trial["method"]] = left
        print(f" {trial['method']}", end="", flush=True)
        seconds = hook(trial, task["settings"])
        before = time.monotonic()  # data and imports are in place now, as they are in a warm worker
        getattr(sys.modules[module], function)(trial, task["settings"])
        seconds |= {"start": time.monotonic() - before}
        calibration[trial["method"]] = {name: float(seconds[name]) for name in ("epoch", "evaluation", "start")}
    Path(answer).write_text(json.dumps({"calibration": calibration, "startup": startup, "choices": choices}))


def _distinct(trial: dict, choices: dict[str, list], effective: Callable[[dict], dict]) -> dict[str, list]:
    """What is left of the choices of each hyper-parameter of which several have the same effect, the others being as
    the trial has them: of those that have it, the trial's own choice, else the first."""
    own, left = trial["hyperparameters"], {}
    for name, values in choices.items():
        kept: dict[str, Any] = {}
        for value in sorted(values, key=lambda value: value != own[name]):
            effect = effective(trial | {"hyperparameters": own | {name: value}})
            kept.setdefault(json.dumps(effect, sort_keys=True), value)
        if len(kept) < len(values):
            left[name] = [value for value in values if value in kept.values()]
    return left


if __name__ == "__main__":
    _calibration_process(sys.argv[1])
