"""The Optuna study of each method: what a searcher proposes, and what it is told of how trials ended."""

import hashlib
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

from bench.search import plugins
from bench.search.fold import Fold
from bench.search.plan import Plan
from bench.search.prior import CENTRES
from bench.search.searchers import SEARCHERS, BestAndLatest
from bench.search.selection import direction, figure
from bench.search.trials import OF_THE_RECIPE, Trial

ASKS = 5
"""How often a searcher is asked for a configuration that was not tried yet."""


class Studies:
    """In memory, each made from the ledger when first asked for. No configuration is proposed twice."""

    def __init__(self, plan: Plan, fold: Fold) -> None:
        self._plan, self._fold = plan, fold
        self.sampler = plugins.searcher(plan.experiment.searcher)
        self._studies: dict[str, optuna.Study] = {}
        self._storages: dict[str, optuna.storages.InMemoryStorage] = {}
        self.tried = {m: {_key(trial.parameters) for trial in fold.of(m, "search")} for m in plan.spaces}
        """The configurations of each method that were."""
        self.learnt = {method: self._learnt(method) for method in plan.spaces}
        """Hyper-parameters of each method that earlier runs taught and the recipes are not, the best first."""

    def ask(self, method: str, number: int) -> dict[str, Any] | None:
        """The parameters of a configuration that was not tried, which the study has then as a running trial: as the
        searcher proposes, asked with other seeds where it repeats itself; else the first that is left of finitely many.
        None where none is left, or the searcher insists."""
        space, tried = self._plan.spaces[method], self.tried[method]
        distributions = space.distributions()
        size = _size(distributions.values())
        if len(tried) >= size:
            return None
        for again in range(ASKS):
            name = f"{self._plan.experiment.seed}/{method}/{number}" + (f"/{again}" if again else "")
            seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little") >> 1
            study = self.study(method)
            study.sampler = self.sampler(seed)
            asked = study.ask(distributions).params
            parameters = space.settled(asked)
            new = _key(parameters) not in tried
            if not new or parameters != asked:  # the study has what is not trained: made anew, it has what is
                del self._studies[method]
            if new:
                tried.add(_key(parameters))
                return parameters
        if size == math.inf:
            return None
        grid = itertools.product(*(_values(distribution) or () for distribution in distributions.values()))
        every = (space.settled(dict(zip(distributions, values, strict=True))) for values in grid)
        left = next((each for each in every if _key(each) not in tried), None)
        if left is None:
            return None
        parameters = left
        self._add(self.study(method), method, parameters, space.from_params(parameters))
        tried.add(_key(parameters))
        return parameters

    def add(self, method: str, hyperparameters: dict[str, Any]) -> dict[str, Any]:
        """Put a recipe, or what was learnt, among the trials that run; its parameters."""
        space = self._plan.spaces[method]
        parameters = space.to_params(hyperparameters if space.proposes(hyperparameters) else space.defaults)
        self._add(self.study(method), method, parameters, hyperparameters)
        self.tried[method].add(_key(parameters))
        return parameters

    def tell(self, trial: Trial) -> None:
        """A search trial ended; a study that is made later is told when it is made."""
        if trial.method in self._studies:
            self._tell(self._studies[trial.method], trial)

    def study(self, method: str) -> optuna.Study:
        """The method's study."""
        if method not in self._studies:
            # A searcher of a user sees all trials: it may count them, or look for its own marks on them.
            ours = self.sampler in SEARCHERS.values()
            make_storage = BestAndLatest if ours else optuna.storages.InMemoryStorage
            storage = self._storages[method] = make_storage()
            study = optuna.create_study(direction=direction(), study_name=method, storage=storage)
            space = self._plan.spaces[method]
            believed = [space.defaults, *self.learnt[method]]
            study.set_user_attr(CENTRES, [space.to_params(hyperparameters) for hyperparameters in believed])
            for trial in self._fold.of(method, "search"):
                self._add(study, method, trial.parameters, trial.hyperparameters)
                if trial.final:
                    self._tell(study, trial)
            self._studies[method] = study  # in memory and alone in its storage, a trial's number is its id
        return self._studies[method]

    def _learnt(self, method: str) -> list[dict[str, Any]]:
        space = self._plan.spaces[method]
        known = {_key(space.to_params(recipe)) for recipe in space.recipes if space.proposes(recipe)}
        found: dict[tuple[tuple[str, Any], ...], dict[str, Any]] = {}
        for hyperparameters in self._plan.experiment.learnt.configurations.get(method, ()):
            if space.proposes(hyperparameters) and (key := _key(space.to_params(hyperparameters))) not in known:
                found.setdefault(key, hyperparameters)
        return list(found.values())

    def _add(
        self, study: optuna.Study, method: str, parameters: dict[str, Any], hyperparameters: dict[str, Any]
    ) -> None:
        """A recipe that the search space does not propose is not what its `parameters` say: it is there as a failure
        from the start, of which no searcher learns, so that numbers are the same."""
        space = self._plan.spaces[method]
        state = TrialState.RUNNING if space.proposes(hyperparameters) else TrialState.FAIL
        distributions = space.distributions()
        study.add_trial(optuna.trial.create_trial(state=state, params=parameters, distributions=distributions))

    def _tell(self, study: optuna.Study, trial: Trial) -> None:
        """A trial ended: its figures by epoch, and whether it completed, was pruned or failed. A failure of the recipe
        is told as pruned, the worst of all: TPE does not look at failures, and would come back to the cliff. Nothing is
        told of what the search space does not propose."""
        if not self._plan.spaces[trial.method].proposes(trial.hyperparameters):
            return
        if trial.kind in OF_THE_RECIPE:
            study.tell(trial.number, state=TrialState.PRUNED)
            return
        for epoch, report in trial.reports.items():
            if (reached := figure(report.metrics)) is not None:
                self._storages[trial.method].set_trial_intermediate_value(trial.number, epoch, reached)
        if trial.state == "complete":
            study.tell(trial.number, trial.accuracy)
        else:
            study.tell(trial.number, state=TrialState.PRUNED if trial.state == "pruned" else TrialState.FAIL)


def _size(distributions: Iterable[BaseDistribution]) -> float:
    """How many configurations there are; infinity where one parameter is continuous."""
    return math.prod(math.inf if values is None else len(values) for values in map(_values, distributions))


def _values(distribution: BaseDistribution) -> Sequence[Any] | None:
    """All values of a parameter; None where it is continuous."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    return None


def _key(parameters: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The same for the same configuration."""
    return tuple(sorted(parameters.items()))
