"""By what a search chooses where labels are few or none: one figure of a trial. Needs no PyTorch."""

import math
from collections.abc import Mapping

from algorithms.evaluation.metrics import INSTANCE_ACCURACY, JUDGED, KNN_200

ENOUGH = 1_000
"""Labelled images from which their leave-one-out alone chooses as well as anything (docs/log.md, 2026-11-27)."""
SCALE = 40.0
"""How much the instance accuracy counts beside the leave-one-out of one labelled image. That is noisy by the root of
the images, so beside more of them it counts less."""


def judged(measured: Mapping[str, float], labelled: int) -> dict[str, float]:
    """`judged`, where so many labelled images are not enough, of what else was measured: the mean of leave-one-out kNN
    and instance accuracy, from 0 to 1, by their weights sqrt(labelled) and `SCALE`. Without labels it is the instance
    accuracy. Of an encoder without one, 0."""
    if labelled >= ENOUGH:
        return {}
    instance, weight = measured.get(INSTANCE_ACCURACY.name), math.sqrt(labelled)
    if instance is None:
        return {JUDGED.name: 0.0}
    return {JUDGED.name: (weight * measured.get(KNN_200.name, 0.0) + SCALE * instance) / (weight + SCALE)}
