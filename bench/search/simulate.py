"""The real search in virtual time: recorded or synthetic learning curves, any number of slots, no worker; `ssl-bench
simulate` on the command line.

`bench.search.search` decides everything, as in a real run; only time and accuracy are made up.
"""

import heapq
import itertools
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from optuna.distributions import BaseDistribution, FloatDistribution

from algorithms.evaluation import metrics
from algorithms.training.report import EpochReport
from bench.errors import UserError
from bench.search.budget import Budget
from bench.search.events import FORMAT
from bench.search.experiment import Experiment, Searchable
from bench.search.fold import Fold
from bench.search.job import Assignment, Failure, Idle, Job
from bench.search.plan import Costs, Plan
from bench.search.search import Search
from bench.search.trials import CONFIRMING

Curve = Callable[[Job, int], tuple[float | None, float]]
"""(job as the factory gets it, epoch) -> (accuracy, seconds of the epoch); where the accuracy is NaN, the training
diverges in that epoch; where it is None, the memory is out. Of an evaluation in the same way, its figure and its
seconds."""


@dataclass(frozen=True)
class Space:
    """A search space of one parameter, for simulations: `x` in [0, 1]; our recipe has 0.5, as has the published one
    unless it is given."""

    method: str
    hash: str = "simulated"
    defaults: dict[str, float] = field(default_factory=lambda: {"x": 0.5})
    published: dict[str, float] | None = None

    @property
    def recipes(self) -> list[dict[str, float]]:
        return [self.defaults] if self.published is None else [self.published, self.defaults]

    @property
    def choices(self) -> dict[str, list[Any]]:
        return {}

    def narrowed(self, choices: Mapping[str, list[Any]]) -> Self:
        return self

    def proposes(self, hyperparameters: dict[str, float]) -> bool:
        return all(0 <= value <= 1 for value in hyperparameters.values())

    def distributions(self) -> dict[str, BaseDistribution]:
        return {"x": FloatDistribution(0.0, 1.0)}

    def to_params(self, hyperparameters: dict[str, float]) -> dict[str, float]:
        return dict(hyperparameters)

    def settled(self, params: dict[str, float]) -> dict[str, float]:
        return params

    def from_params(self, params: dict[str, float]) -> dict[str, float]:
        return dict(params)


class NoSettings:
    """Those of trainings that are made up."""

    def identity(self) -> dict[str, Any]:
        return {}

    to_json = identity


class MemoryLedger:
    """A ledger that forgets; its events are kept in `events` if asked for."""

    def __init__(self, keep: bool = False) -> None:
        self.fold = Fold()
        self.events: list[dict[str, Any]] | None = [] if keep else None
        self.clock: Callable[[], float] = time.time

    def append(self, event: str, **values: Any) -> None:
        entry = {"event": event, "time": self.clock(), **values}
        if self.events is not None:
            self.events.append(entry)
        self.fold.apply(entry)


def simulate(
    plan: Plan, curve: Curve, ledger: MemoryLedger | None = None, until: float = math.inf
) -> tuple[Fold, float]:
    """Run `plan` on `curve`, at most to the virtual time `until`; the state at the end, and the virtual seconds."""
    ledger = ledger or MemoryLedger()
    now = 0.0
    ledger.clock = lambda: now
    if not ledger.fold.settings:
        ledger.append(
            "run",
            format=FORMAT,
            settings=plan.experiment.identity(),
            plan={"epochs": plan.epochs, "halved": plan.halved},
        )
    ledger.append("session", number=len(ledger.fold.sessions), slots=plan.slots, share=plan.share, facts={})
    search = Search(plan, ledger, clock=lambda: now)
    coming: list[tuple[float, int, Assignment, int]] = []  # (when, tie-break, assignment, epoch)
    order = itertools.count()

    def lasts(trial: Job, epoch: int) -> float:
        return curve(trial, epoch)[1]

    while True:
        while isinstance(assignment := search.next(), Assignment):
            search.started(assignment.job.uid)
            epoch = assignment.known + 1
            heapq.heappush(coming, (now + lasts(assignment.job, epoch), next(order), assignment, epoch))
        if assignment is Idle.DONE or now >= until:
            return ledger.fold, now
        now, _, assignment, epoch = heapq.heappop(coming)
        trial = assignment.job
        accuracy = curve(trial, epoch)[0]
        if accuracy is None:
            search.failed(trial.uid, Failure("memory", "out of memory"))
            continue
        loss = math.nan if math.isnan(accuracy) else 1.0
        evaluated = accuracy if epoch in trial.evaluate_at else None
        measured = {} if evaluated is None else {trial.protocol or metrics.SELECTION.name: evaluated}
        report = EpochReport(epoch, loss, measured)
        keeps = trial.stage in (*CONFIRMING, "baseline") and epoch == trial.epochs
        if search.reported(trial.uid, assignment.attempt, report, {"encoder_file": True} if keeps else None):
            heapq.heappush(coming, (now + lasts(trial, epoch + 1), next(order), assignment, epoch + 1))


def synthetic(methods: int, seed: int = 0) -> tuple[dict[str, Costs], Curve]:
    """Methods whose epochs cost 1 to 3 seconds, some slow starters; (calibration, curve)."""
    generator = random.Random(seed)
    traits = {
        f"method{number:02d}": (
            generator.uniform(1, 3),
            generator.uniform(0.5, 0.9),
            generator.uniform(0, 1),
            generator.uniform(1, 6),
        )
        for number in range(methods)
    }

    def curve(trial: Job, epoch: int) -> tuple[float, float]:
        seconds, top, best, speed = traits[trial.method]
        luck = math.sin(_draw(trial) * 12.9898)
        reach = top * math.exp(-8 * (trial.hyperparameters.get("x", 0.5) - best) ** 2) + 0.01 * luck
        return reach * (1 - math.exp(-speed * epoch / trial.epochs)), seconds * (1 + 0.05 * luck)

    return {name: Costs(trait[0], 0.0) for name, trait in traits.items()}, curve


def _draw(trial: Job) -> int:
    """A number for the luck of a trial. Those that search have one seed, and each its own luck."""
    return trial.seed + (int(trial.uid.rpartition("-")[2]) if trial.stage == "search" else 0)


def recorded(path: str) -> tuple[dict[str, Costs], Curve, int]:
    """The curves of a run's epochs.parquet, drawn by a trial's seed and number; (calibration, curve, epochs).

    Only search trials that reached the last epoch have a whole curve; they stand for all. Raises UserError where the
    file has other columns.
    """
    import pandas

    table = pandas.read_parquet(path)
    needed = ("stage", "method", "uid", "epoch", "seconds", "evaluation_seconds", metrics.SELECTION.name)
    if missing := [name for name in needed if name not in table]:
        raise UserError(f"{path} is no epochs.parquet of a run: it lacks {', '.join(missing)}")
    table = table[table["stage"] == "search"]
    epochs = int(table["epoch"].max())
    curves: dict[str, list[tuple[dict[Any, float], float]]] = {}
    for (method, _), rows in table.groupby(["method", "uid"]):
        if rows["epoch"].max() == epochs:
            accuracies = rows.set_index("epoch")[metrics.SELECTION.name].dropna().to_dict()
            seconds = float((rows["seconds"] + rows["evaluation_seconds"]).mean())
            curves.setdefault(str(method), []).append((accuracies, seconds))

    def curve(trial: Job, epoch: int) -> tuple[float, float]:
        choices = curves[trial.method]
        accuracies, seconds = choices[_draw(trial) % len(choices)]
        known = [accuracy for at, accuracy in sorted(accuracies.items()) if at <= epoch]
        return (known[-1] if known else min(accuracies.values())), seconds

    calibration = {
        method: Costs(sum(seconds for _, seconds in runs) / len(runs), 0.0) for method, runs in curves.items()
    }
    return calibration, curve, epochs


def plan_for(
    calibration: dict[str, Costs],
    slots: int,
    trials: int,
    epochs: int,
    searcher: str = "random",
    spaces: Mapping[str, Searchable] | None = None,
) -> Plan:
    """A plan with about the budget in which so many trials fit."""
    experiment = Experiment(
        spaces=spaces or {method: Space(method) for method in calibration},
        factory="",
        settings=NoSettings(),
        baselines=(),
        searcher=searcher,
    )

    def with_budget(seconds: float) -> Plan:
        return Plan(experiment, Budget("gpu", seconds), slots, 1.0, epochs, calibration, 0.0, 0.0)

    low, high = 1.0, 1e12
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        plan = with_budget(middle)
        if not any(map(plan.recipe_alone, calibration)) and sum(plan.trials(m) for m in calibration) > trials:
            high = middle
        else:
            low = middle
    return with_budget(high)


def fairness(fold: Fold, plan: Plan) -> float:
    """The most device time of a method, over the least.

    At most 1.05 at the end of a run, wherever `grain` is below about 0.03 and epochs take what they took before.
    """
    spent = [fold.spent[method] for method in plan.experiment.spaces]
    return max(spent) / min(spent)


def grain(plan: Plan) -> float:
    """The part of a share that the shortest piece of a trial takes, at most: so much of it may stay unused."""
    first = [*plan.milestones, plan.epochs][0]
    return max(plan.cost(method, "search", 0, first) for method in plan.experiment.spaces) / plan.share


def summary(plan: Plan, curve: Curve) -> str:
    """Runs `plan` on `curve`; a line that says how many trials ran, how long that took, and how even shares were."""
    began = time.process_time()
    fold, virtual = simulate(plan, curve)
    took = time.process_time() - began
    states = {state: sum(t.state == state for t in fold.trials.values()) for state in ("complete", "pruned", "cut")}
    unused = 1 - sum(fold.spent.values()) / plan.budget.seconds
    return (
        f"{len(fold.trials)} trials ({', '.join(f'{n} {s}' for s, n in states.items())}) on {plan.slots} slots, "
        f"{virtual / 3600:.1f} virtual hours in {took:.1f} s of processor time; "
        f"most/least device time {fairness(fold, plan):.3f} (to the first milestone it is {grain(plan):.1%} of a share "
        f"at most), unused {unused:.1%}, slots busy {sum(fold.spent.values()) / (virtual * plan.slots):.1%}"
    )
