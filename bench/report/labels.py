"""How many labels pre-training is worth: the accuracy with few labels beside that of the same network trained from
scratch with just those labels."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

from algorithms.evaluation.metrics import FEW_KNN, FEW_LINEAR, FEW_SCRATCH, LINEAR, NUMBERS, Metric
from bench.report.results import Results
from bench.report.rows import Row, compared
from bench.report.statistics import Estimate, OverDraws, half_width_of_difference
from bench.report.text import DASH, listed, network_text, one_line, with_interval

WORTH = "How many labels is it worth?"
SUPERVISED, UNTRAINED = "supervised", "random"
FROM_SCRATCH = "supervised training from scratch"
OVER = {
    "ahead": f"ahead of {FROM_SCRATCH}",
    "level": f"level with {FROM_SCRATCH}",
    "behind": f"behind {FROM_SCRATCH}",
}
SHARES = {"1_percent": 0.01, "10_percent": 0.1, "all": 1.0}
BESIDE = (
    "Ahead of the run's encoder trained from scratch with just those labels, or behind it, is what differs over the "
    "same draws by more than the 95 % interval, each pair alone; what is ahead is bold. Labels are worth as many as "
    "training from scratch needs for the same accuracy, interpolated over their logarithm."
)
FEW = "5"
"""Of this number it is said how many labels training from scratch needs for the same, where it was measured."""


class Cell(NamedTuple):
    """Of a table."""

    text: str
    ahead: bool = False
    """Of training from scratch."""


@dataclass(frozen=True)
class Curve:
    """One row's accuracy by how many labels it had."""

    row: Row
    points: Mapping[str, Estimate]
    """By the number of labels, the fewest first; those that were measured."""


@dataclass(frozen=True)
class Efficiency:
    """What was measured with few labels."""

    labels: Mapping[str, int]
    """How many labels each number is, the fewest first: those that are known."""
    linear: list[Curve]
    knn: list[Curve]
    scratch: Curve | None
    """Trained from scratch with just those labels; with all it is the linear probe on the supervised baseline."""
    left_out: str
    """Which numbers were left out, and why; empty where none was."""

    def standing(self, curve: Curve, number: str, beside: Curve | None = None) -> str | None:
        """`ahead`, `level` or `behind` of training from scratch or of what else is given: the difference over the same
        draws, beyond its 95 % interval or not. None where one of them was not measured, or one seed cannot tell."""
        other = beside or self.scratch
        here, there = curve.points.get(number), other.points.get(number) if other else None
        if here is None or there is None:
            return None
        paired = None
        if isinstance(here, OverDraws) and isinstance(there, OverDraws) and there.by_draws:
            paired = here.minus(there)  # else over the same draws seeds alone differ, whose means are compared
        if paired:
            difference, half_width = paired.mean, paired.half_width
        else:
            difference = here.mean - there.mean
            half_width = half_width_of_difference(here, there, [here] if curve.row.frozen else [])
        if half_width is None:
            return None
        return "level" if abs(difference) <= half_width else "ahead" if difference > 0 else "behind"

    def standings(self, curve: Curve) -> list[tuple[str, list[str]]]:
        """The numbers at which a curve stands alike, one after another: how, and which."""
        told = [(standing, number) for number in curve.points if (standing := self.standing(curve, number))]
        return [(how, [number for _, number in some]) for how, some in groupby(told, key=lambda each: each[0])]

    def crossing(self, curve: Curve) -> str:
        """`ahead of supervised training from scratch up to 100 a class (1,000 labels), level with 10 % (5,000 labels),
        behind with all (50,000 labels)`; empty where nothing can be told."""
        return ", ".join(self._told(self.standings(curve)))

    def _told(self, found: list[tuple[str, list[str]]]) -> list[str]:
        spans = _spans([[self._named(number) for number in numbers] for _, numbers in found])
        return [f"{OVER[how] if not place else how} {spans[place]}" for place, (how, _) in enumerate(found)]

    def _named(self, number: str) -> str:
        return f"{NUMBERS[number]} ({self.labels[number]:,} labels)"

    def _briefly(self, curve: Curve) -> str:
        """The same for a cell: `ahead up to 1,000, level with 5,000, behind with 50,000`."""
        found = self.standings(curve)
        spans = _spans([[f"{self.labels[number]:,}" for number in numbers] for _, numbers in found])
        return ", ".join(f"{how} {span}" for (how, _), span in zip(found, spans, strict=True))

    @property
    def few(self) -> str | None:
        """The number of labels of which it is said what they are worth; None where nothing measured says it."""
        numbers = [number for number in self.labels if any(number in curve.points for curve in self.linear)]
        return None if self.scratch is None or not numbers else FEW if FEW in numbers else numbers[0]

    def worth(self, curve: Curve) -> str:
        """With how many labels training from scratch is as good as this with `few`: `about 410`, by interpolation over
        the logarithm of labels; beyond the ends of what was measured `more than 50,000`, `fewer than 10`. Empty where
        it was not measured."""
        here = curve.points.get(self.few) if self.few else None
        if here is None or self.scratch is None:
            return ""
        reached = [(self.labels[number], estimate.mean) for number, estimate in self.scratch.points.items()]
        if here.mean < reached[0][1]:
            return f"fewer than {reached[0][0]:,}"
        for (low, under), (high, above) in pairwise(reached):
            if under <= here.mean <= above:
                share = (here.mean - under) / (above - under) if above > under else 0.0
                return f"about {_rounded(low ** (1 - share) * high**share):,}"
        return f"more than {reached[-1][0]:,}"

    @property
    def lead(self) -> str:
        """How the table is read."""
        text = "Linear probe with so many labels, %: mean ± half of the 95 % interval over draws of labels and seeds."
        return " ".join(filter(None, [text, BESIDE if self.scratch else "", self.left_out]))

    def table(self) -> tuple[list[str], list[tuple[Row, list[Cell]]]]:
        """Heads, and lines behind the names: the linear probes with each number of labels, training from scratch below
        them; in the last two columns, where that was measured, what it says of them."""
        heads = ["method", *(f"{NUMBERS[number]} ({labels:,})" for number, labels in self.labels.items())]
        if self.few:
            heads += [f"{self.labels[self.few]:,} labels are worth", "beside training from scratch"]
        lines = []
        for curve in (*self.linear, *([self.scratch] if self.scratch else [])):
            own = curve is self.scratch
            cells = []
            for number in self.labels:
                ahead = not own and self.standing(curve, number) == "ahead"
                cells.append(Cell(with_interval(curve.points.get(number)), ahead))
            if self.few:
                told = ("", "") if own else (self.worth(curve), self._briefly(curve))
                cells += [Cell(text or DASH) for text in told]
            lines.append((curve.row, cells))
        return heads, lines

    def told(self, curve: Curve) -> str:
        """Both in a sentence; empty where nothing can be told."""
        crossing, worth = self.crossing(curve), self.worth(curve)
        if not self.few or not crossing:  # of one seed nothing can be told
            return ""
        few = f"; with {self.labels[self.few]:,} labels it is as good as that with {worth}" if worth else ""
        return f"A linear probe on {_name(curve.row)} is {crossing}{few}"

    def pays(self, row: Row) -> str:
        """In a sentence, up to how many labels pre-training pays by this row: it is ahead of training from scratch, and
        of a random initialisation. Empty where nothing can be told."""
        curve = next((curve for curve in self.linear if curve.row is row), None)
        found = self.standings(curve) if curve else []
        if curve is None or not found:
            return ""
        untrained = next((curve for curve in self.linear if curve.row.method == UNTRAINED), None)
        ahead = [number for how, numbers in found if how == "ahead" for number in numbers]
        pays = [n for n in ahead if not untrained or self.standing(curve, n, untrained) in (None, "ahead")]
        first, *others = self._told(found)
        if pays == found[0][1]:  # how many they are is said already
            first = f"{OVER['ahead']} with just those"
        told = f"a linear probe on {_name(row)} is {', '.join([first, *others])}"
        if as_good := [self._named(number) for number in ahead if number not in pays]:
            told += f"; one on a random initialisation is as good with {listed(as_good)}"
        if not pays:
            return f"With no number of labels measured pre-training pays: {told}."
        end = ", the most measured," if len(found) == 1 else ""
        return f"Up to {self.labels[pays[-1]]:,} labels{end} pre-training pays: {told}."

    def best(self) -> list[Curve]:
        """The best method, and the best frozen network, with a linear probe on them."""
        methods = compared(curve.row for curve in self.linear)
        chosen = [*methods[:1], *[curve.row for curve in self.linear if curve.row.frozen][:1]]
        return [curve for curve in self.linear if any(curve.row is row for row in chosen)]


def efficiency(made: list[Row], results: Results) -> Efficiency | None:
    """Of these rows; None where nothing was measured with few labels, or it is not known how many they were."""
    known = _labels(made, results)

    def curve(row: Row, family: Mapping[str, Metric]) -> Curve:
        found = {number: row.evaluated.get(family[number].name) for number in known}
        if family is not FEW_KNN and "all" in found:
            found["all"] = found["all"] or row.evaluated.get(LINEAR.name)
        return Curve(row, {number: estimate for number, estimate in found.items() if estimate})

    def few(family: Mapping[str, Metric], rows: Iterator[Row]) -> list[Curve]:
        measured = (row for row in rows if any(metric.name in row.evaluated for metric in family.values()))
        return [curve(row, family) for row in measured]

    linear, knn = (few(family, (r for r in made if r.method != SUPERVISED)) for family in (FEW_LINEAR, FEW_KNN))
    scratch = next(iter(few(FEW_SCRATCH, (row for row in made if row.method == SUPERVISED))), None)
    if not known or not (linear or knn or scratch):
        return None
    seen = {number for each in (*linear, *knn, *filter(None, [scratch])) for number in each.points}
    return Efficiency(known, linear, knn, scratch, _left_out([n for n in known if n not in seen], results))


def _labels(made: list[Row], results: Results) -> dict[str, int]:
    """How many labels each number is, the fewest first."""
    images, sizes = (results.run.get("facts") or {}).get("images") or {}, _sizes(results)
    classes = len(sizes) or max((len(each) for row in made for each in row.classes.values()), default=0)
    total = sum(sizes) or images.get("labelled") or images.get("train")
    if not classes or not total:
        return {}
    each = [float(size) for size in sizes] or [total / classes] * classes
    found = {
        number: sum(max(1, round(SHARES[number] * size)) for size in each)
        if number in SHARES
        else int(number) * classes
        for number in NUMBERS
    }
    return dict(sorted(found.items(), key=lambda each: each[1]))


def _sizes(results: Results) -> list[int]:
    """Labelled training images of each class that has any; empty where that was not told."""
    images = (results.run.get("facts") or {}).get("images") or {}
    return [size for size in images.get("per_class") or [] if size]


def _left_out(numbers: list[str], results: Results) -> str:
    if not numbers:
        return ""
    sizes = _sizes(results)
    least = f" (the least {min(sizes):,})" if sizes else ""
    return f"Left out: {', '.join(NUMBERS[number] for number in numbers)}, where a class has fewer images{least}."


def _spans(groups: list[list[str]]) -> list[str]:
    """Of numbers one after another, in groups: `up to 20`, `with 100`, `from 500 on`."""
    spans = []
    for place, numbers in enumerate(groups):
        low, high, last = numbers[0], numbers[-1], place == len(groups) - 1
        if len(numbers) == 1:
            spans.append(f"with {low}")
        elif place == 0:
            spans.append(f"with all of {low} to {high}" if last else f"up to {high}")
        else:
            spans.append(f"from {low} on" if last else f"from {low} to {high}")
    return spans


def _name(row: Row) -> str:
    return f"a frozen {network_text(row.weights)}" if row.frozen and row.weights else one_line(row.title)


def _rounded(number: float) -> int:
    """With two digits that count."""
    return int(round(number, min(0, 1 - math.floor(math.log10(number)))))
