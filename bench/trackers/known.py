"""Trackers by their names: ours, and those that users bring (`bench.doors`)."""

import importlib.util
from typing import cast

from bench import doors
from bench.errors import UserError
from bench.trackers.tracker import Tracker

TRACKERS = {
    "tensorboard": ("bench.trackers.tensorboard:TensorBoard", "tensorboardX"),
    "wandb": ("bench.trackers.wandb:WeightsAndBiases", "wandb"),
    "mlflow": ("bench.trackers.mlflow:MLflow", "mlflow"),
    "trackio": ("bench.trackers.trackio:Trackio", "trackio"),
}
"""Name -> our class, and the module that it needs. The extra of that name installs it."""
CHOICES = f"use {', '.join(TRACKERS)}, package.module:Class or file.py:Class"
PARTS = ("begin", "report", "ended", "close")


def check(name: str) -> None:
    """Raises UserError unless there is such a tracker here. Ours are not imported for it."""
    if name in TRACKERS:
        _, needed = TRACKERS[name]
        if importlib.util.find_spec(needed) is None:
            raise UserError(f"{name} is not installed; pip install 'ssl-bench[{name}]' or '.[{name}]'")
    else:
        _class(name)


def make(name: str) -> Tracker:
    """The tracker. Raises UserError, and whatever its own code raises."""
    check(name)
    return cast(Tracker, _class(TRACKERS[name][0] if name in TRACKERS else name)())


def _class(name: str) -> type:
    if not doors.is_door(name):
        raise UserError(f"there is no tracker {name!r}; {CHOICES}")
    found = doors.load("tracker", name, CHOICES)
    if not isinstance(found, type):
        raise UserError(f"the tracker {name!r} is no class; {CHOICES}")
    if missing := [part for part in PARTS if not callable(getattr(found, part, None))]:
        raise UserError(f"the tracker {name!r} lacks {missing[0]}; a tracker has {', '.join(PARTS)}")
    return found
