"""The table's columns: one list for Markdown, CSV, the terminal and the page. A new statistic is a line of it, and a
new metric has its lines by itself."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from algorithms.evaluation.metrics import FEW_LINEAR, FEW_SCRATCH, FINETUNE, LINEAR, Metric
from bench.report.judged import HELD_OUT, Judged
from bench.report.rows import EVALUATED, Row
from bench.report.run import Run, compute_unit
from bench.report.statistics import Estimate
from bench.report.text import DASH, amount, heading, one_line, percent, seeds_note, with_interval
from bench.search.methods import WARM

ADAPTED = "‡"
STATES = ("complete", "pruned", "failed", "cut")
SOFT_HYPHEN = "\u00ad"
"""Where the page may break a heading; left out elsewhere."""


OfRow = Callable[[Row], Estimate | None]


def _nothing(row: Row) -> str:
    return ""


@dataclass(frozen=True)
class Column:
    """What one column has of each row, and under which heading it stands in which output; None: it is not there."""

    value: Callable[[Row], object]
    """By which the page sorts, and what CSV has: fractions, seconds and bytes, unrounded."""
    text: Callable[[Row], str] = _nothing
    """In Markdown and on the page."""
    heading: str | None = None
    """In Markdown and on the page."""
    terminal: str | None = None
    short: Callable[[Row], str] | None = None
    """The text in the terminal, where it is another one."""
    csv: str | None = None
    note: Callable[[Row], str] = _nothing
    """What a reader must know beside the text: in brackets in Markdown, below it on the page."""
    headline: bool = False
    """Whether the leader's text is set off."""


def columns(made: list[Row], run: Run, judged: Judged) -> list[Column]:
    """The columns of these rows."""
    unit, length = compute_unit(run, max((row.device_seconds for row in made), default=0.0))
    two, adapted = any(row.two_recipes for row in made), any_adapted(made)
    evaluated = any(row.evaluated for row in made)
    wide = two or evaluated or any(row.warm for row in made)  # too wide for a terminal with all
    numbered = numbers(made)

    def recipe_short(row: Row) -> str:
        marked = ADAPTED if row.adapted and row.published else " " * adapted
        return percent(_mean(row.published)) + marked

    return [
        Column(
            lambda row: row.title,
            lambda row: one_line(row.title),
            heading="method",
            terminal="method",
            short=lambda row: _short_title(row, numbered, 13 if wide else 12),
        ),
        Column(lambda row: row.method, csv="method"),
        Column(lambda row: row.baseline, csv="baseline"),
        Column(lambda row: bool(row.own_encoder), csv="own_encoder"),
        Column(lambda row: row.weights, csv="weights"),
        Column(lambda row: row.trained_on, csv="trained_on"),
        Column(lambda row: row.teacher, csv="teacher"),
        Column(lambda row: row.teacher_trained_on, csv="teacher_trained_on"),
        Column(lambda row: row.won == "published", csv="published_won"),
        Column(lambda row: row.won == "ours", csv="ours_won"),
        *_seeds("", lambda row: row.accuracy, lambda row: row.failed_seeds),
        *_seeds("published_", lambda row: row.published, lambda row: row.published_failed_seeds),
        *_seeds("ours_", lambda row: row.ours, lambda row: row.ours_failed_seeds),
        *_seeds("gain_", lambda row: row.gain, lambda row: row.gain_failed_seeds),
        *_metrics(judged, uneven(made)),
        *_evaluated(made, two),
        *_estimate(
            "published",
            lambda row: row.published,
            text=recipe_text,
            heading="published recipe, %",
            terminal="recipe %",
            short=recipe_short,
            note=lambda row: seeds_note(row.published, row.published_failed_seeds),
        ),
        *_estimate(
            "ours",
            lambda row: row.ours,
            heading="our recipe, %" if two else None,
            terminal="our %" if two else None,
            short=lambda row: percent(_mean(row.ours)),
            note=lambda row: seeds_note(row.ours, row.ours_failed_seeds),
        ),
        Column(
            lambda row: 0 if row.won == "published" else _mean(row.gain),
            gain_text,
            heading="gain of tuning",
            terminal="gain",
            short=lambda row: "recipe" if row.won == "published" else gain_text(row),
            note=gain_note,
        ),
        *_estimate("gain", lambda row: row.gain),
        Column(
            lambda row: row.search_accuracy,
            lambda row: percent(row.search_accuracy),
            heading=f"{judged.search}, %",
            terminal=None if evaluated else "valid. %" if judged.validation else "search %",
            csv=HELD_OUT if judged.validation else judged.train,
        ),
        Column(
            lambda row: row.training_seconds,
            lambda row: amount(row.training_seconds, length),
            heading=f"one training, {unit}",
            csv="training_device_seconds",
        ),
        Column(
            lambda row: row.device_seconds,
            lambda row: amount(row.device_seconds, length),
            heading=f"all, {unit}",
            terminal=unit,
            csv="device_seconds",
        ),
        Column(
            lambda row: row.images_per_second,
            lambda row: amount(row.images_per_second),
            heading="images/s",
            terminal=None if wide else "images/s",
            csv="images_per_second",
        ),
        Column(
            lambda row: row.peak_memory_bytes,
            lambda row: amount(row.peak_memory_bytes, 1e9),
            heading="training memory, GB",
            csv="peak_memory_bytes",
        ),
        Column(
            lambda row: sum(row.counts.values()) or None,
            trials_text,
            heading=f"configu{SOFT_HYPHEN}rations",
            terminal="trials",
            short=lambda row: str(sum(row.counts.values())) if row.counts else DASH,
        ),
        *_states(),
        Column(
            lambda row: row.first,
            probability_text,
            heading="P(rank 1)",
            terminal="P(1st)",
            csv="probability_rank_1",
        ),
    ]


UNEVEN = 0.01
"""By how much an accuracy differs from the balanced one where that must be said."""


def uneven(made: list[Row]) -> bool:
    """Whether any row's accuracy is so far from the balanced one that both are shown."""
    return any(
        abs(estimate.mean - balanced.mean) > UNEVEN
        for row in made
        for metrics in (row.tested, row.evaluated)
        for name, estimate in metrics.items()
        if (balanced := metrics.get(f"{name}_balanced"))
    )


def _balanced(row: Row, metric: Metric) -> str:
    balanced = {**row.tested, **row.evaluated}.get(metric.balanced.name)
    return f"balanced {percent(balanced.mean)}" if balanced else ""


def _metrics(judged: Judged, both: bool) -> Iterator[Column]:
    """Every metric of the test images, as the registry has them; the one by which they are judged with its seeds, and
    with its balanced accuracy where `both` are shown."""

    def note(row: Row) -> str:
        balanced = _balanced(row, judged.tested) if both else ""
        return "; ".join(filter(None, [seeds_note(row.accuracy, row.failed_seeds), balanced]))

    for metric in judged.measures:
        if metric is judged.tested:
            yield from _estimate(
                metric.name,
                lambda row: row.accuracy,
                heading=judged.test_heading,
                terminal="test kNN %" if judged.ranks else "instance %",
                note=note,
                headline=True,
            )
            yield Column(
                lambda row: len(row.accuracy.values) if row.accuracy else None,
                lambda row: str(len(row.accuracy.values)) if row.accuracy else DASH,
                heading="seeds",
                terminal="seeds",
                short=_seeds_short,
            )
        else:
            shown = heading(metric) if metric.shown else None
            yield from _estimate(metric.name, _tested(metric), metric.unit, heading=shown)


def _tested(metric: Metric) -> OfRow:
    return lambda row: row.tested.get(metric.name)


SHOWN: tuple[tuple[Metric, Metric, str | None], ...] = (
    (LINEAR, LINEAR, "linear %"),
    (FEW_LINEAR["5"], FEW_SCRATCH["5"], None),
    (FINETUNE["all"], FINETUNE["all"], "tuned %"),
)
"""Of what protocols measure, what tables for reading show: of a row, and of the baseline that is trained from scratch
with just those labels; and its heading in the terminal."""


def _evaluated(made: list[Row], two: bool) -> Iterator[Column]:
    """What protocols have measured of any of these rows. Beside `two` recipes the terminal has room for one."""
    measured = [metric for metric in EVALUATED if any(metric.name in row.evaluated for row in made)]
    both = uneven(made)
    for metric, scratch, terminal in SHOWN:
        if metric in measured:
            yield _read(metric, scratch, None if two and metric is not LINEAR else terminal, both)
    for metric in measured:
        yield from _estimate(metric.name, partial(_figure, metric))


def _read(metric: Metric, scratch: Metric, terminal: str | None, both: bool) -> Column:
    """A column for reading, with the balanced accuracy where `both` are shown."""

    def of(row: Row) -> Metric:
        return scratch if scratch.name in row.evaluated else metric

    def seeds(row: Row) -> str:
        """What failed or, of trainings whose seeds differ, that not all are judged yet."""
        found, tested = _figure(of(row), row), len(row.accuracy.values) if row.accuracy else 0
        if failed := row.failed_evaluations.get(metric.protocol):
            return seeds_note(found, failed)
        part = found is not None and of(row) is metric and len(found.values) < tested
        return f"{len(found.values)} of {tested} seeds" if found and part else ""

    def note(row: Row) -> str:
        return "; ".join(filter(None, [seeds(row), _balanced(row, of(row)) if both else ""]))

    return Column(
        lambda row: _mean(_figure(of(row), row)),
        lambda row: with_interval(_figure(of(row), row)),
        heading=heading(metric),
        terminal=terminal,
        short=lambda row: percent(_mean(_figure(of(row), row))),
        note=note,
    )


def _figure(metric: Metric, row: Row) -> Estimate | None:
    return row.evaluated.get(metric.name)


def _estimate(name: str, of: OfRow, unit: str = "%", **shown: Any) -> Iterator[Column]:
    """An estimate's mean with its interval; in CSV a column for each. `shown` are other fields of the column."""
    shown = {"text": lambda row: with_interval(of(row), unit=unit)} | shown
    yield Column(lambda row: _mean(of(row)), csv=f"{name}_mean", **shown)
    yield Column(lambda row: _half_width(of(row)), csv=f"{name}_half_width")


def _seeds(prefix: str, of: OfRow, failed: Callable[[Row], frozenset[int]]) -> Iterator[Column]:
    """How many seeds an estimate has, and how many failed; in CSV alone."""
    yield Column(lambda row: len(estimate.values) if (estimate := of(row)) else 0, csv=f"{prefix}seeds")
    yield Column(lambda row: len(failed(row)), csv=f"{prefix}failed_seeds")


def _states() -> Iterator[Column]:
    """How many configurations ended in each state; in CSV alone."""
    for state in STATES:
        yield Column(partial(_count, state), csv=state)


def _count(state: str, row: Row) -> int:
    return row.counts.get(state, 0)


def _mean(estimate: Estimate | None) -> float | None:
    return estimate.mean if estimate else None


def _half_width(estimate: Estimate | None) -> float | None:
    return estimate.half_width if estimate else None


# ---- how a row's cells read ----


def any_adapted(made: list[Row]) -> bool:
    """Whether a recipe that is shown is not published to the letter."""
    return any(row.adapted and row.published for row in made)


def gain_text(row: Row) -> str:
    return "recipe won" if row.won == "published" else with_interval(row.gain, "+")


def gain_note(row: Row) -> str:
    """What stands beside the gain: that our recipe won, and what failed."""
    won = "our recipe won" if row.won == "ours" else ""
    return "; ".join(filter(None, [won, seeds_note(row.gain, row.gain_failed_seeds)]))


def recipe_text(row: Row) -> str:
    """The accuracy of the published recipe, with a mark where it is not published to the letter."""
    return with_interval(row.published) + (f" {ADAPTED}" if row.adapted and row.published else "")


def trials_text(row: Row) -> str:
    """`12 (8/3/1/0)`: the configurations of the search, and of these complete, pruned, failed and cut ones."""
    if not row.counts:
        return DASH
    return f"{sum(row.counts.values())} ({'/'.join(str(row.counts.get(s, 0)) for s in STATES)})"


def probability_text(row: Row) -> str:
    if row.first is None:
        return DASH
    return "<0.01" if row.first < 0.005 else ">0.99" if row.first >= 0.995 else f"{row.first:.2f}"


def numbers(made: list[Row]) -> dict[str, str]:
    """How the terminal calls the frozen networks, whose names are too long for it; by method."""
    return {row.method: f"frozen {number}" for number, row in enumerate((r for r in made if r.frozen), 1)}


def _short_title(row: Row, numbered: Mapping[str, str], most: int) -> str:
    if row.method in numbered:
        return numbered[row.method]
    title = one_line(row.title).removesuffix(" from scratch").removesuffix(" initialisation")
    end = "…" + (WARM if title.endswith(WARM) else "")
    return title if len(title) <= most else title[: most - len(end)] + end


def _seeds_short(row: Row) -> str:
    measured = len(row.accuracy.values) if row.accuracy else 0
    return f"{measured} of {measured + len(row.failed_seeds)}" if row.failed_seeds else str(measured or DASH)
