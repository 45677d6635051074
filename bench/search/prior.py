"""A searcher that knows the recipe: published recipes are what experts believe, and a search has few trainings.

It proposes where a Gaussian process of the results expects the most improvement, times what is believed beforehand,
with a power that fades as results come: prior(x) ** (BETA / trials), as in piBO (arXiv 2204.11051). Candidates are
drawn from the prior, from the whole space and about the best trials, as PriorBand does (arXiv 2306.12370).
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from scipy.special import logsumexp, ndtr, ndtri
from scipy.stats import rankdata

from bench.search.gaussian_process import Floats, expected_improvement
from bench.search.selection import merit

CENTRES = "centres"
"""The user attribute of a study that lists the parameters of our recipe and of what earlier runs taught."""
SPREAD, KEPT = 0.25, 0.6
"""The prior about a centre: the standard deviation as a part of a range, on its scale; the probability that a choice is
the centre's, and else any."""
MUTATED, CLOSE = 0.4, 0.1
"""How likely a parameter of a good trial changes in a candidate near it, and how far."""
FIRST, BELIEVED = 2, 0.7
"""Before so many trials have ended, proposals are drawn: so likely from the prior, else from the whole space."""
BETA = 2.0
DRAWN, GOOD = 128, 5
"""Candidates from the prior, and as many from the whole space; the most good trials about which there are others."""


class Choice:
    """A parameter with choices: its coordinate is the index of one."""

    def __init__(self, distribution: CategoricalDistribution) -> None:
        self._distribution, self._count = distribution, len(distribution.choices)

    def place(self, value: Any) -> float:
        return float(self._distribution.to_internal_repr(value))

    def value(self, place: float) -> Any:
        return self._distribution.choices[int(place)]

    def uniform(self, random: np.random.Generator, count: int) -> Floats:
        return random.integers(0, self._count, count).astype(float)

    def about(self, random: np.random.Generator, centres: Floats, spread: float) -> Floats:
        """A coordinate for each of these, which it often is."""
        drawn = random.random(len(centres))
        found: Floats = np.where(drawn < KEPT, centres, self.uniform(random, len(centres)))
        return found

    def log_density(self, places: Floats, centre: float) -> Floats:
        """Of the prior about a centre; 0 where it is as in the whole space."""
        other = (1 - KEPT) / self._count
        found: Floats = np.log(self._count * np.where(places == centre, KEPT + other, other))
        return found


class Range:
    """A parameter with a range: its coordinate is in [0, 1], on the scale of the search."""

    def __init__(self, distribution: FloatDistribution | IntDistribution) -> None:
        self._distribution, self._log = distribution, distribution.log
        half = distribution.step / 2 if isinstance(distribution, IntDistribution) else 0.0  # the ends are as likely
        low, high = distribution.low - half, distribution.high + half
        self._low, self._high = (math.log(low), math.log(high)) if self._log else (low, high)

    def place(self, value: Any) -> float:
        place = ((math.log(value) if self._log else value) - self._low) / (self._high - self._low)
        return float(min(max(place, 0.0), 1.0))

    def value(self, place: float) -> Any:
        low, high, step = self._distribution.low, self._distribution.high, self._distribution.step
        value = self._low + place * (self._high - self._low)
        value = math.exp(value) if self._log else value
        if step is not None:
            value = low + round((value - low) / step) * step
        return min(max(value, low), high)

    def uniform(self, random: np.random.Generator, count: int) -> Floats:
        return random.random(count)

    def about(self, random: np.random.Generator, centres: Floats, spread: float) -> Floats:
        """A coordinate near each of these: normal, cut off at the ends."""
        below, above = ndtr(-centres / spread), ndtr((1 - centres) / spread)
        drawn = below + random.random(len(centres)) * (above - below)
        found: Floats = np.clip(centres + spread * ndtri(drawn), 0.0, 1.0)
        return found

    def log_density(self, places: Floats, centre: float) -> Floats:
        """Of the prior about a centre; 0 where it is as in the whole space."""
        inside = float(ndtr((1 - centre) / SPREAD) - ndtr(-centre / SPREAD))
        return -0.5 * ((places - centre) / SPREAD) ** 2 - math.log(SPREAD * math.sqrt(2 * math.pi) * inside)


class Space:
    """Points are rows of coordinates, a column for each of the parameters."""

    def __init__(self, distributions: dict[str, BaseDistribution], centres: list[dict[str, Any]]) -> None:
        self._axes: dict[str, Choice | Range] = {}
        for name, distribution in distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                self._axes[name] = Choice(distribution)
            else:
                assert isinstance(distribution, FloatDistribution | IntDistribution)
                self._axes[name] = Range(distribution)
        self.choices = [column for column, axis in enumerate(self._axes.values()) if isinstance(axis, Choice)]
        self._centres = self.points(centres)
        learnt = len(centres) - 1  # which share half of the prior
        self._weights = np.array([0.5, *[0.5 / learnt] * learnt]) if learnt else np.ones(1)

    def points(self, parameters: list[dict[str, Any]]) -> Floats:
        rows = [[axis.place(each[name]) for name, axis in self._axes.items()] for each in parameters]
        return np.array(rows, dtype=float).reshape(len(rows), len(self._axes))

    def parameters(self, point: Floats) -> dict[str, Any]:
        return {name: axis.value(float(place)) for (name, axis), place in zip(self._axes.items(), point, strict=True)}

    def uniform(self, random: np.random.Generator, count: int) -> Floats:
        return np.stack([axis.uniform(random, count) for axis in self._axes.values()], axis=1)

    def believed(self, random: np.random.Generator, count: int) -> Floats:
        """Points drawn from the prior."""
        centres = self._centres[random.choice(len(self._weights), count, p=self._weights)]
        return self._about(random, centres, SPREAD)

    def near(self, random: np.random.Generator, points: Floats) -> Floats:
        """Points some of whose coordinates are other ones, close to those of these."""
        changed = random.random(points.shape) < MUTATED
        return np.where(changed, self._about(random, points, CLOSE), points)

    def _about(self, random: np.random.Generator, points: Floats, spread: float) -> Floats:
        axes = enumerate(self._axes.values())
        return np.stack([axis.about(random, points[:, column], spread) for column, axis in axes], axis=1)

    def log_prior(self, points: Floats) -> Floats:
        """The density of the prior, over that of the whole space."""
        axes = list(enumerate(self._axes.values()))
        each = [sum(axis.log_density(points[:, column], at[column]) for column, axis in axes) for at in self._centres]
        return np.asarray(logsumexp(np.stack(each, axis=1), b=self._weights, axis=1))


class PriorSampler(optuna.samplers.BaseSampler):
    """It needs the study's user attribute `CENTRES`; all trials of a study have the same parameters."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return searched(study)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never, as all parameters are sampled together."""
        raise NotImplementedError(param_name)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        random = np.random.default_rng(self._seed)
        space = Space(search_space, study.user_attrs[CENTRES])
        others = [each for each in study.get_trials(deepcopy=False) if each.number != trial.number]
        ended = [each for each in others if each.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        candidates = self._candidates(random, space, others, ended)
        known = [{name: each.params[name] for name in search_space} for each in others]
        first = proposed = space.parameters(candidates[0])
        for candidate in candidates:
            if (proposed := space.parameters(candidate)) not in known:
                return proposed
        return first

    def _candidates(
        self, random: np.random.Generator, space: Space, others: list[FrozenTrial], ended: list[FrozenTrial]
    ) -> Floats:
        """The best first."""
        believed, uniform = space.believed(random, DRAWN), space.uniform(random, DRAWN)
        if len(ended) < FIRST:
            return np.where(random.random((DRAWN, 1)) < BELIEVED, believed, uniform)
        points, scores = space.points([each.params for each in ended]), standings(ended)
        running = space.points([each.params for each in others if each.state == TrialState.RUNNING])
        good = points[np.argsort(-scores, kind="stable")[: min(GOOD, max(1, len(ended) // 4))]]
        candidates = np.concatenate([believed, uniform, space.near(random, np.tile(good, (2 * DRAWN // len(good), 1)))])
        expected = expected_improvement(random, points, scores, running, candidates, space.choices)
        merits = expected + BETA / len(ended) * space.log_prior(candidates)
        return candidates[np.argsort(-merits, kind="stable")]


def searched(study: optuna.Study) -> dict[str, BaseDistribution]:
    """What the first trial has: here all trials of a study have the same parameters, and none needs a look."""
    names = study.get_trials(deepcopy=False)[0].distributions
    return {name: names[name] for name in sorted(names) if not names[name].single()}


def standings(trials: list[FrozenTrial]) -> Floats:
    """Normal scores, the more the better, of what trials would have reached at their end: of a pruned one its last
    figure and, from milestone to milestone, the median of what others gained from there. Those without a figure are
    last."""
    curves = []
    for trial in trials:
        curve = {float(epoch): merit(figure) for epoch, figure in trial.intermediate_values.items()}
        if trial.value is not None and trial.state == TrialState.COMPLETE:
            curve[math.inf] = merit(trial.value)
        curves.append({epoch: figure for epoch, figure in curve.items() if math.isfinite(figure)})
    epochs = sorted({epoch for curve in curves for epoch in curve})
    reached = np.array([curve[max(curve)] if curve else -math.inf for curve in curves])
    last = np.array([max(curve, default=-math.inf) for curve in curves])
    for before, after in pairwise(epochs):
        gains = [curve[after] - curve[before] for curve in curves if before in curve and after in curve]
        reached = np.where(last <= before, reached + (np.median(gains) if gains else 0.0), reached)
    return np.asarray(ndtri((rankdata(reached) - 0.5) / len(trials)))
