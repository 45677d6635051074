"""How a value, an amount or a name reads, in every output."""

import html
import re
from collections.abc import Collection, Sequence

import numpy as np

from algorithms.evaluation.metrics import Metric
from bench.report.statistics import Estimate

DASH = "—"


def heading(metric: Metric, images: str = "") -> str:
    """`test kNN k=200, %`: the title of a column or of an axis."""
    return ", ".join(filter(None, (f"{images} {metric.title}".lstrip(), metric.unit)))


def percent(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.2f}"


def with_interval(estimate: Estimate | None, sign: str = "", unit: str = "%") -> str:
    """`84.71 ± 0.32`, in percent, or as it is where that is not the metric's unit; without an interval for one seed."""
    if estimate is None:
        return DASH
    factor, digits = (100, ".2f") if unit == "%" else (1, ".4g")
    text = f"{factor * estimate.mean:{sign}{digits}}"
    return text if estimate.half_width is None else f"{text} ± {factor * estimate.half_width:{digits}}"


def seeds_note(estimate: Estimate | None, failed: Collection[int]) -> str:
    """`2 of 3 seeds; 1 failed` where one did; else nothing."""
    measured = len(estimate.values) if estimate else 0
    return f"{measured} of {measured + len(failed)} seeds; {len(failed)} failed" if failed else ""


def bracketed(note: str) -> str:
    return f" ({note})" if note else ""


def amount(value: float | None, length: float = 1.0) -> str:
    """A positive amount with three digits, or all before the point."""
    if value is None:
        return DASH
    value /= length
    if 0 < value < 0.005:
        return "<0.01"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def capital(text: str) -> str:
    """With a capital letter."""
    return text[:1].upper() + text[1:]


def article(noun: str) -> str:
    """`an accuracy`, and `few labels and instance accuracy` or `instance accuracy` as they are."""
    return f"an {noun}" if noun == "accuracy" else noun


def count(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def value_text(value: object) -> str:
    """A hyper-parameter's value as a person writes it."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return DASH
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if 0.99 <= value < 1 else f"{value:.4g}"
    return str(value)


def one_line(text: object, most: int = 60) -> str:
    """Names come from files: no line breaks, no control characters, no endless ones."""
    line = "".join(character if character.isprintable() else " " for character in str(text))
    return line if len(line) <= most else line[: most - 1] + "…"


def network_text(name: str) -> str:
    """The name of a pretrained network, where it is one of timm's without saying so."""
    return name.removeprefix("timm:")


def markdown_text(text: object) -> str:
    """Text that is neither markup nor a cell's end."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", html.escape(one_line(text, 4000), quote=False))


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def extent(numbers: Collection[int]) -> str:
    """`64 to 256`; one number where all are the same."""
    return " to ".join(f"{number:,}" for number in sorted({min(numbers), max(numbers)}))
