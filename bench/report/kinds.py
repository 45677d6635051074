"""Which kind of training won on these images, in words, and by how much the others are behind."""

import math
from typing import NamedTuple

from bench.report.labels import efficiency
from bench.report.results import Results
from bench.report.rows import Row
from bench.report.statistics import Estimate, half_width_of_difference
from bench.report.text import DASH, capital, listed, network_text, with_interval


class Kind(NamedTuple):
    """What is said of a kind of training, with fields of its row in braces."""

    noun: str
    detail: str
    follows: str
    """What a reader does where it has won."""


FROZEN = Kind("a frozen {weights}", "{trained_on}, {image_size} px", "use that network as it is")
DISTILLED = Kind("the student {method}", "taught by {teacher}", "train a student of that teacher")
WARM = Kind("the warm-started {method}", "from {weights}", "begin with those weights and train on")
SCRATCH = Kind("training from scratch with {method}", "", "train on the images alone")
SUPERVISED = Kind("supervised training from scratch", "", "train with the labels")
CERTAIN = (
    "A frozen network has nothing random, so the interval is that of the other's mean; it may have an architecture and "
    "an image size of its own, and then its row compares these too."
)
ERROR = (
    "No interval has in it that other test images would give other accuracies: with these {:,} that of the first has a "
    "standard error of {:.2f} points."
)
METHODS = (DISTILLED, WARM, SCRATCH)
KINDS = (FROZEN, *METHODS, SUPERVISED)


class Told(NamedTuple):
    """What is said, and how it was come by."""

    text: str
    how: str


class Best(NamedTuple):
    """The row that stands for a kind."""

    kind: Kind
    row: Row
    accuracy: Estimate

    def tested(self) -> float:
        return self.accuracy.mean

    def searched(self) -> float:
        """-1 of what was not searched."""
        return -1.0 if self.row.search_accuracy is None else self.row.search_accuracy

    def said(self, words: str) -> str:
        row = self.row
        return words.format(
            method=row.method,
            weights=network_text(row.weights or "pretrained network"),
            teacher=network_text(row.teacher or ""),
            trained_on=row.trained_on or "on what it was trained is not said",
            image_size=row.image_size or DASH,
        )

    @property
    def name(self) -> str:
        return self.said(self.kind.noun)

    @property
    def told(self) -> str:
        """The name, and in brackets the accuracy."""
        detail = f"; {self.said(self.kind.detail)}" if self.kind.detail else ""
        return f"{self.name} ({with_interval(self.accuracy)} %{detail})"


class Lead(NamedTuple):
    """By how much the first is above another one; without half of an interval's width where one seed cannot tell."""

    over: Best
    difference: float
    half_width: float | None

    @property
    def sure(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.half_width is not None and self.difference > self.half_width

    def points(self, unit: str = "") -> str:
        half = "" if self.half_width is None else f" ± {100 * self.half_width:.2f}"
        return f"{100 * self.difference:.2f}{half}{unit}" + (" (one seed has no interval)" if not half else "")


def kind_of(row: Row) -> Kind | None:
    """None of what stands for no kind: raw pixels, a random initialisation, and a method with its own encoder."""
    if row.baseline:
        return FROZEN if row.frozen else SUPERVISED if row.method == "supervised" else None
    if row.own_encoder:
        return None
    return DISTILLED if row.teacher else WARM if row.warm else SCRATCH


def by_kind(made: list[Row], results: Results) -> Told | None:
    """What the rows say; None while one of them is still to be tested, of one kind alone, and where no figure compares
    methods.

    For a kind stands the row with the best figure of the search, which chose without the test images; for frozen
    networks, and where not every search has a figure that compares methods, the row with the best test accuracy. Rows
    with a seed that failed stand for nothing.
    """
    judged = results.judged
    rivals = [(kind, row) for row in made if (kind := kind_of(row))]
    if not judged.ranks or any(row.awaited for _, row in rivals):
        return None
    whole = [Best(kind, row, row.accuracy) for kind, row in rivals if row.whole and row.accuracy]
    by_search = judged.ranks_searches and all(best.searched() >= 0 for best in whole if best.kind in METHODS)
    found = []
    for kind in KINDS:
        if some := [best for best in whole if best.kind is kind]:
            found.append(max(some, key=Best.searched if by_search and kind in METHODS else Best.tested))
    if len(found) < 2:
        return None
    first, *others = sorted(found, key=lambda best: -best.accuracy.mean)
    certain = [best.accuracy for best in found if best.kind is FROZEN]
    leads = []
    for other in others:
        half_width = half_width_of_difference(first.accuracy, other.accuracy, certain, len(others))
        leads.append(Lead(other, first.accuracy.mean - other.accuracy.mean, half_width))
    images = ((results.run.get("facts") or {}).get("images") or {}).get("test")
    error = math.sqrt(first.accuracy.mean * (1 - first.accuracy.mean) / images) if images else None
    how = [
        _standing(judged.search, by_search, sum(best.kind is FROZEN for best in whole)),
        "Differences have the 95 % interval of Welch's t over seeds"
        + (", all of them at once." if len(others) > 1 else "."),
        CERTAIN if certain else "",
        ERROR.format(images, 100 * error) if error is not None else "",
    ]
    own = [row for row in made if row.own_encoder and row.whole and row.accuracy]
    above = max(own, key=lambda row: row.accuracy.mean if row.accuracy else 0.0, default=None)
    text = _text(first, leads, error, judged.test_kind)
    if above and above.accuracy and above.accuracy.mean > first.accuracy.mean:
        text += f" Beside these, {above.title} has {with_interval(above.accuracy)} % with another encoder."
    pretrained = next(best.row for best in (first, *others) if best.kind is not SUPERVISED)
    if (few := efficiency(made, results)) and (said := few.pays(pretrained)):
        text += f" {said}"
    return Told(text, " ".join(filter(None, how)))


def _text(first: Best, leads: list[Lead], error: float | None, figure: str) -> str:
    """The sentences: which of them won, or which cannot be told apart, and what follows. `error` is the standard error
    of the first's accuracy over test images."""
    ahead, level = [lead for lead in leads if lead.sure], [lead for lead in leads if not lead.sure]
    above = [f"{lead.points('' if place else ' points')} above {lead.over.told}" for place, lead in enumerate(ahead)]
    if level:
        near = [first, *(lead.over for lead in level)]
        leading = listed([lead.points(" points") for lead in level])
        said = [f"{capital(listed([best.told for best in near]))} cannot be told apart: the first leads by {leading}"]
        said += [f"The first is {listed(above)}"] if above else []
        free = any(best.kind is FROZEN for best in near)
        said.append("The frozen network needs no training" if free else "More seeds (--seeds) may tell them apart")
    else:
        detail = f" ({first.said(first.kind.detail)})" if first.kind.detail else ""
        won = f"{capital(first.name)}{detail} won with {with_interval(first.accuracy)} % {figure}"
        said = [f"{won}: {listed(above)}"]
        if error is not None and leads[0].difference < 2 * error:
            said.append("So small a lead may be that of these test images alone")
        else:
            said.append(f"So, at this budget, {first.kind.follows}")
    return ". ".join(said) + "."


def _standing(search: str, by_search: bool, networks: int) -> str:
    """Which rows stand for their kinds."""
    if not by_search:
        return (
            "For each kind stands the best on the test images: the more methods a kind has, the more that flatters it."
        )
    frozen = ", for frozen networks the best on the test images" if networks > 1 else ""
    return f"For each kind stands the method that was best in the search ({search}), not on the test images{frozen}."
