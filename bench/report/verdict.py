"""The verdict of a run: what a person asks after it, and the answers in words, made from its figures alone."""

import statistics
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bench.report import next_steps
from bench.report.comparison import Comparison
from bench.report.kinds import Told, by_kind
from bench.report.progress import PARTS, Standing, progress
from bench.report.ranges import end
from bench.report.results import Results
from bench.report.rows import Row, compared, ranked
from bench.report.run import spaces
from bench.report.statistics import Estimate
from bench.report.text import count, listed, percent, value_text, with_interval
from bench.report.trials import asked, winning_trial

MOST_NAMES = 6
"""Names in a sentence; of more it says how many."""
DRAWS = 2_000
RECIPE = "the published recipe"
HOW = (
    "That the best method is one of those that are named is 95 % sure, as the leading one is compared with all others "
    "at once (Bonferroni); what is above a baseline, or gained by tuning, is so for all that are counted (Holm). A "
    "method's variance over seeds is drawn towards what all have in common (Smyth 2004), as few seeds tell little of "
    "it. `python -m tests.calibration` counts how often such claims are wrong."
)
ORDER = (
    "The order of methods is that of the best figure that each search had seen. Spearman's correlation between the "
    "orders before and at the end says how much more compute has changed it, and so what still more may do."
)


class Point(NamedTuple):
    """A question and its answer."""

    question: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """What stands at the head of every output, and how it was come by."""

    points: list[Point]
    how: str

    @property
    def text(self) -> str:
        """The answers without the questions."""
        return " ".join(point.text for point in self.points)


def verdict(made: list[Row], results: Results) -> Verdict | None:
    """What the rows of a run say; None before there is anything to say."""
    judge = Judge(made, results)
    order = judge.compute()
    answers = (
        ("Worth it?", judge.worth()),
        ("Which method?", judge.which()),
        ("What did tuning give?", judge.tuning()),
        ("And with more compute?", order),
        ("Was the range too narrow?", judge.ends()),
        ("What next?", next_steps.told(judge.best, judge.comparison, results, judge.settled)),
    )
    points = [Point(question, text) for question, text in answers if text]
    if not points:
        return None
    how = [judge.kinds.how if judge.kinds else "", HOW if judge.best else "", ORDER if order else ""]
    return Verdict(points, " ".join(filter(None, how)))


@dataclass(frozen=True)
class Judge:
    """The answers to the questions, each of the same rows."""

    made: list[Row]
    results: Results

    @cached_property
    def kinds(self) -> Told | None:
        return by_kind(self.made, self.results)

    @cached_property
    def methods(self) -> list[Row]:
        """Those that are ranked, the best first."""
        return ranked(self.made)

    @cached_property
    def comparison(self) -> Comparison:
        """Of all rows that are whole, by test accuracy."""
        return comparison(self.made)

    @cached_property
    def best(self) -> list[Row]:
        """The methods that may be the best."""
        by_name = {row.method: row for row in self.methods}
        return [by_name[name] for name in self.comparison.best(by_name)]

    # ---- should I pre-train at all? ----

    def worth(self) -> str:
        told = [self.kinds.text] if self.kinds else []
        if self.methods:
            told += filter(None, [self._floors()])
        return " ".join(told)

    def _floors(self) -> str:
        """How many methods are above each baseline."""
        trained = [row.method for row in self.made if not row.baseline and row.whole]
        below = [row for row in self.made if row.baseline and row.method in self.comparison.estimates]
        below.sort(key=lambda row: (row.accuracy.mean if row.accuracy else 0.0, row.title))
        compared_with = [name for name in trained if name in self.comparison.estimates]
        if not below or not compared_with:
            return ""
        counts = [
            f"{_of(len(self.comparison.above(row.method, trained)), len(compared_with))} above {row.title} "
            f"({percent(row.accuracy.mean)} %)"
            for row in below
            if row.accuracy
        ]
        return f"Beyond doubt, {listed(counts)}."

    # ---- with which method? ----

    def which(self) -> str:
        judged = self.results.judged
        alike = compared(self.made)
        if not alike:
            return ""
        if not judged.ranks:
            return "Methods are not ranked, as no image has a label; about 1,000 labels would do (--labels)."
        if waiting := [row for row in alike if row.awaited]:
            return f"Not to be told yet: {len(alike) - len(waiting)} of {count(len(alike), 'method')} are confirmed."
        if not self.methods:
            return ""
        uncertain = [row for row in self.methods if row.method not in self.comparison.estimates]
        one = f" {listed(_names(uncertain))} cannot be compared: one seed has no interval." if uncertain else ""
        if not self.best:
            row = self.methods[0]
            return f"{row.title} has {with_interval(row.accuracy)} % {judged.test_kind}.{one}"
        number = len(self.methods) - len(uncertain)
        leading, *others = self.best
        told = f"{leading.title} ({with_interval(leading.accuracy)} % {judged.test_kind})"
        if number == 1:
            said = f"{told} is the only method that could be compared." if uncertain else f"{told} is the only method."
        elif not others:
            said = f"{told} is the best of {number} methods."
        elif len(self.best) == number:
            said = f"No method can be told from the best of the {number}: {told} leads."
        else:
            said = (
                f"The best of {number} methods is one of {len(self.best)}: "
                f"{listed([told, *_names(others)])}; which, these seeds cannot tell."
            )
        return said + one + self._shares(leading)

    def _shares(self, leading: Row) -> str:
        """How far the leading method's figure may move by other seeds, and by another search."""
        found = uncertainty(leading, self.results, self.comparison)
        if found.search is None:
            return ""
        return (
            f" Other seeds may move the mean of {leading.title} by {_points(found.seeds)} points, another search as "
            f"long by {_points(found.search)}."
        )

    # ---- tuned how? ----

    def tuning(self) -> str:
        if not self.results.judged.ranks:
            return ""
        rows = [row for row in self.made if not row.baseline and row.whole and not row.gain_failed_seeds]
        gained = {row.method: row.gain for row in rows if row.gain}
        stayed = [row for row in rows if row.won in ("published", "ours") and _searched(row)]
        if not gained:
            return f"Nothing over {RECIPE}: it won wherever something was searched." if stayed else ""
        known = Comparison.of(gained | {RECIPE: Estimate({0: 0.0})}, [RECIPE])
        sure = known.above(RECIPE, gained)
        if len(gained) == 1:
            ((name, gain),) = gained.items()
            doubt = "beyond doubt" if sure else "not beyond doubt"
            told = f"{with_interval(gain, '+')} points over {RECIPE} of {name}, {doubt}."
        else:
            middle = statistics.median(gain.mean for gain in gained.values())
            each = [
                f"{name} ({100 * gained[name].mean:+.2f} {_points(known.half_width(name))})"
                for name in sure[:MOST_NAMES]
            ]
            told = f"{100 * middle:+.2f} points over {RECIPE} in the median of {count(len(gained), 'method')}; "
            told += f"beyond doubt for {_some(each, len(sure)) if sure else 'none'}."
        return told + (f" Of {_some(_names(stayed), len(stayed))} a recipe won." if stayed else "")

    # ---- would it change with more compute? ----

    @cached_property
    def standings(self) -> tuple[Standing, Standing] | None:
        """By compute and by epoch; None where searches' figures do not compare methods, or nothing was searched."""
        results, judged = self.results, self.results.judged
        names = {row.method for row in compared(self.made)}
        trials = results.trainings[results.trainings.method.isin(names)]
        if not judged.ranks_searches or not judged.ranks or not (trials.stage == "search").any():
            return None
        curves = progress(trials, results.epochs, judged.chosen.name)
        some = {method: curve for method, curve in curves.items() if curve.best.notna().any()}
        return Standing.by_compute(some), Standing.by_epoch(trials, results.epochs, judged.chosen.name)

    @property
    def settled(self) -> bool:
        """Whether the method that led the searches at half of the compute is one of those that may be the best."""
        leader = self.standings[0].leader(PARTS[-2]) if self.standings else None
        return leader is None or leader in {row.method for row in self.best}

    def compute(self) -> str:
        if self.standings is None:
            return ""
        found, by_epoch = self.standings
        quarter, half, whole = PARTS[-3:]
        last = found.leader(whole)
        correlations = {part: found.correlation(part, whole) for part in (half, quarter)}
        if last is None or correlations[half] is None:
            return ""
        before = {name for part in (quarter, half) if (name := found.leader(part)) not in (None, last)}
        told = f"By the searches {last} leads" + (
            f", where {listed(sorted(before))} led at a quarter or a half of the compute."
            if before
            else ", as it did at a quarter and a half of the compute."
        )
        orders = [
            f"{correlation:.2f} with that at {name}"
            for name, correlation in (("half", correlations[half]), ("a quarter", correlations[quarter]))
            if correlation is not None
        ]
        told += f" The order of methods correlates {listed(orders)}; expect about as much of twice and four times."
        first, final = (int(by_epoch.best.columns[place]) if by_epoch.best.shape[1] > 1 else 0 for place in (0, -1))
        if (early := by_epoch.correlation(first, final)) is not None:
            told += f" After epoch {first} of {final} it correlated {early:.2f} with that at the end."
        return told

    # ---- is there more beyond the ranges? ----

    def ends(self) -> str:
        found = {row.method: at_ends(row, self.results) for row in self.made if not row.baseline}
        near = [row.method for row in self.best] or [row.method for row in self.methods[:1]]
        told = [f"{name}'s {each}" for name in near for each in found.get(name, [])]
        others = sum(len(each) for name, each in found.items() if name not in near)
        if not told:
            return ""
        rest = f"; of other methods {count(others, 'value')}" if others else ""
        return f"The best value was at an end of its range for {_some(told[:MOST_NAMES], len(told))}{rest}."


class Uncertainty(NamedTuple):
    """Halves of 95 % intervals of a method's test accuracy, as fractions."""

    seeds: float
    """By other seeds of the same configuration."""
    search: float | None
    """By the configuration that another search would choose; None where none was searched."""


def comparison(made: list[Row]) -> Comparison:
    """Of all rows that are whole, by test accuracy. Of raw pixels and frozen networks nothing is random."""
    whole = {row.method: row.accuracy for row in made if row.whole and row.accuracy and row.ranks}
    return Comparison.of(whole, (row.method for row in made if row.frozen or row.method == "pixels"))


def uncertainty(row: Row, results: Results, found: Comparison) -> Uncertainty:
    """Of a row that `found` compares. By another search: the spread of what would have been the best figure had the
    trials beside the recipes been drawn anew from those that were tried (bootstrap), which supposes that points of the
    search are points of the test."""
    search = results.trials[(results.trials.method == row.method) & (results.trials.stage == "search")]
    complete = search[(search.state == "complete") & search[results.judged.train].notna()]
    recipe = complete.published_recipe.eq(True) | complete.our_recipe.eq(True)
    tried = complete[results.judged.train][~recipe].to_numpy()
    seeds = found.half_width(row.method)
    if not len(tried):
        return Uncertainty(seeds, None)
    least = complete[results.judged.train][recipe].max()
    drawn = np.random.default_rng(0).choice(tried, (DRAWS, len(tried))).max(1)
    best = drawn if np.isnan(least) else np.maximum(drawn, least)
    low, high = np.quantile(best, [0.025, 0.975])
    return Uncertainty(seeds, float(high - low) / 2)


def at_ends(row: Row, results: Results) -> list[str]:
    """The hyper-parameters of a row's winner that are at an end of their range: `temperature 0.05 (0.05 to 1)`. A
    recipe's are not, which nothing has moved there."""
    trials = results.trainings[results.trainings.method == row.method]
    winner = winning_trial(trials, results.run)
    if winner is None or row.won is not None:
        return []
    entries, values, told = spaces(results.run).get(row.method, {}).get("hyperparameters") or {}, asked(winner), []
    for name, entry in entries.items():
        if name in values and end(entry, values[name]):
            reach = entry["choices"] if "choices" in entry else (entry["low"], entry["high"])
            told.append(f"{name} {value_text(values[name])} ({value_text(min(reach))} to {value_text(max(reach))})")
    return told


def _searched(row: Row) -> bool:
    """Whether anything but recipes was tried."""
    return sum(row.counts.values()) > 1 + row.two_recipes


def _names(rows: list[Row]) -> list[str]:
    return [row.title for row in rows]


def _some(names: list[str], number: int) -> str:
    """The first of so many names."""
    shown = names[:MOST_NAMES]
    return listed([*shown, f"{number - len(shown)} more"] if number > len(shown) else shown)


def _of(number: int, whole: int) -> str:
    """`none of 25 methods is`, `2 of 25 methods are`, `all 25 methods are`."""
    if number == whole:
        return f"all {count(whole, 'method')} {'are' if whole > 1 else 'is'}" if whole > 1 else "the method is"
    if number == 0:
        return f"none of {count(whole, 'method')} is" if whole > 1 else "the method is not"
    return f"{number} of {count(whole, 'method')} {'are' if number > 1 else 'is'}"


def _points(value: float) -> str:
    return f"± {100 * value:.2f}"
