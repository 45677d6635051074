"""Searchers and schedulers by their names: ours, and those that users bring (`bench.doors`), which are tried once."""

from collections.abc import Callable
from typing import Any, TypeVar

from optuna.samplers import BaseSampler

from bench import doors
from bench.errors import UserError
from bench.search.schedulers import SCHEDULERS, Scheduler
from bench.search.searchers import FEW, SEARCHERS

Made = TypeVar("Made")
RECIPES_ONLY = "none"
"""The searcher of a run that trains the published recipes alone."""


def searcher(name: str) -> Callable[[int], BaseSampler]:
    """What makes a sampler of a seed; of `RECIPES_ONLY` one that is never asked. Raises UserError."""
    known = SEARCHERS | {RECIPES_ONLY: SEARCHERS["random"]}
    return _find("searcher", name, known, lambda made: isinstance(made, BaseSampler), "an Optuna sampler")


def scheduler(name: str) -> Callable[[int], Scheduler]:
    """What makes a scheduler of the epochs of a training. Raises UserError."""
    wanted = "something with milestones, whole numbers, and arrive"
    return _find("scheduler", name, SCHEDULERS, _is_scheduler, wanted)


def _find(
    kind: str, name: str, known: dict[str, Callable[[int], Made]], fits: Callable[[Any], bool], wanted: str
) -> Callable[[int], Made]:
    if name in known:
        return known[name]
    choices = f"use {', '.join(known)}, package.module:attribute or file.py:attribute"
    found: Callable[[int], Made] = doors.load(kind, name, choices)
    if not callable(found):
        raise UserError(f"there is no {kind} {name!r}; {choices}")
    try:
        made = found(FEW)  # a seed, or epochs
        right = fits(made)
    except Exception as error:
        raise doors.refused(kind, name, "be used", error, choices) from None
    if not right:
        raise UserError(f"the {kind} {name!r} gives {type(made).__name__}, not {wanted}; {choices}")
    return found


def _is_scheduler(made: Any) -> bool:
    milestones = getattr(made, "milestones", None)
    return isinstance(milestones, list | tuple) and all(type(m) is int for m in milestones) and callable(made.arrive)
