"""What a run selects by, and which of two figures of it is the better: all that choose ask here."""

from collections.abc import Mapping
from typing import Any, Literal

from algorithms.evaluation import metrics


def figure(measured: Mapping[str, Any]) -> float | None:
    """That by which a run selects, of what was measured; None where it was not. Where labels are few or none, there is
    `judged` (`algorithms.evaluation.choosing`), else leave-one-out alone."""
    found: float | None = measured.get(metrics.JUDGED.name, measured.get(metrics.SELECTION.name))
    return found


def merit(figure: float) -> float:
    """The more the better."""
    return figure if metrics.SELECTION.higher_is_better else -figure


def direction() -> Literal["maximize", "minimize"]:
    """In the words of Optuna."""
    return "maximize" if metrics.SELECTION.higher_is_better else "minimize"
