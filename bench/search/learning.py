"""What a run learns from earlier ones (`--learn-from`): the configurations that did best there.

They come after the recipes, and the prior is about them too (`bench.search.prior`). What was learnt stands in the
ledger: a run goes on with what it began with, whatever became of those that it learnt from.
"""

import itertools
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.search.experiment import Learnt, Searchable, otherwise
from bench.search.fold import Fold, read
from bench.search.selection import merit

MOST = 3
"""Configurations that a method begins with, at most."""


@dataclass(frozen=True)
class Lesson:
    """What a run has of a method: its configurations within the search space, the best first, and among how many."""

    run: str
    """In words."""
    best: list[dict[str, Any]]
    among: int


def learn(
    sources: Sequence[Path], spaces: Mapping[str, Searchable], settings: Mapping[str, Any], before: Fold, run_dir: Path
) -> tuple[Learnt, list[str]]:
    """What the run in `run_dir` begins with, and that in words, a line for each method.

    `settings` are those of its trainings; `before` is what the folder holds of the run: if that has learnt from the
    same runs, what it learnt then. Raises UserError for a run that cannot be read or has nothing of these methods, one
    whose hyper-parameters are others, and this very run.
    """
    folders = tuple(dict.fromkeys(os.path.abspath(source) for source in sources))
    if not folders:
        return Learnt(), []
    if before.settings.get("learn_from") == list(folders):
        begun = before.settings["learnt"]
        told = [f"{method} began with {len(begun[method])} configurations of earlier runs." for method in begun]
        return Learnt(folders, begun), told
    lessons: dict[str, list[Lesson]] = {method: [] for method in spaces}
    for folder in folders:
        if os.path.realpath(folder) == os.path.realpath(run_dir):
            raise UserError(f"--learn-from {folder} is this very run, which continues by itself; name an earlier one")
        for method, lesson in _lessons(Path(folder), spaces, settings).items():
            lessons[method].append(lesson)
    learnt, told = {}, []
    for method, heard in lessons.items():
        turns = itertools.zip_longest(*(lesson.best for lesson in heard))  # figures of two runs cannot be compared
        distinct: list[dict[str, Any]] = []
        for each in itertools.chain.from_iterable(turns):
            if each is not None and each not in distinct and len(distinct) < MOST:
                distinct.append(each)
        if distinct:
            learnt[method] = distinct
        told.append(_told(method, distinct, heard))
    return Learnt(folders, learnt), told


def _lessons(folder: Path, spaces: Mapping[str, Searchable], settings: Mapping[str, Any]) -> dict[str, Lesson]:
    """By method what the run in the folder has. Raises UserError."""
    fold = _read(folder)
    there = [method for method in spaces if any(fold.of(method, "search"))]
    if not there:
        have = sorted({trial.method for trial in fold.trials.values() if trial.stage == "search"})
        raise UserError(
            f"the run in {folder} has none of {', '.join(spaces)}, but {', '.join(have) or 'no search'}; "
            "leave it out of --learn-from"
        )
    words = f"{folder} ({differs})" if (differs := otherwise(fold.settings, settings)) else str(folder)
    try:
        lessons = {method: _lesson(fold, method, spaces[method], folder, words) for method in there}
    except (TypeError, AttributeError, KeyError, ValueError) as error:  # each line may be an event, and make no sense
        raise UserError(
            f"nothing can be learnt: the ledger in {folder} is damaged ({type(error).__name__}: {error}); "
            f"restore it, or leave out --learn-from {folder}"
        ) from None
    if not any(lesson.among for lesson in lessons.values()):
        raise UserError(
            f"in {folder} no trial of {', '.join(there)} is complete within the search spaces of now; "
            "leave it out of --learn-from"
        )
    return lessons


def _read(folder: Path) -> Fold:
    """The run in the folder. Raises UserError."""
    path = folder / "ledger.jsonl"
    try:
        fold = read(path) if path.is_file() else Fold()
    except (UserError, OSError) as error:
        what = str(error).partition("; ")[0]
        raise UserError(
            f"nothing can be learnt: {what}; restore the file, or leave out --learn-from {folder}"
        ) from None
    if not isinstance(fold.settings, dict) or not fold.settings:
        raise UserError(f"there is no run in {folder}; --learn-from takes the folder of one, with its ledger.jsonl")
    return fold


def _lesson(fold: Fold, method: str, space: Searchable, folder: Path, words: str) -> Lesson:
    """Those that were raced with further seeds come first, by their means; then others by their one training."""
    figures: dict[str, list[float]] = {}
    for trial in fold.of(method, "search", "race"):
        if other := sorted(space.defaults.keys() ^ trial.hyperparameters.keys()):
            raise UserError(
                f"the run in {folder} has other hyper-parameters for {method} ({', '.join(other)}); "
                "leave it out of --learn-from"
            )
        if trial.accuracy is not None and space.proposes(trial.hyperparameters):
            figures.setdefault(trial.configuration, []).append(merit(trial.accuracy))
    ranked = sorted(figures, key=lambda uid: (len(figures[uid]) > 1, statistics.mean(figures[uid])), reverse=True)
    configurations = [dict(fold.trials[uid].hyperparameters) for uid in ranked]
    return Lesson(words, [each for each in configurations if each not in space.recipes], len(ranked))


def _told(method: str, begins_with: list[dict[str, Any]], heard: list[Lesson]) -> str:
    parts = []
    for lesson in heard:
        taken = sum(each in begins_with for each in lesson.best)
        best = "the best" if taken == 1 else f"the {taken} best"
        parts.append(f"{best if taken else 'none'} of {lesson.among} configurations in {lesson.run}")
    return f"{method} begins with {' and '.join(parts)}." if parts else f"{method} has no earlier run to learn from."
