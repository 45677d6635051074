"""What is lost by each way of choosing: `python -m bench.tabular.criteria_regret TABLE... --out FOLDER`.

Of recorded tables, a method's configurations are offered, a few at random and always the published recipe, each with
one training. A judge chooses; its regret is the test accuracy, mean over the recorded seeds, of the best that was
offered less that of what was chosen, in points. Judges have all labels, few or none.

The weight that few labels give to a criterion is chosen on all methods but the one that is shown, and on each table for
the others. Writes `regret.parquet` (a row is a table, a number of configurations, a judge and a method, or the mean
over methods) and `regret.md`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from algorithms.evaluation.metrics import ALPHA_REQ, CRITERIA, INSTANCE_ACCURACY
from bench.files import write_atomically
from bench.tabular import replay
from bench.tabular.printing import parser_of, refusals
from bench.tabular.record import DRAWS, LABELS

Array = NDArray[np.float64]
TARGET = "test_knn_200"
OFFERED = (5, 15, 0)
"""Configurations that are offered; 0 is all."""
CHOICES = 400
"""Random offers of a figure."""
RESAMPLES = 200
"""Of configurations and methods, for an interval."""
SCALES = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0)
"""Weights of a criterion among few labels, for one labelled image: they fall with the root of their number."""


@dataclass(frozen=True)
class Recorded:
    """A method's trainings: the more the better in `merits` [draws of labels, seeds, configurations] of each judge,
    -inf of what was not recorded or diverged; `truth` [configurations] in points, the recipe first."""

    merits: Mapping[str, Array]
    truth: Array


def read(path: Path, methods: set[str] | None = None) -> dict[str, Recorded]:
    """The `methods` of a table, by default all, whose recipe and ten configurations have been trained. Raises
    UserError."""
    table = replay.read(path)
    classes = 8 if table.dataset.iloc[0] == "shapes" else 10
    last = table[table.epoch == table.epochs]
    found = {}
    for method, rows in last[last.method.isin(methods or set(last.method))].groupby("method"):
        complete = rows.groupby("seed").configuration.nunique()
        rows = rows[rows.seed.isin(complete[complete >= 0.9 * complete.max()].index) & rows[TARGET].notna()]
        if rows.configuration.nunique() > 10 and (rows.configuration == 0).any():
            found[str(method)] = recorded(rows, classes)
    return found


def recorded(rows: pd.DataFrame, classes: int) -> Recorded:
    """Of the last epochs of a method's trainings."""

    def figure(name: str) -> Array:
        if name not in rows:
            return np.full((rows.seed.nunique(), rows.configuration.nunique()), np.nan)
        return rows.pivot(index="seed", columns="configuration", values=name).to_numpy(float)

    truth = figure(TARGET)
    merits: dict[str, Array] = {
        "recipe": -np.arange(truth.shape[1]) + 0 * truth[None],
        "random": np.random.default_rng(0).random((DRAWS, *truth.shape)) + 0 * truth,
        "all labels, leave-one-out": figure("train_knn_200")[None],
        "all labels, a tenth held out": figure("held_out_knn_200")[None],
        "loss": -figure("loss")[None],
    }
    for metric in CRITERIA:
        value = figure(metric.name)[None]
        better = -abs(value - 1) if metric is ALPHA_REQ else value if metric.higher_is_better else -value
        merits[metric.name] = better
    instance = figure(INSTANCE_ACCURACY.name)
    for labels in LABELS:
        drawn = [draw for draw in range(DRAWS) if f"few_{labels}_{draw}" in rows]
        if not drawn:
            continue
        few = np.stack([figure(f"few_{labels}_{draw}") for draw in drawn])
        merits[f"{labels} labels"] = few
        merits[f"{labels} labels, share of votes"] = np.stack([figure(f"few_share_{labels}_{d}") for d in drawn])
        for metric in CRITERIA:
            # The published use of a criterion beside labels is none; each counts as much as its spread says.
            value = merits[metric.name]
            merits[f"{labels} labels + {metric.name}"] = _standard(few) + _standard(value)
        for scale in SCALES:
            merits[_scaled(labels, scale)] = few + scale / math.sqrt(labels * classes) * instance[None]
    there = {name: value[:, np.isfinite(value).any((0, 2))] for name, value in merits.items()}  # its own seeds
    return Recorded(
        {name: np.nan_to_num(value, nan=-np.inf) for name, value in there.items() if value.size},
        100 * np.nanmean(truth, 0),
    )


def _standard(value: Array) -> Array:
    """Of mean 0 and deviation 1 within a method's trainings of a seed."""
    seen = np.ma.masked_invalid(value)
    centred = seen - seen.mean(-1, keepdims=True)
    found: Array = (centred / np.ma.maximum(seen.std(-1, keepdims=True), 1e-9)).filled(np.nan)
    return found


def _scaled(labels: int, scale: float) -> str:
    return f"{labels} labels, scale {scale:g}"


def regrets(
    method: Recorded, offered: int, rng: np.random.Generator, choices: int, resampled: bool = False
) -> dict[str, float]:
    """The mean regret of each judge over random offers, the same for all; of configurations drawn with replacement, if
    `resampled`."""
    count = len(method.truth)
    pool = np.concatenate([[0], rng.integers(1, count, count - 1) if resampled else np.arange(1, count)])
    size = min(offered or count, count)
    places = np.argsort(rng.random((choices, count - 1)), 1)[:, : size - 1] + 1
    offer = pool[np.concatenate([np.zeros((choices, 1), int), places], 1)]
    best = method.truth[offer].max(1)
    draws, seeds = rng.integers(0, 10**6, choices), rng.integers(0, 10**6, choices)
    found = {}
    for judge, merits in method.merits.items():
        seen = merits[draws[:, None] % merits.shape[0], seeds[:, None] % merits.shape[1], offer]
        chosen = offer[np.arange(choices), seen.argmax(1)]
        found[judge] = float((best - method.truth[chosen]).mean())
    return found


def left_out(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of "labels + instance accuracy by its scale": of each method, by the scale that is best for the others."""
    rows = {}
    for labels in LABELS:
        names = [_scaled(labels, scale) for scale in SCALES if _scaled(labels, scale) in table.index]
        if names:
            ours = table.loc[names]
            places = [int(ours.drop(columns=method).sum(axis=1).to_numpy().argmin()) for method in table.columns]
            found = ours.to_numpy()[places, range(len(places))]
            rows[f"{labels} labels, scale of the others"] = pd.Series(found, table.columns)
    return pd.DataFrame(rows).T


def measure(methods: Mapping[str, Recorded], offered: int) -> pd.DataFrame:
    """Columns judge, method ("mean": over methods), regret and its 95 % interval, low to high."""

    def once(seed: int, choices: int, resampled: bool) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        table = pd.DataFrame(
            {name: regrets(method, offered, rng, choices, resampled) for name, method in methods.items()}
        ).dropna()
        return pd.concat([table, left_out(table)])

    point = once(0, CHOICES, False)
    names = list(methods)
    rng = np.random.default_rng(1)
    samples = []
    for seed in range(RESAMPLES):
        table = once(seed + 1, 20, True)
        table["mean"] = table[[names[place] for place in rng.integers(0, len(names), len(names))]].mean(axis=1)
        samples.append(table)
    point["mean"] = point.mean(axis=1)
    every = np.stack([sample.reindex(index=point.index, columns=point.columns).to_numpy() for sample in samples])
    low, high = (pd.DataFrame(np.percentile(every, at, axis=0), point.index, point.columns) for at in (2.5, 97.5))
    return pd.DataFrame(
        {"regret": point.stack(), "low": low.stack(), "high": high.stack()},
    ).rename_axis(["judge", "method"]).reset_index()  # fmt: skip


def markdown(found: pd.DataFrame) -> str:
    """A table for each recorded table: judges by methods, with all configurations offered; the mean also with fewer."""
    parts = []
    for name, rows in found.groupby("table", sort=False):
        every = rows[rows.offered == 0]
        methods = [method for method in every.method.unique() if method != "mean"]
        mean = rows[rows.method == "mean"].set_index(["judge", "offered"])
        heads = ["judge", *(f"mean of {offered or 'all'}" for offered in OFFERED), *methods]
        lines = [f"## {name}", "", f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
        for judge in every.judge.unique():
            cells = [mean.loc[(judge, offered)] for offered in OFFERED]
            own = every[every.judge == judge].set_index("method").regret
            shown = [f"{cell.regret:.2f} ({cell.low:.2f} to {cell.high:.2f})" for cell in cells]
            lines.append(f"| {' | '.join([judge, *shown, *(f'{own[method]:.1f}' for method in methods)])} |")
        parts.append("\n".join(lines))
    return "\n\n".join(["Regret in points of test kNN, 95 % intervals in brackets.", *parts]) + "\n"


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument("--methods", help="names, with commas; a judge that has not seen all of them is left out")
    options = parser.parse_args()
    frames = []
    for path in map(Path, options.tables):
        with refusals():
            methods = read(path, set(options.methods.split(",")) if options.methods else None)
        for offered in OFFERED:
            frames.append(measure(methods, offered).assign(table=path.stem, offered=offered))
    found = pd.concat(frames, ignore_index=True)
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out / "regret.parquet", partial(found.to_parquet, index=False))
    write_atomically(options.out / "regret.md", markdown(found).encode())
    print(markdown(found))


if __name__ == "__main__":
    main()
