"""A recorded table, replayed: any configuration of its methods is trained again with any seed, in no time.

**A replayed training** of a configuration has its mean curves over the recorded seeds, plus the residuals of one
recorded training of the same method, which the seed draws: a training's curves less the mean curves of its
configuration, of a configuration whose mean test accuracy is among the nearest third to this one's. Residuals of n
seeds are scaled by sqrt(n / (n - 1)), so that they spread as trainings do. All columns of all epochs come from one
training together: what was lucky to one judge is as lucky to the others as it was. Where a part of a configuration's
seeds diverged, the same part of its replayed trainings does, as one of those did.

**The truth** of a configuration is its mean test accuracy at the last epoch: exact in the replay, whose trainings have
that mean. In the world that was recorded it is a mean of few seeds, so the best of a table is a little luckier than it
is good; the regret of every strategy is larger by the same.

What is proposed off the table stands for the nearest configuration (`space`).
"""

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
from numpy.typing import NDArray

from bench.errors import UserError, one_line
from bench.search import space as search_space
from bench.search.job import Job
from bench.search.plan import Costs
from bench.search.simulate import Curve
from bench.search.trials import CONFIRMING
from bench.tabular.space import TableSpace

TEST = "test_knn_200"
"""The column of the truth."""
LEAVE_ONE_OUT, HELD_OUT = "train_knn_200", "held_out_knn_200"
"""The judges of a search with labels: the training images by each other, or a tenth as many that are held out."""
KEYS = ("method", "configuration", "seed", "epoch")
NEEDED = (*KEYS, "epochs", "image_size", "kind", "hyperparameters", "loss", TEST, LEAVE_ONE_OUT, HELD_OUT)
SECONDS = ("seconds", "evaluation_seconds")
NO_CURVES = (*KEYS, *SECONDS, "epochs", "image_size", "images", "cpu_seconds")
"""Numbers of a row that are not figures of a training."""

Figures = NDArray[np.float64]
Training = Mapping[str, Figures]
"""A replayed training: of every column, its figures by epoch; NaN from where it diverged."""


def read(path: str | Path) -> pd.DataFrame:
    """The rows of a recorded table (`bench.tabular.record`), checked. Raises UserError."""
    table: pd.DataFrame = _open(path, pd.read_parquet)
    if missing := [name for name in (*NEEDED, *SECONDS) if name not in table]:
        raise UserError(f"{path} is no recorded table: it lacks {', '.join(missing)}")
    if table.empty:
        raise UserError(f"{path} has no rows; python -m bench.tabular.record goes on with it")
    numbers = [name for name in (*NEEDED, *SECONDS) if name not in ("method", "kind", "hyperparameters")]
    if wrong := [name for name in numbers if not pd.api.types.is_numeric_dtype(table[name])]:
        raise UserError(f"{path} is damaged: {', '.join(wrong)} should be numbers")
    for name in ("epochs", "image_size"):
        if table[name].nunique() > 1:
            raise UserError(f"{path} has trainings of several {name}; a table has one")
    if not table["epoch"].between(1, table["epochs"]).all():
        raise UserError(f"{path} is damaged: it has an epoch beyond its epochs")
    if twice := int(table.duplicated(list(KEYS)).sum()):
        raise UserError(f"{path} is damaged: {twice} epochs are there twice")
    return table


@dataclass(frozen=True)
class Method:
    """The configurations of one method: published recipe, ours where it is another one, and those that were drawn."""

    space: TableSpace
    truth: Figures
    """Of every configuration; 0 where all of its trainings diverged."""
    seconds: Figures
    """An epoch of every configuration."""
    evaluation_seconds: Figures
    columns: tuple[str, ...]
    means: NDArray[np.float64]
    """[configurations, columns, epochs], over the trainings that came to their end."""
    residuals: NDArray[np.float64]
    """[residuals, columns, epochs], scaled."""
    similar: list[list[int]]
    """Of every configuration, the residuals that it may have."""
    diverged: list[list[NDArray[np.float64]]]
    """Of every configuration, the curves [columns, epochs] of trainings that diverged."""
    risk: list[float]
    """Of every configuration, the part of its seeds that diverged."""

    @property
    def best(self) -> float:
        """The best truth."""
        return float(self.truth.max())

    @property
    def costs(self) -> Costs:
        """Of our recipe."""
        recipes = len(self.space.recipes)
        ours = recipes - 1
        published = float(self.seconds[0]) if recipes > 1 else None
        return Costs(float(self.seconds[ours]), float(self.evaluation_seconds[ours]), published=published)

    def training(self, configuration: int, seed: int) -> Training:
        """A replayed training: the same for the same configuration and seed."""
        draw = random.Random(f"{self.space.real.method}/{configuration}/{seed}")
        if draw.random() < self.risk[configuration]:
            curves = draw.choice(self.diverged[configuration])
        else:
            curves = self.means[configuration] + self.residuals[draw.choice(self.similar[configuration])]
        return dict(zip(self.columns, curves, strict=True))


@dataclass(frozen=True)
class Replay:
    """The methods of a table of which every configuration was trained with two seeds or more."""

    methods: Mapping[str, Method]
    epochs: int
    left_out: Sequence[str]
    """The methods that were not, as their recording goes on."""

    @property
    def costs(self) -> dict[str, Costs]:
        return {name: method.costs for name, method in self.methods.items()}

    @property
    def spaces(self) -> dict[str, TableSpace]:
        return {name: method.space for name, method in self.methods.items()}

    def curve(self, judge: str = LEAVE_ONE_OUT) -> Curve:
        """For `bench.search.simulate`: what selects is this column, what confirms is the test accuracy. An evaluation
        takes its time where the job has one."""
        trained: dict[tuple[str, int, int], Training] = {}

        def curve(job: Job, epoch: int) -> tuple[float, float]:
            method = self.methods[job.method]
            configuration = method.space.number(job.hyperparameters)
            key = (job.method, configuration, job.seed)
            if key not in trained:
                trained[key] = method.training(configuration, job.seed)
            evaluation = method.evaluation_seconds[configuration] if epoch in job.evaluate_at else 0.0
            figures = trained[key][TEST if job.stage in CONFIRMING else judge]
            return float(figures[epoch - 1]), float(method.seconds[configuration] + evaluation)

        return curve


def load(path: str | Path) -> Replay:
    """The replay of a table. Raises UserError."""
    table = read(path)
    columns = [str(name) for name in table if pd.api.types.is_numeric_dtype(table[name]) and name not in NO_CURVES]
    methods, left_out = {}, []
    for name, rows in table.groupby("method", sort=False):
        seeds = rows.groupby("configuration")["seed"].nunique()
        if seeds.min() > 1:
            methods[str(name)] = _method(path, str(name), rows, columns)
        else:
            left_out.append(str(name))
    if not methods:
        raise UserError(f"{path} has no method of which every configuration was trained with two seeds; record more")
    return Replay(methods, int(table["epochs"].iloc[0]), left_out)


def _method(path: str | Path, name: str, rows: pd.DataFrame, columns: list[str]) -> Method:
    epochs, size = int(rows["epochs"].iloc[0]), int(rows["image_size"].iloc[0])
    last, loss, test = epochs - 1, columns.index("loss"), columns.index(TEST)
    by_configuration = [each for _, each in rows.groupby("configuration")]
    if [int(each["configuration"].iloc[0]) for each in by_configuration] != list(range(len(by_configuration))):
        raise UserError(f"{path} is damaged: the configurations of {name} should be numbered from 0 without a gap")
    if rows.groupby("configuration")["hyperparameters"].nunique().max() > 1:
        raise UserError(f"{path} is damaged: a configuration of {name} has different hyperparameters by seed")
    try:
        hyperparameters = [dict(json.loads(each["hyperparameters"].iloc[0])) for each in by_configuration]
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged: hyperparameters of {name} are no JSON of names and values") from None
    kinds = [str(each["kind"].iloc[0]) for each in by_configuration]
    try:
        space = TableSpace(search_space.load(name, size), hyperparameters, 1 + ("ours" in kinds))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    means, residuals, of, diverged, risk = [], [], [], [], []
    for number, each in enumerate(by_configuration):
        whole: list[Figures] = []
        torn: list[Figures] = []
        for _, training in each.groupby("seed"):
            curves = np.full((len(columns), epochs), np.nan)
            curves[:, training["epoch"].to_numpy() - 1] = training[columns].to_numpy(float).T
            ended = bool(np.isfinite(curves[[loss, test], last]).all())
            (whole if ended else torn).append(curves)
        mean = np.mean(whole, axis=0) if whole else np.full((len(columns), epochs), np.nan)
        means.append(mean)
        diverged.append(torn)
        risk.append(len(torn) / (len(torn) + len(whole)))
        if len(whole) > 1:
            residuals += [math.sqrt(len(whole) / (len(whole) - 1)) * (curves - mean) for curves in whole]
            of += [number] * len(whole)
    if not residuals:
        raise UserError(f"{path}: two seeds of one configuration of {name} should have come to their end; record more")
    truth = np.array([mean[test, last] for mean in means])
    # The median leaves out what else the machine did.
    seconds, evaluation_seconds = ([float(each[key].median()) for each in by_configuration] for key in SECONDS)
    return Method(
        space=space,
        truth=np.nan_to_num(truth),
        seconds=np.array(seconds),
        evaluation_seconds=np.array(evaluation_seconds),
        columns=tuple(columns),
        means=np.stack(means),
        residuals=np.stack(residuals),
        similar=[_similar(truth, number, of) for number in range(len(truth))],
        diverged=diverged,
        risk=risk,
    )


def _similar(truth: Figures, number: int, of: list[int]) -> list[int]:
    """The residuals of the third of all configurations with residuals whose truth is nearest."""
    having = sorted(set(of), key=lambda other: (abs(truth[other] - truth[number]), other))
    near = set(having[: math.ceil(len(having) / 3)])
    return [place for place, other in enumerate(of) if other in near]


def is_table(path: str | Path) -> bool:
    """Whether a Parquet file has the columns of a recorded table, rather than those of a run. Raises UserError."""
    return set(NEEDED) <= set(_open(path, pyarrow.parquet.read_schema).names)


def _open(path: str | Path, how: Callable[[str | Path], Any]) -> Any:
    try:
        return how(path)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; python -m bench.tabular.record makes a table") from None
    except (OSError, ValueError) as error:  # pyarrow's errors are one or the other
        raise UserError(f"{path} is no Parquet file that can be read ({one_line(error)})") from None
