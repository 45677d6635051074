"""What can be said of many methods at once, each measured with a few seeds: which may be the best, and which pairs
differ.

A claim made of two methods that were picked among many by their figures is wrong more often than its own error tells.
So each statement here holds for all that it compares at once.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma, polygamma, stdtr, stdtrit

from bench.report.statistics import Estimate

Name = TypeVar("Name")
CONFIDENCE = 0.95
LEAST_VARIANCE = 1e-3
"""Seeds may have equal figures by chance; a variance is taken for at least this part of the middle one."""
MOST_FREEDOM = 4.0
"""What all methods tell of one counts at most as so many degrees of freedom: one may be unlike the others."""
FEWEST = 10
"""Methods, at least, of which it is asked how their variances are spread."""


@dataclass(frozen=True)
class Spread:
    """Variances of a figure over seeds, drawn towards the one that all methods have in common.

    Three seeds tell little of a method's variance, many methods together tell what variances there are: those of the
    methods are taken for draws from a scaled inverse chi-squared distribution with `freedom` degrees of freedom about
    `variance`, which are fitted to them (empirical Bayes; Smyth 2004, Statistical Applications in Genetics and
    Molecular Biology 3(1), sections 3 and 6.2).
    """

    variance: float
    freedom: float

    @classmethod
    def of(cls, variances: NDArray[np.float64], freedoms: NDArray[np.float64]) -> "Spread":
        """Of sample variances and their degrees of freedom, both [N]; nothing is known of fewer than `FEWEST`."""
        if len(variances) < FEWEST or not (middle := float(np.median(variances))) > 0:
            return cls(0.0, 0.0)
        halves = freedoms / 2
        logarithms = np.log(np.maximum(variances, LEAST_VARIANCE * middle)) - digamma(halves) + np.log(halves)
        mean = float(logarithms.mean())
        excess = float(logarithms.var(ddof=1) - polygamma(1, halves).mean())
        if excess <= float(polygamma(1, MOST_FREEDOM / 2)):  # they are as alike as those of one variance, or nearly
            return cls(float(np.average(variances, weights=freedoms)), MOST_FREEDOM)
        half = _inverse_trigamma(excess)
        return cls(math.exp(mean + digamma(half) - math.log(half)), 2 * half)

    def drawn(self, variance: float, freedom: float) -> tuple[float, float]:
        """A method's variance with what is known of all, and its degrees of freedom."""
        whole = self.freedom + freedom
        return (self.freedom * self.variance + freedom * variance) / whole, whole


def _inverse_trigamma(value: float) -> float:
    """x > 0 with trigamma(x) = value."""
    return math.exp(float(brentq(lambda x: float(polygamma(1, math.exp(x))) - value, -30.0, 30.0, xtol=1e-10)))


@dataclass(frozen=True)
class Comparison:
    """Rows by their means over seeds, named by method; those with one seed have no place in it, unless they are
    `certain`: of these, as of raw pixels or a frozen network, nothing is random."""

    estimates: Mapping[str, Estimate]
    certain: frozenset[str] = frozenset()

    @classmethod
    def of(cls, estimates: Mapping[str, Estimate], certain: Iterable[str] = ()) -> "Comparison":
        known = frozenset(certain)
        kept = {name: each for name, each in estimates.items() if name in known or len(each.values) > 1}
        return cls(kept, known & kept.keys())

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Those of the names that have a place in it, the best mean first."""
        known = (name for name in dict.fromkeys(names) if name in self.estimates)
        return sorted(known, key=lambda name: (-self.estimates[name].mean, name))

    @cached_property
    def _errors(self) -> dict[str, tuple[float, float]]:
        """Of each mean the variance, and its degrees of freedom."""
        values = {
            name: np.array(list(each.values.values()))
            for name, each in self.estimates.items()
            if name not in self.certain
        }
        variances = np.array([each.var(ddof=1) for each in values.values()])
        freedoms = np.array([len(each) - 1.0 for each in values.values()])
        spread, found = Spread.of(variances, freedoms), dict.fromkeys(self.certain, (0.0, math.inf))
        for (name, each), variance, freedom in zip(values.items(), variances, freedoms, strict=True):
            drawn, whole = spread.drawn(float(variance), float(freedom))
            found[name] = (drawn / len(each), whole)
        return found

    def error(self, name: str) -> float:
        """The standard error of a mean, by what is known of all."""
        return math.sqrt(self._errors[name][0])

    def half_width(self, name: str) -> float:
        """Half of the 95 % interval of a mean, by what is known of all."""
        variance, freedom = self._errors[name]
        return float(stdtrit(min(freedom, 1e9), (1 + CONFIDENCE) / 2)) * math.sqrt(variance)

    def better(self, one: str, other: str) -> float:
        """The probability that the one's mean over all seeds there could be is the higher, by Student's t of the
        difference (Welch and Satterthwaite's degrees of freedom); of this pair alone."""
        errors = [self._errors[one], self._errors[other]]
        difference = self.estimates[one].mean - self.estimates[other].mean
        total = sum(variance for variance, _ in errors)
        if one == other or total == 0:
            return 0.5 if one == other or difference == 0 else float(difference > 0)
        share = sum((variance / total) ** 2 / freedom for variance, freedom in errors)
        return float(stdtr(1 / share if share else math.inf, difference / math.sqrt(total)))

    def best(self, among: Iterable[str]) -> list[str]:
        """Those that may be the best of these, the best mean first: all that the leading one is not better than beyond
        doubt. That the true best is one of them holds with `CONFIDENCE`, however many there are, and that one alone is
        the best, also where two are exactly as good (multiple comparisons with the best; Hsu 1984, Annals of
        Statistics 12; here with Bonferroni's correction, two-sided)."""
        leading, *others = self.ordered(among) or [""]
        doubt = (1 - CONFIDENCE) / 2 / max(1, len(others))
        return [leading, *(name for name in others if 1 - self.better(leading, name) > doubt)] if leading else []

    def above(self, floor: str, among: Iterable[str]) -> list[str]:
        """Those that are above `floor` beyond doubt, the best mean first: that all of them are holds with
        `CONFIDENCE` (one-sided, Holm's correction)."""
        return self.ordered(holm({name: 1 - self.better(name, floor) for name in self.ordered(among)}))

    def differing(self, among: Iterable[str]) -> set[tuple[str, str]]:
        """The pairs (better, worse) that differ beyond doubt: that all of these are right holds with `CONFIDENCE`
        (two-sided, Holm's correction over all pairs)."""
        pairs = combinations(self.ordered(among), 2)
        return set(holm({pair: 2 * (1 - self.better(*pair)) for pair in pairs}))

    def groups(self, among: Iterable[str]) -> list[list[str]]:
        """The longest runs of neighbours by mean of which no two differ beyond doubt: those that a bar joins in a
        diagram of critical differences (Demsar 2006, JMLR 7, section 3.2.2)."""
        names = self.ordered(among)
        differing, found, reached = self.differing(names), [], 0
        for place in range(len(names)):
            end = place + 1
            while end < len(names) and not any((one, names[end]) in differing for one in names[place:end]):
                end += 1
            if end > max(reached, place + 1):
                found.append(names[place:end])
                reached = end
        return found


def holm(doubts: Mapping[Name, float]) -> list[Name]:
    """The names whose claims hold all at once with `CONFIDENCE`, of the probabilities with which each is wrong (Holm
    1979), the surest first."""
    adjusted = dict(zip(doubts, adjusted_by_holm(list(doubts.values())), strict=True))
    return [name for name in sorted(doubts, key=doubts.__getitem__) if adjusted[name] <= 1 - CONFIDENCE]


def adjusted_by_holm(values: Sequence[float]) -> list[float]:
    """P-values, adjusted so that all of a family together err as often as each alone would (Holm 1979)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, most = [0.0] * len(values), 0.0
    for step, place in enumerate(order):
        most = max(most, min(1.0, (len(values) - step) * values[place]))
        adjusted[place] = most
    return adjusted
