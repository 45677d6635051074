"""The search driven in virtual time: small plans, curves, spaces and searchers for the tests of this folder."""

import dataclasses
import math

import optuna
from hypothesis import settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from algorithms.training.report import EpochReport
from bench.search.budget import Budget
from bench.search.plan import Costs
from bench.search.schedulers import Asha
from bench.search.simulate import MemoryLedger, Space, plan_for, synthetic

slow = settings(max_examples=25)


PUBLISHED = st.sampled_from([None, 0.2, 1.5])
"""Of the methods' published recipes: none but ours, another one, one that the search space does not propose."""


def small(methods=3, slots=2, trials=30, epochs=9, searcher="random", published=None, scheduler="asha", seed=0):
    """Where `published` is given, the first method and every second have two recipes: this one, and ours."""
    calibration, curve = synthetic(methods)
    spaces = {
        method: Space(method, published=None if place % 2 or published is None else {"x": published})
        for place, method in enumerate(calibration)
    }
    plan = plan_for(calibration, slots, trials, epochs, searcher, spaces)
    experiment = dataclasses.replace(plan.experiment, scheduler=scheduler, seed=seed)
    return dataclasses.replace(plan, experiment=experiment), curve


def peak(at):
    """A curve on which configurations are the better the nearer to this one."""
    return lambda trial, epoch: ((1 - abs(trial.hyperparameters["x"] - at)) * epoch / trial.epochs, 1.0)


class EveryThird:
    """A scheduler of a user: one milestone, and every third trial goes on."""

    def __init__(self, epochs):
        self.milestones = [epochs // 2]
        self.count = 0

    def arrive(self, uid, epoch, accuracy):
        self.count += 1
        return self.count % 3 == 0


class Never:
    """A scheduler of a user, by which no trial goes on."""

    def __init__(self, epochs):
        self.milestones = [1]

    def arrive(self, uid, epoch, accuracy):
        return False


def with_budget(plan, factor):
    """The same run with another budget."""
    return dataclasses.replace(plan, budget=Budget(plan.budget.device, plan.budget.seconds * factor))


def with_baselines(plan, *names):
    cost = dict.fromkeys(names, Costs(1.0, 0.0))
    experiment = dataclasses.replace(plan.experiment, baselines=names)
    return dataclasses.replace(plan, experiment=experiment, calibration=plan.calibration | cost)


def replayed(events):
    """A ledger with these events, in which a new driver has found what was running."""
    ledger = MemoryLedger(keep=True)
    for event in events:
        ledger.events.append(event)
        ledger.fold.apply(event)
    for trial in list(ledger.fold.open.values()):
        if trial.state == "running":
            ledger.append("cut", uid=trial.uid, held=trial.held, reason="its driver died")
    return ledger


def replayed_decisions(events, plan):
    """For each report at a milestone, in order: (uid, epoch, whether the trial was pruned, whether it should be)."""
    schedulers = {method: Asha(plan.epochs) for method in plan.experiment.spaces}
    trials, found = {}, []
    for event in events:
        if event["event"] == "suggested":
            trials[event["uid"]] = event
        if event["event"] != "reported" or event["decision"] == "failed":
            continue
        trial, report = trials[event["uid"]], event["report"]
        if trial["stage"] == "search" and report["epoch"] in plan.milestones:
            goes_on = schedulers[trial["method"]].arrive(trial["uid"], report["epoch"], report["knn_200"])
            should = not goes_on and not trial["published"] and not trial.get("ours")
            found.append((trial["uid"], report["epoch"], event["decision"] == "pruned", should))
    return found


def holding_half(curve, method, above=0.0):
    """The curve, where the memory does not hold a whole batch of the method's trials whose `x` is not below `above`."""

    def changed(trial, epoch):
        accuracy, seconds = curve(trial, epoch)
        out = trial.method == method and trial.hyperparameters["x"] >= above and not trial.halved
        return (None if out else accuracy), seconds

    return changed


def assert_halved_alike(fold, events):
    """Each trial is halved once at most, search trials that begin after one of their method are halved from the first,
    and what confirms a search trial is halved where that is."""
    halved, searched = set(), {}
    for event in events:
        if event["event"] == "halved":
            assert event["uid"] not in halved
            halved.add(event["uid"])
            searched[fold.trials[event["uid"]].method] = True
        if event["event"] == "suggested" and event["stage"] == "search":
            assert event["halved"] == searched.get(event["method"], False)
    for trial in fold.trials.values():
        if trial.stage != "search":
            repeated = fold.trials[trial.of or f"{trial.method}-{int(trial.ours):04d}"]
            assert trial.halved == repeated.halved
            assert trial.uid not in halved


told = EpochReport.from_json


def next_trial(search):
    assignment = search.next()
    search.started(assignment.job.uid)
    return assignment.job.uid, assignment


def diverging(curve, method):
    """The curve, but for the trainings of a method, which diverge."""

    def changed(trial, epoch):
        accuracy, seconds = curve(trial, epoch)
        return (math.nan if trial.method == method else accuracy), seconds

    return changed


@dataclasses.dataclass(frozen=True)
class Choices:
    """A search space of finitely many configurations; the published recipe is the first of all."""

    method: str
    choices: dict[str, list]
    hash: str = "choices"

    @property
    def defaults(self):
        return {name: values[0] for name, values in self.choices.items()}

    @property
    def recipes(self):
        return [self.defaults]

    def proposes(self, hyperparameters):
        return True

    def distributions(self):
        kinds = {list: optuna.distributions.CategoricalDistribution}
        kinds[range] = lambda values: optuna.distributions.IntDistribution(values[0], values[-1])
        return {name: kinds[type(values)](values) for name, values in self.choices.items()}

    def narrowed(self, choices):
        return dataclasses.replace(self, choices=self.choices | choices)

    def to_params(self, hyperparameters):
        return dict(hyperparameters)

    settled = from_params = to_params


FINITE = {
    "nothing": ({}, 1),
    "one choice": ({"a": ["x"]}, 1),
    "categorical": ({"a": ["x", "y", "z"], "b": [64, 128]}, 6),
    "integers": ({"a": range(1, 4), "b": [False, True]}, 6),
}


class Insisting(optuna.samplers.RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        return distribution.to_external_repr(0.25 if distribution == FloatDistribution(0, 1) else 1)


@dataclasses.dataclass(frozen=True)
class Cube(Space):
    """A search space of three parameters."""

    hash: str = "cube"
    defaults: dict = dataclasses.field(default_factory=lambda: dict.fromkeys("abc", 0.2))

    def distributions(self):
        return {name: FloatDistribution(0, 1) for name in "abc"}
