"""Where a value lies in the range of its hyper-parameter, and whether it is at an end of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

EDGE = 0.05
"""A best value within this share of its range from an end is flagged: the range may be too narrow."""


def scaled(entry: Mapping[str, Any], value: float) -> float:
    """Where a value lies on its axis: itself, its logarithm, or the falling logarithm of its distance from 1."""
    scale = entry.get("scale", "linear")
    value = float(value)
    if scale == "log":
        return float(np.log10(max(value, 1e-300)))
    if scale == "log1m":
        return float(-np.log10(max(1 - value, 1e-300)))
    return value


def end(entry: Mapping[str, Any], value: Any) -> str | None:
    """`lower` or `upper` where a value is at this end of its range, or of at least three choices that are numbers; else
    None."""
    if "choices" in entry:
        choices = entry["choices"]
        numeric = all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices)
        if not numeric or len(choices) < 3 or value not in (min(choices), max(choices)):
            return None
        return "lower" if value == min(choices) else "upper"
    if "low" not in entry:
        return None
    low, high = scaled(entry, entry["low"]), scaled(entry, entry["high"])
    share = (scaled(entry, value) - low) / (high - low)
    return None if EDGE < share < 1 - EDGE else "lower" if share <= EDGE else "upper"
