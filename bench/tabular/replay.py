"""A recorded table, replayed: any configuration of its methods is trained again with any seed, in no time.

**A replayed training** of a configuration has its mean curves over the recorded seeds, plus the residuals of one
recorded training of the same method: a training's curves less the mean curves of its configuration. The seed draws the
recorded seed, so trainings with one seed share the luck that it has with all configurations; seed and proposal draw
whose residuals they are, of a configuration whose mean test accuracy is among the nearest third to this one's.
Residuals of n seeds are scaled by sqrt(n / (n - 1)), so that they spread as trainings do. All columns of all epochs
come from one training together: what was lucky to one judge is as lucky to the others as it was. Where a part of a
configuration's seeds diverged, the same part of its replayed trainings does, as one of those did.

**The truth** of a configuration is the mean test accuracy of its replayed trainings at the last epoch. The mean of the
few recorded ones is not that: the best of many such means is lucky, and no strategy can find what is not there. So the
means of configurations that were drawn are moved towards their middle, until they spread as true means do by what
single trainings and means spread (constrained empirical Bayes; Louis 1984), but none by more than its standard error
(limited translation; Efron and Morris 1972); all curves of a configuration follow, as far as they share luck with the
test accuracy. What a seed does to all of them says nothing of which is better, and does not count. Recipes were not
drawn: their means stand as they are.

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
    """[configurations, columns, epochs], over the trainings that came to their end, less their luck."""
    residuals: NDArray[np.float64]
    """[configurations, seeds, columns, epochs], scaled; NaN of a training that diverged, or is alone."""
    similar: list[NDArray[np.int_]]
    """Of every configuration, those whose residuals it may have."""
    diverged: list[NDArray[np.float64]]
    """Of every configuration, the curves [trainings, columns, epochs] of those that diverged."""

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

    def training(self, configuration: int, seed: int, proposal: str = "") -> Training:
        """A replayed training: the same for the same configuration, seed and proposal."""
        recorded = random.Random(f"{self.space.real.method}/{seed}").randrange(self.residuals.shape[1])
        draw = random.Random(f"{self.space.real.method}/{configuration}/{seed}/{proposal}")
        torn = self.diverged[configuration]
        if draw.random() < len(torn) / self.residuals.shape[1]:
            return dict(zip(self.columns, draw.choice(torn), strict=True))
        near = self.similar[configuration]
        there = np.argwhere(np.isfinite(self.residuals[near, :, 0, 0]))
        of_the_seed = there[there[:, 1] == recorded]
        place, number = draw.choice(of_the_seed if len(of_the_seed) else there)
        return dict(zip(self.columns, self.means[configuration] + self.residuals[near[place], number], strict=True))


@dataclass(frozen=True)
class Replay:
    """The methods of a table of which every configuration was trained with the same two seeds or more."""

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
        trained: dict[tuple[str, int, str], Training] = {}

        def curve(job: Job, epoch: int) -> tuple[float, float]:
            method = self.methods[job.method]
            configuration = method.space.number(job.hyperparameters)
            key = (job.method, job.seed, "-".join(job.uid.split("-")[:2]))  # the uid of the trial that searched it
            if key not in trained:
                trained[key] = method.training(configuration, job.seed, key[-1])
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
        trained = rows.groupby("seed")["configuration"].nunique()
        whole = trained.index[trained == rows["configuration"].nunique()]
        if len(whole) > 1:
            methods[str(name)] = _method(path, str(name), rows[rows["seed"].isin(whole)], columns)
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
    seeds = np.sort(rows["seed"].unique())
    curves = np.full((len(by_configuration), len(seeds), len(columns), epochs), np.nan)
    number, seed = rows["configuration"].to_numpy(), np.searchsorted(seeds, rows["seed"])
    curves[number, seed, :, rows["epoch"].to_numpy() - 1] = rows[columns].to_numpy(float)
    ended = np.isfinite(curves[:, :, [loss, test], last]).all(2)
    count = ended.sum(1)
    if count.max() < 2:
        raise UserError(f"{path}: two seeds of one configuration of {name} should have come to their end; record more")
    means = np.stack([_mean(each[of]) for each, of in zip(curves, ended, strict=True)])
    scale = np.sqrt(count / np.maximum(count - 1, 1))
    known = ended & (count > 1)[:, None]
    residuals = np.where(known[..., None, None], scale[:, None, None, None] * (curves - means[:, None]), np.nan)
    drawn = np.arange(len(means)) >= len(space.recipes)
    means = means - _luck(means, residuals, count, drawn, test)
    truth = np.nan_to_num(means[:, test, last])
    having = np.flatnonzero(known.any(1))
    near = math.ceil(len(having) / 3)
    # The median leaves out what else the machine did.
    seconds, evaluation_seconds = ([float(each[key].median()) for each in by_configuration] for key in SECONDS)
    return Method(
        space=space,
        truth=truth,
        seconds=np.array(seconds),
        evaluation_seconds=np.array(evaluation_seconds),
        columns=tuple(columns),
        means=means,
        residuals=residuals,
        similar=[having[np.argsort(abs(truth[having] - mine), kind="stable")[:near]] for mine in truth],
        diverged=[each[~of] for each, of in zip(curves, ended, strict=True)],
    )


def _mean(trainings: Figures) -> Figures:
    """Over the first axis; NaN of nothing."""
    return trainings.mean(0) if len(trainings) else np.full(trainings.shape[1:], np.nan)


def _luck(means: Figures, residuals: Figures, seeds: Figures, drawn: NDArray[np.bool_], test: int) -> Figures:
    """What of mean curves [configurations, columns, epochs] over so many seeds is luck; 0 of what was not `drawn`."""
    accuracy = means[:, test, -1]
    of = np.flatnonzero(drawn & np.isfinite(accuracy))
    # By those above the middle, as in `bench.search.race`: what failed to learn lies far below.
    middle = np.median(accuracy[of]) if len(of) else 0.0
    above = of[accuracy[of] >= middle]
    if len(above) < 2:
        return np.zeros_like(means)
    single, alive = residuals[above], np.isfinite(residuals[above, :, test, -1])
    of_seeds = np.where(alive[..., None, None], single, 0).sum(0) / np.maximum(alive.sum(0), 1)[:, None, None]
    single = (single - of_seeds)[alive]  # what a seed does to all does not count
    squares = float(np.sum(single[:, test, -1] ** 2))
    noise = squares / len(single) * len(above) / (len(above) - 1) / np.maximum(seeds, 1)
    spread = max(float(np.mean((accuracy[above] - middle) ** 2 - noise[above])), 0.0)
    luck, error = np.zeros(len(means)), np.sqrt(noise)
    weight = np.sqrt(spread / np.maximum(spread + noise[of], 1e-12))
    luck[of] = np.clip((1 - weight) * (accuracy[of] - middle), -error[of], error[of])
    # Of every column and epoch, how much goes with one point of luck in the test accuracy.
    shared = np.tensordot(single[:, test, -1], single, 1) / max(squares, 1e-12)
    found: Figures = luck[:, None, None] * shared
    return found


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
