"""Searches that others have, on a replayed table, in virtual time: random search, Optuna's TPE with Ray Tune's ASHA,
and NePS' PriorBand, each by its own classes and defaults. Each chooses the training whose last figure is the best.

As in our search, a training begins where the device time that is left has room for a whole one, and an evaluation is
charged where something is decided upon it, and at the last epoch.
"""

import heapq
import itertools
import random
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import numpy as np
import optuna
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from bench.tabular.replay import Method
from bench.tabular.space import TableSpace

NO_CLUSTER: Any = None
"""In the place of Ray Tune's controller, which ASHA is given and does not look at."""


class Work(NamedTuple):
    """What a searcher wants next."""

    training: str
    """Its name; a training that was begun before goes on."""
    params: dict[str, Any]
    evaluate_at: list[int]
    """The epochs at which it is judged, rising; the last is where the work ends."""


class Peer(Protocol):
    """Made of a search space, the epochs of a training and a seed."""

    def __init__(self, space: TableSpace, epochs: int, seed: int) -> None: ...

    def ask(self) -> Work: ...

    def told(self, training: str, epoch: int, figure: float) -> bool:
        """At an epoch where the work is judged; NaN where it diverged. Whether the work goes on, if there is more."""


class RandomSearch:
    """Uniform in the search space, whole trainings."""

    def __init__(self, space: TableSpace, epochs: int, seed: int) -> None:
        self._distributions, self._epochs = space.distributions(), epochs
        self._study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))

    def ask(self) -> Work:
        trial = self._study.ask(self._distributions)
        return Work(str(trial.number), trial.params, [self._epochs])

    def told(self, training: str, epoch: int, figure: float) -> bool:
        return True


class OptunaWithAsha:
    """`OptunaSearch` (TPE) and `ASHAScheduler` of Ray Tune. What ASHA stops, Ray tells Optuna as complete, with its
    last figure."""

    def __init__(self, space: TableSpace, epochs: int, seed: int) -> None:
        self._search = OptunaSearch(space.distributions(), metric="figure", mode="max", seed=seed)
        self._asha = ASHAScheduler(metric="figure", mode="max", max_t=epochs)
        rungs = {int(rung) for bracket in self._asha._brackets for rung, _ in bracket._rungs}
        self._evaluate_at, self._epochs = sorted({*rungs, epochs}), epochs
        self._names = map(str, itertools.count())

    def ask(self) -> Work:
        name = next(self._names)
        params = self._search.suggest(name)
        assert params is not None
        self._asha.on_trial_add(NO_CLUSTER, _trial(name))
        return Work(name, params, self._evaluate_at)

    def told(self, training: str, epoch: int, figure: float) -> bool:
        if np.isnan(figure):
            self._search.on_trial_complete(training, error=True)
            self._asha.on_trial_remove(NO_CLUSTER, _trial(training))
            return False
        result = {"figure": figure, "training_iteration": epoch}
        goes_on: bool = self._asha.on_trial_result(NO_CLUSTER, _trial(training), result) == ASHAScheduler.CONTINUE
        self._search.on_trial_result(training, result)
        if not goes_on:
            self._search.on_trial_complete(training, result)
            self._asha.on_trial_complete(NO_CLUSTER, _trial(training), result)
        return goes_on


def _trial(name: str) -> Any:
    """All that ASHA asks of a trial of Ray Tune."""
    return SimpleNamespace(trial_id=name)


class PriorBand:
    """Of NePS (2306.12370), about our recipe with `medium` confidence; it draws from the generators of the process."""

    def __init__(self, space: TableSpace, epochs: int, seed: int) -> None:
        neps = import_module("neps")
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        centre, confidence = space.to_params(space.defaults), {"prior_confidence": "medium"}
        members: dict[str, Any] = {"epochs": neps.IntegerFidelity(1, epochs)}
        for name, each in space.distributions().items():
            if isinstance(each, CategoricalDistribution):
                members[name] = neps.Categorical(each.choices, prior=each.choices.index(centre[name]), **confidence)
            else:
                assert isinstance(each, IntDistribution | FloatDistribution)
                kind = neps.Integer if isinstance(each, IntDistribution) else neps.Float
                members[name] = kind(each.low, each.high, log=each.log, prior=centre[name], **confidence)
        wanted = type("Wanted", (neps.PipelineSpace,), members)()
        self._neps = neps.AskAndTell(neps.algorithms.priorband(wanted))
        self._running: dict[str, str] = {}

    def ask(self) -> Work:
        trial = self._neps.ask()
        params = dict(trial.config)
        training = trial.metadata.id.partition("_rung_")[0]
        self._running[training] = trial.metadata.id
        return Work(training, params, [params.pop("epochs")])

    def told(self, training: str, epoch: int, figure: float) -> bool:
        result = FloatingPointError("diverged") if np.isnan(figure) else 1 - figure
        self._neps.tell(self._running.pop(training), result)
        return False


PEERS: dict[str, type[Peer]] = {"random search": RandomSearch, "Optuna TPE + Ray ASHA": OptunaWithAsha}
PRIORBAND = "NePS PriorBand"
if find_spec("neps"):
    PEERS[PRIORBAND] = PriorBand


def search(
    peer: type[Peer],
    method: Method,
    judge: str,
    epochs: int,
    seconds: float,
    slots: int,
    seed: int,
    one_seed: bool = False,
) -> tuple[int, float]:
    """The configuration that a peer chooses in so many device-seconds, the published recipe where all trainings
    diverged; and the device-seconds that it took. Trainings have seeds of their own, as peers leave it, or `one_seed`.
    """
    searcher, costs = peer(method.space, epochs, seed), method.costs
    configurations: dict[str, int] = {}  # of trainings, as `reached` and `figures` are
    reached: dict[str, int] = {}
    figures: dict[str, float] = {}
    kept: dict[str, float] = {}  # what trainings that run may take yet, as planned
    running: list[tuple[float, int, Work, float]] = []  # (when, tie-break, work, what it takes to there)
    order, now, spent, asked = itertools.count(), 0.0, 0.0, searcher.ask()

    def milestone(work: Work) -> int:
        return next(epoch for epoch in work.evaluate_at if epoch > reached.get(work.training, 0))

    def planned(work: Work) -> float:
        before = reached.get(work.training, 0)
        evaluations = sum(epoch > before for epoch in work.evaluate_at)
        return (work.evaluate_at[-1] - before) * costs.epoch + evaluations * costs.evaluation

    def go_on(work: Work) -> None:
        configuration, before = configurations[work.training], reached.get(work.training, 0)
        kept[work.training] = planned(work)
        epochs = milestone(work) - before
        takes = float(epochs * method.seconds[configuration] + method.evaluation_seconds[configuration])
        heapq.heappush(running, (now + takes, next(order), work, takes))

    while True:
        while len(running) < slots and spent + sum(kept.values()) + planned(asked) <= seconds * (1 + 1e-9):
            configurations.setdefault(asked.training, method.space.nearest(asked.params))
            go_on(asked)
            asked = searcher.ask()
        if not running:
            best = max(figures, key=figures.__getitem__, default=None)
            return (0 if best is None else configurations[best]), spent
        now, _, work, took = heapq.heappop(running)
        spent += took
        training, epoch = work.training, milestone(work)
        own = seed * 1_000_000 + (0 if one_seed else int(training))
        figure = float(method.training(configurations[training], own, training)[judge][epoch - 1])
        reached[training] = epoch
        del kept[training]
        if not np.isnan(figure):
            figures[training] = figure
        goes_on = searcher.told(training, epoch, figure)
        if goes_on and epoch < work.evaluate_at[-1]:
            go_on(work)
