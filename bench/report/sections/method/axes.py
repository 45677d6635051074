"""Axes of hyper-parameters: where a value lies on its scale, the ticks, and whether it is at an end of its range."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.report.page import small, text
from bench.report.ranges import end, scaled
from bench.report.text import value_text


@dataclass(frozen=True)
class Axis:
    """An axis and the trials' places on it."""

    label: str
    values: NDArray[np.floating]
    low: float
    high: float
    tickvals: list[float]
    ticktext: list[str]


def numbers(label: str, values: ArrayLike, low: float, high: float) -> Axis:
    """An axis of plain numbers."""
    ticks = np.linspace(low, high, 5).tolist()
    return Axis(label, small(values), low, high, ticks, [f"{tick:.3g}" for tick in ticks])


def axis(name: str, entry: Mapping[str, Any], values: Iterable[Any]) -> Axis:
    """The axis of a hyper-parameter: its range by its scale, or its choices side by side."""
    label = text(name.replace("_", " "))
    if "choices" in entry:
        choices = [value_text(choice) for choice in entry["choices"]]
        places = [choices.index(value) if value in choices else -1 for value in map(value_text, values)]
        high = max(1, len(choices) - 1)
        return Axis(label, np.array(places, float), 0, high, list(range(len(choices))), [text(c) for c in choices])
    lie = small([scaled(entry, value) for value in values])
    return Axis(label, lie, scaled(entry, entry["low"]), scaled(entry, entry["high"]), *ticks(entry))


def ticks(entry: Mapping[str, Any]) -> tuple[list[float], list[str]]:
    """About four round values of a range: where they lie on its axis, and how they read."""
    low, high = scaled(entry, entry["low"]), scaled(entry, entry["high"])
    if entry.get("scale", "linear") == "linear":
        values = np.linspace(entry["low"], entry["high"], 4).tolist()
    else:
        factors = (1, 2, 5) if high - low < 1.6 else (1,)
        tens = [factor * 10.0**power for power in range(-320, 20) for factor in factors]
        values = [1 - ten for ten in tens] if entry["scale"] == "log1m" else tens
    inside = [value for value in values if low - 1e-9 <= scaled(entry, value) <= high + 1e-9]
    inside = inside[:: max(1, len(inside) // 4)] if len(inside) > 5 else inside
    return [scaled(entry, value) for value in inside], [value_text(float(value)) for value in inside]


def edge(entry: Mapping[str, Any], value: Any) -> str:
    """What to say of a best value that sits at an end of its range; empty if it does not."""
    found = end(entry, value)
    return f"at the {found} end of its range" if found else ""
