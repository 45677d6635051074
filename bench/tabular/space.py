"""The search space of a table, whose configurations are all that is trained.

**Off the table**, a proposal stands for the nearest configuration by Gower's distance (1971): of every hyper-parameter
that is searched, the difference as a part of its range, on its scale, or 1 where a choice differs; their sum. A
searcher is told what it proposed, not what that stood for: to it the table is a function of the whole search space,
constant about each configuration, and no two proposals are the same by force.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from bench.errors import UserError
from bench.search.space import SearchSpace


@dataclass(frozen=True)
class TableSpace:
    """A search space (`bench.search.experiment.Searchable`) of which a table's configurations are all that is
    trained; `real` is that which they were drawn from."""

    real: SearchSpace
    configurations: Sequence[dict[str, Any]]
    """The hyper-parameters of each."""
    recorded: int = 1
    """How many of the first are recipes."""
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {frozenset(each) for each in (*self.configurations, self.real.defaults)}
        if len(names) > 1 or not self.real.proposes(self.defaults):
            raise UserError(f"it was recorded with another search space of {self.real.method}; record it again")

    @property
    def hash(self) -> str:
        return self.real.hash

    @property
    def defaults(self) -> dict[str, Any]:
        return self.recipes[-1]

    @property
    def recipes(self) -> list[dict[str, Any]]:
        return list(self.configurations[: self.recorded])

    def narrowed(self, choices: Mapping[str, list[Any]]) -> Self:
        return self

    def proposes(self, hyperparameters: dict[str, Any]) -> bool:
        return self.real.proposes(hyperparameters)

    def distributions(self) -> dict[str, BaseDistribution]:
        return self._distributions

    def to_params(self, hyperparameters: dict[str, Any]) -> dict[str, Any]:
        return self.real.to_params(hyperparameters)

    def settled(self, params: dict[str, Any]) -> dict[str, Any]:
        return self.real.settled(params)

    def from_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """The hyper-parameters of the nearest configuration; of equally near ones the first."""
        return self.configurations[self.nearest(params)]

    def nearest(self, params: dict[str, Any]) -> int:
        """The number of the nearest configuration of those that a search may propose."""
        numbers, choices = self._places
        distance = np.zeros(len(self._inside))
        for name, unit in self._units.items():
            distance += np.abs(numbers[name] - unit(params[name]))
        for name, theirs in choices.items():
            distance += np.array([choice != params[name] for choice in theirs], dtype=float)
        return self._inside[int(distance.argmin())]

    def number(self, hyperparameters: Mapping[str, Any]) -> int:
        """That of the configuration which has them."""
        return self._numbers[_key(hyperparameters)]

    @cached_property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return self.real.distributions()

    @cached_property
    def _inside(self) -> list[int]:
        return [number for number, each in enumerate(self.configurations) if self.real.proposes(each)]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {_key(each): number for number, each in reversed(list(enumerate(self.configurations)))}

    @cached_property
    def _units(self) -> dict[str, Callable[[float], float]]:
        return {name: _unit(each) for name, each in self._distributions.items() if not _is_choice(each)}

    @cached_property
    def _places(self) -> tuple[dict[str, NDArray[np.float64]], dict[str, list[Any]]]:
        """Where the configurations that may be proposed are: in [0, 1] of every range, and their choices."""
        params = [self.real.to_params(self.configurations[number]) for number in self._inside]
        numbers = {name: np.array([unit(each[name]) for each in params]) for name, unit in self._units.items()}
        choices = [name for name, each in self._distributions.items() if _is_choice(each)]
        return numbers, {name: [each[name] for each in params] for name in choices}


def _is_choice(distribution: BaseDistribution) -> bool:
    return isinstance(distribution, CategoricalDistribution)


def _unit(distribution: BaseDistribution) -> Callable[[float], float]:
    """Where a value is between the ends of a range, on its scale: 0 to 1."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    scale: Callable[[float], float] = math.log if distribution.log else float
    low, high = scale(distribution.low), scale(distribution.high)
    return lambda value: (scale(value) - low) / (high - low)


def _key(hyperparameters: Mapping[str, Any]) -> str:
    return json.dumps(hyperparameters, sort_keys=True)
