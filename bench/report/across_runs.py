"""Several runs beside each other: what differs in how they were made, each method's accuracy in each, what differs
beyond the noise of seeds, and how well the runs agree on who is best."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr, ttest_ind

from bench.errors import UserError
from bench.report.comparison import Comparison, adjusted_by_holm
from bench.report.results import Results
from bench.report.rows import Row, compared, rows
from bench.report.run import budget_seconds, each_session, fact, versions
from bench.report.statistics import Estimate, half_width_of_difference
from bench.report.text import DASH, one_line

DRAWS = 2000
"""Of the bootstrap; its generator has a fixed seed."""
CERTAIN = 0.05
"""The chance of a single false difference among all of a comparison (Holm 1979)."""
OVER_RUNS = 3
"""From so many runs on the mean rank is bootstrapped over runs, too."""


class Named(NamedTuple):
    """A run by the letter that tables call it."""

    letter: str
    title: str
    results: Results
    rows: dict[str, Row]
    """Of the methods that are confirmed."""


class Difference(NamedTuple):
    """A method's accuracy in a later run minus that in an earlier one, as fractions."""

    method: str
    first: str
    second: str
    """Letters."""
    mean: float
    half_width: float | None
    """Of the 95 % interval by Welch's t, of this one alone; None of one seed."""
    adjusted: float | None
    """The p-value, adjusted for all differences of the comparison; None of one seed."""

    @property
    def certain(self) -> bool:
        return self.adjusted is not None and self.adjusted < CERTAIN


class Rank(NamedTuple):
    """A method's mean rank over runs, 1 the best, with its 95 % interval."""

    method: str
    mean: float
    low: float
    high: float
    wins: float
    """The part of the pairs with another method, in any run, in which it leads; a tie counts half."""
    ahead: float
    """The mean over those pairs of the probability that its mean is the higher one."""


@dataclass(frozen=True)
class AcrossRuns:
    """Of at least two runs that are judged by the same figure."""

    runs: Sequence[Named]

    @cached_property
    def settings(self) -> list[tuple[str, list[str]]]:
        """What differs: its name, and what it is in each run."""
        told = [dict(_about(each)) for each in self.runs]
        names = list(dict.fromkeys(name for each in told for name in each))
        table = [(name, [each.get(name, DASH) for each in told]) for name in names]
        return [(name, values) for name, values in table if len(set(values)) > 1]

    @cached_property
    def methods(self) -> list[str]:
        """All that any run has confirmed, the best on average first."""
        means: dict[str, list[float]] = {}
        for run in self.runs:
            for method, row in run.rows.items():
                means.setdefault(method, []).append(accuracy(row).mean)
        return sorted(means, key=lambda method: (-len(means[method]), -float(np.mean(means[method])), method))

    @cached_property
    def common(self) -> list[str]:
        """Those that every run has confirmed."""
        return [method for method in self.methods if all(method in run.rows for run in self.runs)]

    @cached_property
    def same_images(self) -> bool:
        """Whether accuracies of the runs are of the same test images."""
        prints = {str(fact(run.results.run, "dataset_fingerprint")) for run in self.runs}
        return len(prints) == 1 and prints != {"None"}

    @cached_property
    def differences(self) -> list[Difference]:
        """Of each method between each two runs on the same images. P-values by Welch's test, adjusted by Holm's steps
        for all of them."""
        if not self.same_images:
            return []
        found = []
        for one, other in combinations(self.runs, 2):
            for method in (each for each in self.methods if each in one.rows and each in other.rows):
                before, after = accuracy(one.rows[method]), accuracy(other.rows[method])
                width = half_width_of_difference(before, after)
                value = None if width is None else _welch(before, after)
                found.append((method, one.letter, other.letter, after.mean - before.mean, width, value))
        adjusted = iter(adjusted_by_holm([value for *_, value in found if value is not None]))
        return [
            Difference(method, first, second, mean, width, None if value is None else next(adjusted))
            for method, first, second, mean, width, value in found
        ]

    @cached_property
    def ranks(self) -> list[Rank]:
        """Of the methods that all runs have, the best first; none of fewer than two. The interval is a bootstrap: seeds
        drawn again within each method and run, their spread made as wide as so few seeds ask for, and from three runs
        on the runs drawn again, too."""
        if len(self.common) < 2:
            return []
        estimates = [[accuracy(run.rows[method]) for method in self.common] for run in self.runs]
        means = np.array([[each.mean for each in of_run] for of_run in estimates])
        observed = _ranks(means)
        drawn = _ranks(_drawn(estimates))
        if len(self.runs) >= OVER_RUNS:
            picks = np.random.default_rng(1).integers(len(self.runs), size=(DRAWS, len(self.runs)))
            drawn = np.take_along_axis(drawn, picks[:, :, None], axis=1)
        low, high = np.quantile(drawn.mean(1), [0.025, 0.975], axis=0)
        wins, ahead = self._leads(means)
        mean = observed.mean(0)
        made = [
            Rank(method, *(float(each[place]) for each in (mean, low, high, wins, ahead)))
            for place, method in enumerate(self.common)
        ]
        return sorted(made, key=lambda rank: (rank.mean, -rank.wins, rank.method))

    def _leads(self, means: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each common method the part of pairs that it leads, and its mean probability to lead, over all runs, of
        means (runs, methods)."""
        methods = len(self.common)
        wins, ahead = np.zeros(methods), np.zeros(methods)
        for run, of_run in zip(self.runs, means, strict=True):
            known = Comparison.of({method: accuracy(row) for method, row in run.rows.items()})
            for one, other in combinations(range(methods), 2):
                lead = float(of_run[one] > of_run[other]) + 0.5 * float(of_run[one] == of_run[other])
                names = self.common[one], self.common[other]
                # where nothing tells the spread, half of what was seen
                chance = known.better(*names) if known.estimates.keys() >= set(names) else 0.25 + 0.5 * lead
                wins[[one, other]] += lead, 1 - lead
                ahead[[one, other]] += chance, 1 - chance
        pairs = len(self.runs) * (methods - 1)
        return wins / pairs, ahead / pairs

    @cached_property
    def agreement(self) -> list[tuple[str, str, float]]:
        """Of each two runs Spearman's correlation of the accuracies of the methods that both have; from three on."""
        found = []
        for one, other in combinations(self.runs, 2):
            both = [method for method in self.methods if method in one.rows and method in other.rows]
            if len(both) > 2:
                first, second = ([accuracy(run.rows[method]).mean for method in both] for run in (one, other))
                if len(set(first)) > 1 and len(set(second)) > 1:
                    found.append((one.letter, other.letter, float(spearmanr(first, second).statistic)))
        return found

    @cached_property
    def notes(self) -> list[str]:
        """How to read it."""
        notes = []
        for run in self.runs:
            if run.results.run.get("closed") != "done":
                notes.append(f"{run.letter} has not ended: what it has confirmed so far is here.")
        if not self.same_images:
            notes.append("The runs have other images: accuracies are not averaged nor subtracted, ranks alone compare.")
        if any(difference.adjusted is None for difference in self.differences):
            notes.append("Of a single seed nothing says what is noise: such a difference has no interval.")
        if self.differences:
            notes.append(
                f"A difference counts as more than noise where Welch's test on seeds says so, with Holm's account of "
                f"all {len(self.differences)}; the intervals are of each one alone."
            )
        if self.ranks:
            over = "seeds and runs" if len(self.runs) >= OVER_RUNS else "seeds alone, for there are two runs"
            notes.append(f"Ranks are among the {len(self.common)} methods of all runs; 95 % intervals over {over}.")
        elif len(self.common) == 1:
            notes.append(f"The runs share one method, {self.common[0]}: there are no ranks.")
        else:
            notes.append("The runs share no method: there are no ranks.")
        return notes


def compare(runs: Sequence[tuple[str, Results]]) -> AcrossRuns:
    """Of runs by their titles. Raises UserError for what cannot be compared."""
    if len(runs) < 2:
        raise UserError("a comparison is of two runs or more; name another run's folder or bundle")
    tests = {found.judged.tested.title for _, found in runs}
    for title, found in runs:
        if not found.judged.ranks:
            raise UserError(
                f"{one_line(title)} is judged by {found.judged.tested.title}, for its test images have no labels, and "
                "that compares no methods; leave it out"
            )
    if len(tests) > 1:
        raise UserError(f"the runs are judged by other figures ({', '.join(sorted(tests))}); compare those of one kind")
    seen: dict[Any, str] = {}
    named = []
    for place, (title, found) in enumerate(runs):
        mark = _mark(found)
        if mark in seen:
            raise UserError(f"{one_line(title)} is the same run as {one_line(seen[mark])}; leave out one of them")
        seen[mark] = title
        confirmed = {row.method: row for row in compared(rows(found)) if row.accuracy is not None}
        if not confirmed:
            raise UserError(f"{one_line(title)} has confirmed no method yet; continue it, or leave it out")
        named.append(Named(_letter(place), one_line(title), found, confirmed))
    return AcrossRuns(named)


def _mark(found: Results) -> str:
    """The same for two copies of one run."""
    trials = found.trials.drop(columns=["run"]).astype(str)
    return str(pd.util.hash_pandas_object(trials, index=False).sum()) + str(len(trials))


def _letter(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else f"R{place + 1}"


def _about(run: Named) -> Iterator[tuple[str, str]]:
    """What a run was made with, in words."""
    told = run.results.run
    settings = told.get("settings") or {}
    images = (told.get("facts") or {}).get("images") or {}
    seconds, device = budget_seconds(told), (told.get("budget") or {}).get("device")
    yield "data", one_line(settings.get("dataset", DASH))
    yield "images", str(settings.get("dataset_fingerprint", DASH))[:12]
    yield "training images", f"{images['train']:,}" if images.get("train") else DASH
    for name in ("image_size", "encoder", "init", "augment", "batch_size", "seed", "seeds", "searcher", "scheduler"):
        yield name.replace("_", " "), one_line(settings.get(name, DASH))
    yield "epochs", str((told.get("plan") or {}).get("epochs", DASH))
    yield "budget", DASH if seconds is None else f"{seconds / 3600:.3g} {str(device).upper()}-hours"
    yield "device", one_line(", ".join(map(str, each_session(told, "device"))) or DASH)
    yield "commit", one_line(", ".join(map(str, each_session(told, "commit"))) or DASH)
    yield "versions", one_line(", ".join(f"{name} {'/'.join(each)}" for name, each in versions(told).items()) or DASH)
    yield "methods", one_line(", ".join(sorted(run.rows)), 300)


def accuracy(row: Row) -> Estimate:
    assert row.accuracy is not None
    return row.accuracy


# ---- statistics ----


def _welch(one: Estimate, other: Estimate) -> float:
    """The two-sided p-value of Welch's test; of equal numbers without spread 1, of others 0."""
    first, second = list(one.values.values()), list(other.values.values())
    if len(set(first)) == len(set(second)) == 1:
        return float(first[0] == second[0])
    return float(ttest_ind(first, second, equal_var=False).pvalue)


def _ranks(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for the highest along the last axis; of equals the mean."""
    return np.asarray(rankdata(-means, axis=-1), dtype=np.float64)


def _drawn(estimates: Sequence[Sequence[Estimate]]) -> NDArray[np.float64]:
    """Means of seeds drawn again, (draws, runs, methods). Drawn seeds differ less than seeds do: their distance from
    the mean is widened by sqrt(n / (n - 1)). A single seed is as it is."""
    generator = np.random.default_rng(0)
    drawn = np.empty((DRAWS, len(estimates), len(estimates[0])))
    for run, of_run in enumerate(estimates):
        for place, estimate in enumerate(of_run):
            values = np.array([estimate.values[seed] for seed in sorted(estimate.values)])
            count = len(values)
            picked = values[generator.integers(count, size=(DRAWS, count))].mean(1)
            wider = math.sqrt(count / (count - 1)) if count > 1 else 1.0
            drawn[:, run, place] = values.mean() + wider * (picked - values.mean())
    return drawn
