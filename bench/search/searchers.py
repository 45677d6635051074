"""Searchers: Optuna samplers, which propose the configurations of a method.

**To plug one in**: `--searcher package.module:function` or `file.py:function`, called as `function(seed)` for each
proposal, gives an `optuna.samplers.BaseSampler`. What is believed before any trial is the study's user attribute
`bench.search.prior.CENTRES`.
"""

import copy
from bisect import insort
from collections.abc import Callable, Container, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from bench.search.prior import PriorSampler, searched
from bench.search.selection import merit

optuna.logging.set_verbosity(optuna.logging.ERROR)  # it tells every study and trial, which we tell ourselves

FEW = 10
"""Random trials before TPE models, the recipes included."""


class _Tpe(optuna.samplers.TPESampler):
    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return searched(study)


def tpe(seed: int) -> optuna.samplers.BaseSampler:
    """Multivariate TPE; running trials count as poor ones so that parallel proposals differ."""
    return _Tpe(
        seed=seed,
        n_startup_trials=FEW,
        multivariate=True,
        constant_liar=True,
    )


def random(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


SEARCHERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "prior": PriorSampler,
    "tpe": tpe,
    "random": random,
}


class BestAndLatest(optuna.storages.InMemoryStorage):
    """One study, of which samplers see what runs, the best and the latest trials: where a model takes time by the
    trials that it sees, proposals take the same time in a study of any length.

    TPE calls a tenth of what it sees good, so the best are as many. What it sees depends on how trials ended and not
    on the order in which they did, so that a continued run sees the same. Alone in its storage, a trial's number is
    its id.
    """

    def __init__(self, best: int = 15, latest: int = 105) -> None:
        super().__init__()
        self._best, self._latest = best, latest
        self._ranking: list[tuple[float, ...]] = []  # as TPE ranks: complete before pruned, pruned by epoch
        self._ended: list[int] = []
        self._running: set[int] = set()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        number = super().create_new_trial(study_id, template_trial)
        if template_trial is None or not template_trial.state.is_finished():
            self._running.add(number)
        return number

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Nothing: TPE tells other processes there what it proposes, and there are none."""

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        changed = super().set_trial_state_values(trial_id, state, values)
        trial = self.get_trial(trial_id)
        if state.is_finished():
            self._running.discard(trial_id)
        if state == TrialState.COMPLETE and trial.value is not None:
            insort(self._ranking, (0, 0, -merit(trial.value), trial_id))
        if state == TrialState.PRUNED:
            epoch, figure = max(trial.intermediate_values.items(), default=(0, 0.0))
            insort(self._ranking, (1, -epoch, -merit(figure), trial_id))
        if state in (TrialState.COMPLETE, TrialState.PRUNED):
            insort(self._ended, trial_id)
        return changed

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if len(self._ended) <= self._best + self._latest or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        trials = super().get_all_trials(study_id, deepcopy=False)
        best = (int(number) for *_, number in self._ranking[: self._best])
        numbers = sorted(self._running.union(best, self._ended[-self._latest :]))
        seen = [trials[number] for number in numbers if states is None or trials[number].state in states]
        return copy.deepcopy(seen) if deepcopy else seen
