"""Makes the plan of a run: by what a calibration measures, now or before, or as the run that is continued has it."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench.errors import UserError
from bench.files import write_atomically
from bench.search import plugins
from bench.search.budget import Budget, trials_per_device
from bench.search.events import read_own_events
from bench.search.experiment import Experiment, check_identity
from bench.search.fold import Fold, fold_events
from bench.search.plan import Costs, Plan, judges

EPOCHS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200)
"""The trainings that are chosen by themselves: few, so that a command makes the same plan, whatever else the machine
does while it calibrates. The published CIFAR-10 tables begin at 200 epochs."""
MOST_EPOCHS = EPOCHS[-1]
DEAR = 0.1
"""A protocol that nobody asked for by name may take this part of the budget at most."""
CONFIRM_PART = 0.3
MOST_CONFIRM_PART = 0.65
"""Epochs are chosen so that confirming winner and published recipe takes at most the first of the shares on average,
and the second of any."""


@dataclass(frozen=True)
class Measured:
    """What a calibration finds, in terms of trials that share devices: the fields of the same names of `Plan`."""

    calibration: dict[str, Costs]
    calibration_seconds: float
    startup: float
    choices: dict[str, dict[str, list[Any]]]
    halved: list[str]

    def knows(self, protocols: Iterable[str]) -> bool:
        """Whether it was measured what these protocols take."""
        every = ((protocol, name) for protocol in protocols for name in self.calibration if judges(protocol, name))
        return all(protocol in self.calibration[name].protocols for protocol, name in every)

    def after(self, former: Self | None) -> Self:
        """With what the run had before: it keeps the choices that it began with, what was not measured again, and
        whatever was halved."""
        if former is None:
            return self
        return dataclasses.replace(
            self,
            calibration=former.calibration | self.calibration,
            calibration_seconds=self.calibration_seconds + former.calibration_seconds,
            choices=former.choices,
            halved=sorted({*self.halved, *former.halved}),
        )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"calibration": {m: costs.to_json() for m, costs in self.calibration.items()}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Of a run's plan in the ledger, or of a calibration that was kept."""
        calibration = {method: Costs.from_json(costs) for method, costs in values["calibration"].items()}
        seconds, startup = values["calibration_seconds"], values["startup"]
        return cls(calibration, seconds, startup, values["choices"], list(values.get("halved", ())))


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
    optional: bool = False,
) -> Plan:
    """The plan; by the ledger in `run_dir` where a run is continued on a device of the same name, else calibrated now,
    or by what an earlier call with `keep` measured.

    `facts` are those of the session to come; their `device` and `versions` tell what a calibration depends on. With
    `keep` it is written to `run_dir`/calibration.json; nothing else ever is. `prepare` is called before a calibration.
    `optional` protocols give way where they are too dear.
    Raises UserError if the settings are not those of the run in `run_dir`, trials that share a device do not fit into
    its memory, or the budget is too small for one trial of each method and its confirmation (it says which would do).
    """
    plugins.searcher(experiment.searcher)
    plugins.scheduler(experiment.scheduler)
    kept = None if run_dir is None else Path(run_dir) / "calibration.json"
    earlier = None if fresh or run_dir is None else _earlier(Path(run_dir), experiment, budget)
    former = Measured.from_json(earlier.plan) if earlier else None
    epochs = earlier.plan["epochs"] if earlier else experiment.epochs
    new, measuring = None, experiment
    if earlier and former and not _on_another_device(earlier, facts or {}) and former.knows(experiment.protocols):
        added = tuple(name for name in experiment.baselines if name not in former.calibration)  # that came since
        measuring = dataclasses.replace(experiment, spaces={}, baselines=added)
    if measuring.spaces or measuring.baselines:
        depends = {"settings": experiment.identity() | {"epochs": None}, "rate": rate, **_machine(facts or {})}
        names = {*measuring.spaces, *measuring.baselines}
        new = _read_kept(kept, depends, names, experiment.protocols) if kept and not fresh else None
        if new is None:
            prepare()
            new = _measure(measuring, rate, calibrate)
    measured = new.after(former) if new else former
    assert measured is not None
    fields = {each.name: getattr(measured, each.name) for each in dataclasses.fields(measured)}
    plan = _affordable(Plan(experiment, budget, slots, rate, epochs or 1, **fields), optional)
    experiment = plan.experiment
    if earlier is None:
        _check_share(plan)
    else:  # protocols that are added to a run judge as much as its budget has room for
        _check_share(dataclasses.replace(plan, experiment=dataclasses.replace(experiment, protocols=())))
    if keep and kept and new:
        write_atomically(kept, json.dumps({"depends_on": depends} | new.to_json(), indent=1) + "\n")
    return plan if epochs else _choose_epochs(plan)


def _affordable(plan: Plan, optional: bool) -> Plan:
    """The plan without those of its `optional` protocols that would take more than `DEAR` of the budget, or leave too
    little of it to train."""
    if not optional:
        return plan
    chosen = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, protocols=()))
    dear = {}
    for protocol in plan.experiment.protocols:
        with_it = dataclasses.replace(plan.experiment, protocols=(*chosen.experiment.protocols, protocol))
        candidate, cost = dataclasses.replace(plan, experiment=with_it), plan.judging_all(protocol)
        searched = [method for method in plan.experiment.spaces if not chosen.recipe_alone(method)]
        fits = candidate.share >= candidate.least_share() and not any(map(candidate.recipe_alone, searched))
        if cost <= DEAR * plan.budget.seconds and fits:
            chosen = candidate
        else:
            dear[protocol] = cost
    return dataclasses.replace(chosen, dear=dear)


def _check_share(plan: Plan) -> None:
    """Raises UserError, which says which budget would do, where a share is too small for the published recipes of most
    methods."""
    budget, experiment = plan.budget, plan.experiment
    if plan.share < plan.least_share():
        enough = plan.budget_for(plan.least_share())
        would_do = f"--budget {enough} would do" if enough else "fewer --epochs or --seeds would do"
        raise UserError(
            f"a budget of {budget} is too small for the published recipes of most methods at {plan.epochs} epochs, "
            f"confirmed with {experiment.seeds} seeds; {would_do}"
        )


def _measure(experiment: Experiment, rate: float, calibrate: Callable[[Experiment], dict[str, Any]]) -> Measured:
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
    calibration = {m: Costs.from_json(costs).times(sharing) for m, costs in found["calibration"].items()}
    halved = sorted(found.get("halved", []))
    return Measured(calibration, round(seconds, 3), found["startup"], found["choices"], halved)


def _read_kept(path: Path, depends: dict[str, Any], names: set[str], protocols: Iterable[str]) -> Measured | None:
    """The calibration at `path`, if it is whole, of the same experiment on the same machine, of all these names and
    protocols."""
    try:
        content = json.loads(path.read_text())
        if content["depends_on"] != depends or not names <= content["calibration"].keys():
            return None
        kept = Measured.from_json(content)
        figures = [kept.startup, kept.calibration_seconds]
        figures += [seconds for costs in kept.calibration.values() for seconds in costs.all]
        whole = kept.knows(protocols) and all(0 <= seconds < math.inf for seconds in figures)
        return kept if whole else None
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None


def _choose_epochs(plan: Plan) -> Plan:
    """The plan with the longest training that leaves enough of every share to search with, or that fits where nothing
    is searched."""
    best, seeds, alone = plan, plan.experiment.seeds, plan.experiment.recipes_only
    for epochs in EPOCHS[1:]:
        candidate = dataclasses.replace(plan, epochs=epochs)
        judged = (1 if alone else 2) * seeds
        kept = [candidate.confirming(m) + candidate.judging(m, judged) for m in plan.experiment.spaces]
        parts = [each / candidate.share for each in kept]
        most, mean = (1.0, 1.0) if alone else (MOST_CONFIRM_PART, CONFIRM_PART)
        if candidate.share <= 0 or max(parts) > most or sum(parts) / len(parts) > mean:
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
