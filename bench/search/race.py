"""The race for the winner: the best of a method's search trials and its recipes meet again on further seeds.

One training says little: the spread between seeds is as large as the differences between good configurations, and the
best of many figures is the luckiest. So a figure is taken for the sum of what its configuration is worth, what its seed
does to all configurations, and chance; and what configurations are worth is drawn towards the middle of all that were
tried by as much as the spreads say (best linear unbiased prediction in a mixed model; Robinson 1991). A recipe was not
chosen for its figure: what it is worth is not drawn.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from bench.search.fold import Fold
from bench.search.paces import Paces
from bench.search.plan import Plan
from bench.search.selection import merit
from bench.search.shares import Shares
from bench.search.tally import Tally
from bench.search.trials import OF_THE_RECIPE, Suggestion, Trial

DOUBT, SETTLED = 0.25, 0.02
"""A recipe gives way only where the probability that it is the better one is below `DOUBT`, and while there is time for
further seeds only where it is below `SETTLED`; among others none are trained where that of all rivals is below `DOUBT`.
By the recorded tables a recipe then gives way to what is worse in one case in twenty with five trainings, in one in
fifty with fifteen, and smaller doubts cost more than they save (docs/log.md, 2026-11-27)."""
PRIOR_TRAININGS = 3
"""Before there are further seeds, half of the spread of what was tried is taken as that of trainings of one
configuration, as if so many had said so."""
LEAST_SPREAD = 0.1
"""The least part of the spread of what was tried that is taken as that of configurations."""
NOTHING = 1e-18
"""A variance below it is that of equal figures, in which numbers were rounded."""


Figures = Mapping[int, float]
"""Of one configuration: the figure of each seed that it was trained with."""


@dataclass(frozen=True)
class Estimates:
    """Of the mean figures of configurations over all seeds there could be, by the uid of the search trial."""

    places: Mapping[str, int]
    means: NDArray[np.float64]
    covariance: NDArray[np.float64]
    freedom: float
    """Degrees of freedom of the spread of trainings."""

    def mean(self, uid: str) -> float:
        return float(self.means[self.places[uid]])

    def better(self, first: str, second: str) -> float:
        """The probability that the first has the higher mean."""
        one, other = self.places[first], self.places[second]
        square = self.covariance[[one, other], [one, other]].sum() - 2 * self.covariance[one, other]
        difference = self.means[one] - self.means[other]
        if square <= 0:
            return 0.5 if difference == 0 else float(difference > 0)
        return float(stdtr(self.freedom, difference / math.sqrt(square)))


def estimates(figures: Mapping[str, Figures], recipes: set[str], seed: int) -> Estimates:
    """Of configurations with these figures, the more the better, all of which were trained with `seed`. Those of
    `recipes` are not drawn towards the others."""
    if not figures:
        return Estimates({}, np.zeros(0), np.zeros((0, 0)), PRIOR_TRAININGS)
    places = {uid: place for place, uid in enumerate(figures)}
    first = np.array([each[seed] for each in figures.values()])
    middle = float(np.median(first))
    # By those above the middle: what failed to learn lies far below, and says nothing of how the good ones differ.
    total = float(np.mean((first[first >= middle] - middle) ** 2))
    known = [(places[uid], number, figure) for uid, each in figures.items() for number, figure in each.items()]
    others = sorted({number for _, number, _ in known} - {seed})
    # Of each training, its configuration and what its seed does to all, compared with `seed`.
    design = np.zeros((len(known), len(figures) + len(others)))
    for row, (place, number, _) in enumerate(known):
        design[row, place] = 1
        if number != seed:
            design[row, len(figures) + others.index(number)] = 1
    scores = np.array([figure for *_, figure in known]) - middle
    fit = np.asarray(np.linalg.lstsq(design, scores, rcond=None)[0], dtype=np.float64)
    freedom = PRIOR_TRAININGS + len(known) - design.shape[1]
    noise = (PRIOR_TRAININGS * total / 2 + float(np.sum((scores - design @ fit) ** 2))) / freedom
    covariance = np.zeros((design.shape[1], design.shape[1]))
    if noise > NOTHING:
        spread = max(total - noise, LEAST_SPREAD * total)
        # Where most tie at the top, no spread is known, and none is drawn.
        drawn = [0.0 if uid in recipes or spread < NOTHING else 1 / spread for uid in figures] + [0.0] * len(others)
        covariance = np.asarray(np.linalg.inv(design.T @ design / noise + np.diag(drawn)), dtype=np.float64)
        fit = covariance @ design.T @ scores / noise
    own = slice(len(figures))
    return Estimates(places, middle + fit[own], covariance[own, own], freedom)


class Race:
    """Two are always compared: the one that leads, which the recipe is not asked to be, and the published recipe until
    it is settled against it, then whichever is the most likely to be better; of the two, the one with fewer seeds is
    trained once more. It ends where the leader is better beyond doubt than all others, or the recipe than it, or where
    the time is spent that is kept for it (`bench.search.shares`)."""

    def __init__(self, plan: Plan, fold: Fold, tallies: Mapping[str, Tally], paces: Paces, shares: Shares) -> None:
        self._plan, self._fold, self._tallies, self._paces, self._shares = plan, fold, tallies, paces, shares
        self._figures: dict[str, dict[str, dict[int, float]]] = {method: {} for method in plan.spaces}
        self._out: set[str] = set()  # configurations of which a further seed failed
        self._known: dict[str, Estimates] = {}

    def count(self, trial: Trial) -> None:
        """Take note of a search trial, or of a further seed of one, that has ended."""
        if trial.stage == "search" and trial.accuracy is not None:
            self._figures[trial.method][trial.uid] = {trial.seed: merit(trial.accuracy)}
        elif trial.stage == "race" and trial.accuracy is not None:
            self._figures[trial.method][trial.configuration][trial.seed] = merit(trial.accuracy)
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
            seed=self._plan.experiment.training_seed("race", number),
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
        if leader is None or len(found.places) < 2:
            return None
        against = {uid: found.better(uid, leader) for uid in found.places if uid != leader and uid not in self._out}
        of_recipe = against.get(recipe or "", 0.0)
        if of_recipe >= 1 - DOUBT:
            return None  # nothing that was tried will beat it
        rival = recipe if of_recipe > SETTLED else max(against, key=against.__getitem__, default=None)
        if rival is None or (rival != recipe and against[rival] <= DOUBT):
            return None
        return min((rival, leader), key=lambda uid: len(self._figures[method][uid]) + runs[uid])

    def _leader(self, method: str) -> str | None:
        """The best of all but the published recipe."""
        found, recipe = self._estimates(method), self._recipe(method)
        able = [uid for uid in found.places if uid != recipe and uid not in self._out]
        return max(able, key=found.mean, default=None)

    def _recipe(self, method: str) -> str | None:
        """The search trial of the published recipe, where it is complete."""
        return next((uid for uid in self._figures[method] if self._fold.trials[uid].published), None)

    def _estimates(self, method: str) -> Estimates:
        if method not in self._known:
            figures = self._figures[method]
            recipes = {uid for uid in figures if self._fold.trials[uid].recipe}
            self._known[method] = estimates(figures, recipes, self._plan.experiment.training_seed("search"))
        return self._known[method]

    def _has_room(self, trial: Trial, epoch: int) -> bool:
        planned = self._paces.planned(trial.method, "race", epoch, self._plan.epochs)
        cost = planned * self._paces.pace(trial.method, trial.configuration)
        return cost <= self._shares.room(trial.method, racing=True)
