"""Which hyper-parameters mattered: in the runs that are kept, and in the recorded tables of trainings."""

import json
from functools import cache
from typing import NamedTuple

import pandas as pd

from bench.guide.evidence import PROJECT, REPORTS, runs
from bench.report.run import spaces
from bench.report.sections.method.importance import ENOUGH, importances
from bench.search.space import load

TABLES = REPORTS / "tabular"
JUDGE = "train_knn_200"
"""By which the recorded tables are asked, as a search is: leave-one-out kNN among the training images."""


class Importance(NamedTuple):
    """What one source says."""

    source: str
    """As a path from the top of the project."""
    what: str
    """What was trained, in words."""
    trainings: int
    values: dict[str, tuple[float, float, float]]
    """By hyper-parameter, the greatest first: median, least and most over resamples. Empty of too few trainings."""


def importances_of(name: str) -> list[Importance]:
    """What runs and recorded tables say of a method; nothing of those without it."""
    return [*_runs(name), *_tables(name)]


def _runs(name: str) -> list[Importance]:
    said = []
    for run, (found, _) in runs().items():
        judge = found.judged.train
        trials = found.trials[(found.trials.method == name) & (found.trials.stage == "search")]
        complete = trials[(trials.state == "complete") & trials[judge].notna()]
        if not len(complete):
            continue
        space = spaces(found.run).get(name, {}).get("hyperparameters") or {}
        settings = pd.DataFrame([json.loads(entry) for entry in complete.hyperparameters], index=complete.index)
        known = len(complete) >= ENOUGH and bool(space)
        values = importances(space, settings, complete[judge]) if known else {}
        said.append(Importance(f"results/{run}", "trials of the search", len(complete), _sorted(values)))
    return said


@cache
def _last_epochs() -> dict[str, pd.DataFrame]:
    """Of each recorded table the end of every training, by the table's path."""
    columns = ["method", "configuration", "hyperparameters", "seed", "image_size", "images", "encoder"]
    tables = {}
    for path in sorted(TABLES.glob("*.parquet")):
        table = pd.read_parquet(path, columns=[*columns, "epoch", "epochs", JUDGE])
        tables[path.relative_to(PROJECT).as_posix()] = table[(table.epoch == table.epochs) & table[JUDGE].notna()]
    return tables


def _tables(name: str) -> list[Importance]:
    said = []
    for source, table in _last_epochs().items():
        found = table[table.method == name].reset_index(drop=True)
        if not len(found):
            continue
        first = found.iloc[0]
        space = load(name, int(first.image_size))
        settings = pd.DataFrame([json.loads(entry) for entry in found.hyperparameters])
        inside = [
            set(space.entries) <= set(record) and space.proposes({str(key): of for key, of in record.items()})
            for record in settings.to_dict("records")
        ]
        settings, found = settings[inside], found[inside]
        values = importances(space.entries, settings, found[JUDGE]) if len(found) >= ENOUGH else {}
        what = (
            f"trainings ({found.configuration.nunique()} configurations, {found.seed.nunique()} seeds) of "
            f"{first.epochs} epochs on {first.images:,} images of {first.image_size} px with {first.encoder}"
        )
        said.append(Importance(source, what, len(found), _sorted(values)))
    return said


def _sorted(values: dict[str, tuple[float, float, float]]) -> dict[str, tuple[float, float, float]]:
    return dict(sorted(values.items(), key=lambda of: -of[1][0]))
