"""What a run selects by, and which of two figures of it is the better: all that choose ask here."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

from algorithms.evaluation import metrics
from algorithms.evaluation.metrics import Metric


def metric(measured: Collection[str]) -> Metric | None:
    """That by which a training is compared with others, of the names of what was measured of it; None where it was not.
    Where labels are few or none, a search chooses by `judged` (`algorithms.evaluation.choosing`), else by leave-one-out
    alone; where no test image has a label, instance accuracy on those images is what can be told of them."""
    judges = (metrics.JUDGED, metrics.SELECTION, metrics.INSTANCE_ACCURACY)
    return next((judge for judge in judges if judge.name in measured), None)


def called(measured: Collection[str]) -> str:
    """The title of `metric`; of `judged`, which is instance accuracy where there are no labels, as that."""
    judge = metric(measured)
    if judge is metrics.JUDGED and metrics.SELECTION.name not in measured:
        judge = metrics.INSTANCE_ACCURACY
    return judge.title if judge else ""


def figure(measured: Mapping[str, Any]) -> float | None:
    """That of `metric`; None where it was not measured."""
    judge = metric(measured)
    found: float | None = measured[judge.name] if judge else None
    return found


def merit(figure: float) -> float:
    """The more the better."""
    return figure if metrics.SELECTION.higher_is_better else -figure


def direction() -> Literal["maximize", "minimize"]:
    """In the words of Optuna."""
    return "maximize" if metrics.SELECTION.higher_is_better else "minimize"
