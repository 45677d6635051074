"""The plan of a run: what is asked, what each epoch costs as calibrated, each method's share, how many epochs.

`make` gives the plan, `describe` says it in words (`--dry-run`).
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from bench.errors import UserError
from bench.files import write_atomically
from bench.search.budget import MOST_SECONDS, Budget, trials_per_device
from bench.search.ledger import Fold, fold_events, plain, read_own_events
from bench.search.search import SCHEDULERS, SEARCHERS, plugin

EPOCHS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200)
"""The trainings that are chosen by themselves: few, so that a command makes the same plan, whatever else the machine
does while it calibrates. The published CIFAR-10 tables begin at 200 epochs."""
MOST_EPOCHS = EPOCHS[-1]
CONFIRM_IMAGES = 10 / 9
"""Confirming trains on train + validation, and validation is a tenth."""
CONFIRM_PART = 0.3
MOST_CONFIRM_PART = 0.65
"""Epochs are chosen so that confirming winner and published recipe takes at most the first of the shares on average,
and the second of any."""
BOTH_RECIPES_PART = 0.5
"""Our recipe is confirmed beside winner and published recipe where all three take at most this part of a share."""
MEASURED = ("epoch", "evaluation", "start")
UNTRAINED = ("pixels", "random")
"""Baselines that are evaluated only, in one epoch."""
SINGLE = ("pixels",)
"""Baselines that have nothing random, so that one seed tells all."""


class Settings(Protocol):
    """What a run's trainings have in common (`bench.execution.settings.TrainingSettings`)."""

    def identity(self) -> dict[str, Any]:
        """Plain values that must be the same for a run to be continued."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the processes that train."""


@dataclass(frozen=True)
class Experiment:
    """What is asked of a run, whatever the budget and the machine.

    `spaces` maps method -> search space (`bench.search.space.SearchSpace`), in the order of tables. `factory` is the
    "module:Class" of what makes trainers in workers (`bench.execution.factory.Factory`), with the `settings`. What
    these tell of themselves identifies the run, as do the fields below. `patience` is the seconds that an epoch may
    take beyond ten times its calibration: a step may have to be compiled in it.
    """

    spaces: dict[str, Any]
    factory: str
    settings: Settings
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
            self.settings.identity()
            | {
                "methods": list(self.spaces),
                "search_spaces": {method: space.hash for method, space in self.spaces.items()},
                "baselines": list(self.baselines),
                "epochs": self.epochs,
                "seeds": self.seeds,
                "seed": self.seed,
                "searcher": self.searcher,
                "scheduler": self.scheduler,
            }
        )


@dataclass(frozen=True)
class Plan:
    """An experiment with a budget on a machine. `rate` is the device-seconds of a second on a slot.

    `calibration` maps method -> {"epoch": seconds, "evaluation": seconds, "start": seconds} of our recipe on one slot;
    `start` is what beginning a trial takes in a warm worker (0 where it is not there), `published` an epoch of the
    published recipe where that is another one. `choices` maps method -> {hyper-parameter: the choices that are left},
    where some of a search space train the same. `halved` names the methods and baselines that have half the images in
    a step, as the device's memory does not hold the whole batch.
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
    halved: list[str] = field(default_factory=list)

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

    def recipes(self, method: str) -> int:
        """2 where our recipe is another one than the published."""
        return len(self.experiment.spaces[method].recipes)

    def pace(self, method: str) -> float:
        """How many times as long as one of ours an epoch of the published recipe takes."""
        seconds = self.calibration[method]
        return seconds.get("published", seconds["epoch"]) / seconds["epoch"] if seconds["epoch"] else 1.0

    def configurations(self, method: str) -> int:
        """How many of them time is kept back for to be confirmed: 2, for winner and published recipe; 3 where there is
        room for our recipe too."""
        room = BOTH_RECIPES_PART * self.share
        return 3 if self.recipes(method) > 1 and self.confirming(method, 3) <= room else 2

    def confirming(self, method: str, configurations: int = 2) -> float:
        """Device-seconds of confirming so many configurations with every seed, the published recipe among them."""
        whole = configurations - 1 + self.pace(method)
        return whole * self.experiment.seeds * self.cost(method, "confirm", 0, self.epochs)

    def reserve(self, method: str) -> float:
        """Device-seconds kept back for confirming."""
        return self.confirming(method, self.configurations(method))

    def least_share(self) -> float:
        """The share with which every method can make a trial of each recipe, and confirm one and the published."""
        return max(self.trying(m) + self.confirming(m) for m in self.experiment.spaces)

    def trying(self, method: str) -> float:
        """Device-seconds of one search trial of each recipe."""
        return (self.recipes(method) - 1 + self.pace(method)) * self.training(method)

    def trials(self, method: str) -> float:
        """About how many search trials fit, at the mean cost of a trial when the scheduler prunes as it should."""
        milestones = [0, *self.milestones, self.epochs]
        mean = sum(self.cost(method, "search", a, b) / 3**rung for rung, (a, b) in enumerate(pairwise(milestones)))
        return self.recipes(method) + max(0.0, self.share - self.reserve(method) - self.trying(method)) / mean

    def time_limit(self, method: str) -> float:
        """Seconds after which an epoch counts as hung."""
        return self.experiment.patience + 10 * sum(self.calibration[method].values())


def make(
    experiment: Experiment,
    budget: Budget,
    slots: int,
    rate: float = 1.0,
    *,
    calibrate: Callable[[Experiment], dict[str, Any]],
    run_dir: str | Path | None = None,
    fresh: bool = False,
    facts: Mapping[str, Any] | None = None,
    keep: bool = False,
    prepare: Callable[[], None] = lambda: None,
) -> Plan:
    """The plan; by the ledger in `run_dir` where a run is continued on a device of the same name, else calibrated now,
    or by what an earlier call with `keep` measured.

    `facts` are those of the session to come; their `device` and `versions` tell what a calibration depends on. With
    `keep` it is written to `run_dir`/calibration.json; nothing else ever is. `prepare` is called before a calibration.
    Raises UserError if the settings are not those of the run in `run_dir`, trials that share a device do not fit into
    its memory, or the budget is too small for one trial of each method and its confirmation (it says which would do).
    """
    plugin("searcher", experiment.searcher, SEARCHERS)
    plugin("scheduler", experiment.scheduler, SCHEDULERS)
    kept = None if run_dir is None else Path(run_dir) / "calibration.json"
    earlier = None if fresh or run_dir is None else _earlier(Path(run_dir), experiment, budget)
    known = earlier.plan if earlier else {"calibration_seconds": 0.0}
    epochs = known["epochs"] if earlier else experiment.epochs
    measured = None
    if earlier is None or _on_another_device(earlier, facts or {}):
        depends = {"settings": experiment.identity() | {"epochs": None}, "rate": rate, **_machine(facts or {})}
        measured = _read_kept(kept, depends) if kept and not fresh else None
        if measured is None:
            prepare()
            measured = _measure(experiment, rate, calibrate)
        measured["halved"] = sorted({*known.get("halved", ()), *measured["halved"]})
        known = known | measured
        known["calibration_seconds"] += earlier.plan["calibration_seconds"] if earlier else 0.0
    fields = {key: known[key] for key in ("calibration", "startup", "calibration_seconds")}
    fields |= {"choices": (earlier.plan if earlier else known)["choices"]}  # a run keeps those that it began with
    fields |= {"halved": known.get("halved", [])}
    plan = Plan(experiment, budget, slots, rate, epochs or 1, **fields)
    if plan.share < plan.least_share():
        needed = plan.least_share() * len(experiment.spaces) + plan.allowance + plan.calibration_seconds
        enough = Budget(budget.device, needed * 1.05).rounded_up()
        would_do = (
            f"--budget {enough} would do" if enough.seconds <= MOST_SECONDS else "fewer --epochs or --seeds would do"
        )
        raise UserError(
            f"a budget of {budget} is too small for one trial of each method at {plan.epochs} epochs, confirmed "
            f"with {experiment.seeds} seeds; {would_do}"
        )
    if keep and kept and measured:
        write_atomically(kept, json.dumps({"depends_on": depends} | measured, indent=1) + "\n")
    return plan if epochs else _choose_epochs(plan)


def _measure(experiment: Experiment, rate: float, calibrate: Callable[[Experiment], dict[str, Any]]) -> dict[str, Any]:
    """What a calibration finds, in terms of trials that share devices. Raises UserError, also where they do not fit."""
    began = time.monotonic()
    found = calibrate(experiment)
    seconds = rate * (time.monotonic() - began)
    sharing = trials_per_device(rate)
    memory, there = found.get("memory") or {}, found.get("device_memory") or 0
    largest = max(memory, key=memory.__getitem__, default=None)
    if sharing > 1 and largest and sharing * memory[largest] > there > 0:
        fit = max(1, there // memory[largest])
        raise UserError(
            f"{sharing} trials of {largest} take {sharing} x {memory[largest] / 2**30:.1f} GiB on a GPU that has "
            f"{there / 2**30:.1f}; use --gpus-per-trial {1 / fit:.3g}"
        )
    # It had a device to itself. What trials do to each other on a shared one, the run will measure.
    calibration = {m: {name: sharing * cost for name, cost in of.items()} for m, of in found["calibration"].items()}
    told = {name: found[name] for name in ("startup", "choices")} | {"halved": found.get("halved", [])}
    return {"calibration": calibration, "calibration_seconds": round(seconds, 3)} | told


def _read_kept(path: Path, depends: dict[str, Any]) -> dict[str, Any] | None:
    """The calibration at `path`, if it is whole and of the same experiment on the same machine."""
    try:
        content = json.loads(path.read_text())
        if content["depends_on"] != depends:
            return None
        calibration = {
            method: {name: _seconds(of[name]) for name in (*MEASURED, *({"published"} & of.keys()))}
            for method in [*depends["settings"]["methods"], *depends["settings"]["baselines"]]
            for of in [content["calibration"][method]]
        }
        choices = {method: dict(content["choices"][method]) for method in content["choices"]}
        seconds = {name: _seconds(content[name]) for name in ("startup", "calibration_seconds")}
        return {"calibration": calibration, "choices": choices, "halved": list(content["halved"])} | seconds
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None


def _seconds(value: Any) -> float:
    if not 0 <= float(value) < math.inf:
        raise ValueError(f"{value} is no time")
    return float(value)


def _choose_epochs(plan: Plan) -> Plan:
    """The plan with the longest training that leaves enough of every share to search with."""
    best = plan
    for epochs in EPOCHS[1:]:
        candidate = dataclasses.replace(plan, epochs=epochs)
        parts = [candidate.confirming(m) / candidate.share for m in plan.experiment.spaces]
        if candidate.share <= 0 or max(parts) > MOST_CONFIRM_PART or sum(parts) / len(parts) > CONFIRM_PART:
            break
        best = candidate
    return best


def _earlier(run_dir: Path, experiment: Experiment, budget: Budget) -> Fold | None:
    """The run in the folder and its sessions, if there is one. Raises UserError where its settings are others, or an
    earlier version began it."""
    path = run_dir / "ledger.jsonl"
    events, _ = read_own_events(path)
    if not events:
        return None
    fold = fold_events([event for event in events if event.get("event") in ("run", "session")], path)
    check_identity(fold, experiment, budget, run_dir)
    return fold


def _machine(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What of a session's facts its measurements depend on; None where it is not told."""
    return {"device": facts.get("device"), "PyTorch": (facts.get("versions") or {}).get("torch")}


def _on_another_device(fold: Fold, facts: Mapping[str, Any]) -> bool:
    known = [device for session in fold.sessions if (device := _machine(session.get("facts") or {})["device"])]
    return bool(known) and _machine(facts)["device"] not in (known[-1], None)


def mixture(fold: Fold, facts: Mapping[str, Any]) -> str | None:
    """A sentence that names the devices, their precision and the versions of PyTorch with which earlier sessions of a
    run trained, where they are not those of `facts`; None where all are the same."""
    here = _machine(facts)
    there = [_machine(session.get("facts") or {}) for session in fold.sessions]
    before, now = [], []
    for name, value in here.items():
        others = dict.fromkeys(each[name] for each in there if each[name] not in (value, None))
        if others and value is not None:
            before.append(f"{name} {' and '.join(others)}")
            now.append(f"{name} {value}")
    if not before:
        return None
    return (
        f"this run was trained with {', '.join(before)}, and goes on with {', '.join(now)}: its table compares what "
        "was measured on both"
    )


def check_identity(fold: Fold, experiment: Experiment, budget: Budget, run_dir: Path) -> None:
    """Raises UserError, which names the difference, if the run in `run_dir` was made with other settings, or its budget
    is in time of another device."""
    there, here = dict(fold.settings), experiment.identity()
    there.pop("factory", None)  # earlier versions told how trainers are made, which nobody asks for
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
    pinned = "" if experiment.epochs else f" (--epochs {plan.epochs} pins this)"
    each = trials_per_device(plan.rate)
    sharing = f" ({each} trial{'s' * (each > 1)} per GPU)" if plan.budget.device == "gpu" else ""
    slots = f"{plan.slots} slot{'s' * (plan.slots > 1)}{sharing}"
    lines = [
        f"Plan: {len(experiment.spaces)} methods, {plan.budget} on {slots}, {plan.epochs} epochs "
        f"a training{pinned}, pruning at {', '.join(map(str, plan.milestones)) or 'no epoch'}, "
        f"{experiment.seeds} seeds.",
        f"Each method has {duration(plan.share)} of device time; baselines and start-up have "
        f"{duration(plan.allowance)}, calibration took {duration(plan.calibration_seconds)}.",
        f"It ends in about {duration(wall)} ({ends}).",
        "",
        f"  {'method':<12} {'s/epoch':>8} {'s/evaluation':>13} {'training':>9} {'confirming':>11} {'trials':>7}",
    ]
    if plan.halved:
        lines.insert(3, f"With half the batch, as memory does not hold the whole: {', '.join(plan.halved)}.")
    for method in experiment.spaces:
        cost = plan.calibration[method]
        lines.append(
            f"  {method:<12} {cost['epoch']:>8.3g} {cost['evaluation']:>13.3g} "
            f"{duration(plan.training(method)):>9} {plan.reserve(method) / plan.share:>11.0%} "
            f"{f'~{plan.trials(method):.0f}':>7}"
        )
    two = [method for method in experiment.spaces if plan.recipes(method) > 1]
    if two:
        lines += ["", f"Trial 0 is the published recipe; trial 1 is ours, where ours is another one: {', '.join(two)}."]
    if short := [method for method in two if plan.configurations(method) < 3]:
        lines.append(f"No time is kept back to confirm ours of {', '.join(short)} beside a winner that is no recipe.")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
