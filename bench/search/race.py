"""The race for the winner: the best of a method's search trials and its recipes meet again on further seeds.

One training says little: the spread between seeds is as large as the differences between good configurations, and the
best of many figures is the luckiest. So what is compared is the mean of each configuration's seeds, drawn towards the
middle of all that were tried by as much as both spreads say (shrinkage: an empirical Bayes estimate of a normal mean;
Efron and Morris 1975). A recipe was not chosen for its figure: its mean stands as it is.
"""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtr

from bench.search.fold import Fold
from bench.search.paces import Paces
from bench.search.plan import Plan
from bench.search.selection import merit
from bench.search.shares import Shares
from bench.search.tally import Tally
from bench.search.trials import OF_THE_RECIPE, Suggestion, Trial

DOUBT = 0.2
"""A recipe gives way only where the probability that it is the better one is below this; no further seeds are trained
where the same is said of all that could win. By the recorded table a recipe then gives way to what is worse in less
than one case in twenty, and a smaller doubt costs more than it saves (docs/log.md, 2026-11-27)."""
PRIOR_SEEDS = 3
"""Before there are further seeds, half of the spread of what was tried is taken as that of seeds, as if so many
trainings had said so."""
LEAST_SPREAD = 0.1
"""The least part of the spread of what was tried that is taken as that of configurations."""


@dataclass(frozen=True)
class Estimate:
    """Of the mean figure of a configuration over all seeds there could be."""

    mean: float
    variance: float
    seeds: int


@dataclass(frozen=True)
class Estimates:
    """Of all that a method has tried to the last epoch, by the uid of the search trial."""

    of: Mapping[str, Estimate]
    freedom: float
    """Degrees of freedom of the spread of seeds."""

    def better(self, first: str, second: str) -> float:
        """The probability that the first has the higher mean."""
        one, other = self.of[first], self.of[second]
        spread = math.sqrt(one.variance + other.variance)
        if spread == 0:
            return 0.5 if one.mean == other.mean else float(one.mean > other.mean)
        return float(stdtr(self.freedom, (one.mean - other.mean) / spread))


def estimates(figures: Mapping[str, Sequence[float]], recipes: set[str]) -> Estimates:
    """Of configurations with these figures, the more the better: one of each seed, that of the search first. Those of
    `recipes` are not drawn towards the others."""
    first = [each[0] for each in figures.values()]
    middle = statistics.median(first)
    # By those above the middle: what failed to learn lies far below, and says nothing of how the good ones differ.
    total = statistics.fmean((figure - middle) ** 2 for figure in first if figure >= middle)
    freedom = PRIOR_SEEDS + sum(len(each) - 1 for each in figures.values())
    within = sum(sum((figure - statistics.fmean(each)) ** 2 for figure in each) for each in figures.values())
    seeds = (PRIOR_SEEDS * total / 2 + within) / freedom
    configurations = max(total - seeds, LEAST_SPREAD * total)
    found = {}
    for uid, each in figures.items():
        mean, noise = statistics.fmean(each), seeds / len(each)
        known = uid not in recipes and total > 0 and noise > 0  # where most tie at the top, no spread is known
        weight = configurations / (configurations + noise) if known else 1.0
        found[uid] = Estimate(middle + weight * (mean - middle), weight * noise, len(each))
    return Estimates(found, freedom)


class Race:
    """Two are always compared: the one that leads, which the recipe is not asked to be, and whichever is the most
    likely to be better; of the two, the one with fewer seeds is trained once more. It ends where the leader is better
    beyond doubt than all others and the published recipe is settled against it, or where the time is spent that is
    kept for it (`bench.search.shares`)."""

    def __init__(self, plan: Plan, fold: Fold, tallies: Mapping[str, Tally], paces: Paces, shares: Shares) -> None:
        self._plan, self._fold, self._tallies, self._paces, self._shares = plan, fold, tallies, paces, shares
        self._figures: dict[str, dict[str, list[float]]] = {method: {} for method in plan.spaces}
        self._out: set[str] = set()  # configurations of which a further seed failed
        self._known: dict[str, Estimates] = {}

    def count(self, trial: Trial) -> None:
        """Take note of a search trial, or of a further seed of one, that has ended."""
        if trial.stage == "search" and trial.accuracy is not None:
            self._figures[trial.method][trial.uid] = [merit(trial.accuracy)]
        elif trial.stage == "race" and trial.accuracy is not None:
            self._figures[trial.method][trial.configuration].append(merit(trial.accuracy))
        elif trial.stage == "race" and trial.kind in OF_THE_RECIPE:
            self._out.add(trial.configuration)
        self._known.pop(trial.method, None)

    def next(self, method: str) -> Suggestion | None:
        """The training that the race wants next and has room for, which may have been begun before; None where there
        is none."""
        for trial in self._fold.of(method, "race"):
            if not trial.final and trial.uid not in self._tallies[method].racing and self._has_room(trial, trial.epoch):
                return trial
        runs = Counter(self._fold.trials[uid].configuration for uid in self._tallies[method].racing)
        wanted = self._wanted(method, runs)
        if wanted is None or not self._has_room(trial := self._fold.trials[wanted], 0):
            return None
        number = sum(other.configuration == wanted for other in self._fold.of(method, "race")) + 1
        return Suggestion(
            uid=f"{wanted}-r{number}",
            method=method,
            stage="race",
            seed=self._plan.experiment.seed * 1_000_000 + 800_000 + number,
            number=number,
            hyperparameters=trial.hyperparameters,
            parameters={},
            published=trial.published,
            of=wanted,
            epochs=self._plan.epochs,
            evaluate_at=[self._plan.epochs],
            halved=trial.halved,
            ours=trial.ours,
        )

    def winner(self, method: str) -> tuple[Trial | None, float | None]:
        """The search trial that wins, and the probability that it is better than the published recipe; None of that
        where it is the recipe, or that has no figure. None of both where no trial is complete."""
        found = self._estimates(method)
        recipe, leader = self._recipe(method), self._leader(method)
        if leader is None:
            return (self._fold.trials[recipe] if recipe else None), None
        if recipe is None:
            return self._fold.trials[leader], None
        probability = found.better(leader, recipe)
        if probability > 1 - DOUBT:
            return self._fold.trials[leader], probability
        return self._fold.trials[recipe], None

    def _wanted(self, method: str, runs: Counter[str]) -> str | None:
        """The configuration of which another seed would tell the most."""
        found, recipe, leader = self._estimates(method), self._recipe(method), self._leader(method)
        if leader is None or len(found.of) < 2:
            return None
        against = {uid: found.better(uid, leader) for uid in found.of if uid != leader and uid not in self._out}
        if recipe is not None and against[recipe] >= 1 - DOUBT:
            return None  # nothing that was tried will beat it
        rival = max(against, key=against.__getitem__, default=None)
        if rival is None or against[rival] <= DOUBT:
            return None
        return min((rival, leader), key=lambda uid: found.of[uid].seeds + runs[uid])

    def _leader(self, method: str) -> str | None:
        """The best of all but the published recipe."""
        found, recipe = self._estimates(method).of, self._recipe(method)
        able = [uid for uid in found if uid != recipe and uid not in self._out]
        return max(able, key=lambda uid: found[uid].mean, default=None)

    def _recipe(self, method: str) -> str | None:
        """The search trial of the published recipe, where it is complete."""
        return next((uid for uid in self._figures[method] if self._fold.trials[uid].published), None)

    def _estimates(self, method: str) -> Estimates:
        if method not in self._known:
            figures = self._figures[method]
            recipes = {uid for uid in figures if self._fold.trials[uid].recipe}
            self._known[method] = estimates(figures, recipes) if figures else Estimates({}, 1.0)
        return self._known[method]

    def _has_room(self, trial: Trial, epoch: int) -> bool:
        planned = self._paces.planned(trial.method, "race", epoch, self._plan.epochs)
        cost = planned * self._paces.pace(trial.method, trial.configuration)
        return cost <= self._shares.room(trial.method, racing=True)
