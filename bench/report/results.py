"""The ledger's fold as two Parquet files: `trials.parquet`, a row per trial; `epochs.parquet`, a row per epoch.

They are derived: the same ledger gives the same bytes, and nothing is lost when they are lost. Facts about the
whole run (budget, devices, versions, search spaces) travel as JSON in the metadata of `trials.parquet`, so that
the table and the report need nothing else.
"""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from algorithms.evaluation.metrics import METRICS, SELECTION, Metric
from bench.errors import UserError
from bench.files import write_atomically
from bench.report.judged import HELD_OUT, IMAGES, Judged, column
from bench.report.run import Run
from bench.search.events import plain
from bench.search.fold import Fold
from bench.search.job import CHOOSING
from bench.search.trials import Trial

Records = Iterable[Mapping[str, Any]]
"""Rows of a table; absent values are null."""
MOMENT = pa.timestamp("us", tz="UTC")
OF_TRAININGS = [metric for metric in METRICS.values() if metric.protocol == "knn"]
"""What is measured of an encoder in a training; the rest is of an evaluation, which has no epochs."""


def parts_column(metric: Metric) -> str:
    """The column of a metric's figures of each class, by its place in the data set's classes, or of each draw of
    labels; a null where there is none, such as of a class without a test image."""
    return f"{column('test', metric)}_{metric.parts}"


TRIALS = pa.schema(
    [
        ("run", pa.string()),
        ("uid", pa.string()),
        ("method", pa.string()),
        ("stage", pa.string()),  # search | race | confirm | published | ours | baseline | superseded | evaluate
        ("state", pa.string()),  # complete | pruned | failed | cut | running
        ("reason", pa.string()),
        ("failure", pa.string()),  # what kind of failure it was
        ("seed", pa.int64()),
        ("hyperparameters", pa.string()),  # JSON, as asked for
        ("effective", pa.string()),  # JSON, as trained: made smaller where encoder or data set ask for it
        ("published_recipe", pa.bool_()),
        ("our_recipe", pa.bool_()),  # ours, where it is another one than the published
        ("of", pa.string()),  # the trial that it repeats or, in the stage `evaluate`, whose encoder it judges
        ("protocol", pa.string()),  # in the stage `evaluate`: what judges the encoder
        ("encoder", pa.string()),
        ("encoder_parameters", pa.int64()),
        ("own_encoder", pa.bool_()),  # the method brings another encoder than the run's
        ("weights", pa.string()),  # with which the encoder began, by a short name; null from scratch
        ("trained_on", pa.string()),  # what these were trained on, in words; null where that is not said
        ("teacher", pa.string()),  # the network that the encoder followed, by a short name
        ("teacher_trained_on", pa.string()),
        ("dataset", pa.string()),
        ("dataset_fingerprint", pa.string()),
        ("image_size", pa.int64()),  # as the encoder sees them: a frozen network may have its own
        ("batch_size", pa.int64()),  # images in a step, as trained
        ("epochs", pa.int64()),  # planned
        ("epoch", pa.int64()),  # reached
        *(
            (column(images, metric), pa.float64())
            for images in IMAGES
            for metric in METRICS.values()
            if images in metric.images
        ),
        *((parts_column(metric), pa.list_(pa.float64())) for metric in METRICS.values() if metric.parts),
        ("device", pa.string()),
        ("device_seconds", pa.float64()),  # held, everything counted
        ("images_per_second", pa.float64()),  # median over epochs
        ("peak_memory_bytes", pa.int64()),  # of the training itself, beside the images
        ("attempts", pa.int64()),
        ("started", MOMENT),
        ("ended", MOMENT),
    ]
)

EPOCHS = pa.schema(
    [
        ("run", pa.string()),
        ("uid", pa.string()),
        ("method", pa.string()),
        ("stage", pa.string()),
        ("epoch", pa.int64()),  # 1-based
        ("loss", pa.float64()),
        ("split", pa.string()),  # train | test; validation in files of earlier versions
        *((metric.name, pa.float64()) for metric in OF_TRAININGS),
        ("seconds", pa.float64()),
        ("evaluation_seconds", pa.float64()),
        ("images_per_second", pa.float64()),
        ("peak_memory_bytes", pa.int64()),
        ("device_seconds", pa.float64()),  # held by the trial up to this report
        ("reported", MOMENT),  # its wall clock, interpolated between the trial's start and end
    ]
)

ORIGIN = ("weights", "trained_on", "teacher", "teacher_trained_on")
"""What a trial knows from elsewhere: null in each where it knows nothing."""
ADDED = {"failure", "effective", "our_recipe", "of", "protocol", *ORIGIN}
"""Columns that files of earlier versions lack, as they may those of metrics; read there as null."""
MEASURED = {
    *METRICS,
    *(column(images, metric) for images in IMAGES for metric in METRICS.values()),
    *(parts_column(metric) for metric in METRICS.values() if metric.parts),
}


@dataclass(frozen=True)
class Results:
    """What a run left: its two tables and the facts about the whole of it."""

    trials: pd.DataFrame
    epochs: pd.DataFrame
    run: Run

    @cached_property
    def judged(self) -> Judged:
        """By what it was judged."""
        return Judged.of(self.trials, self.run)

    @cached_property
    def trainings(self) -> pd.DataFrame:
        """The trials that train, or that stand in for a training as raw pixels do: all but those that judge an encoder
        which another one has left."""
        return self.trials[self.trials.stage != "evaluate"]


def write(fold: Fold, folder: str | Path, name: str | None = None) -> None:
    """Write both files of the run that `fold` tells. The run's name is the folder's where none is given. Raises
    OSError."""
    folder = Path(folder)
    name = plain(folder.resolve().name) if name is None else name
    save(*_rows(fold, name), facts(fold, name), folder)


def of(fold: Fold, name: str) -> Results:
    """What `load` would read of the files that `write` makes of a run of this name, without the files."""
    trials, epochs = _rows(fold, name)
    run = json.loads(json.dumps(facts(fold, name)))
    return Results(_table(trials, TRIALS).to_pandas(), _table(epochs, EPOCHS).to_pandas(), run)


def _rows(fold: Fold, name: str) -> tuple[Records, Records]:
    """Of trials and of epochs."""
    trials = fold.trials.values()
    epochs = (row for trial in trials for row in _epochs(trial, fold, name))
    return [_trial(trial, fold, name) for trial in trials], list(epochs)


def facts(fold: Fold, name: str) -> Run:
    """What is true of the whole run."""
    session = fold.sessions[-1] if fold.sessions else {}
    return {
        "name": name,
        "settings": fold.settings,
        "plan": fold.plan,
        "budget": session.get("budget"),
        "slots": session.get("slots"),
        "share": session.get("share"),
        "facts": session.get("facts"),
        "sessions": [
            {key: each.get(key) for key in ("slots", "rate")}
            | {key: (each.get("facts") or {}).get(key) for key in ("device", "versions", "commit")}
            for each in fold.sessions
        ],
        "winners": {method: event.get("winner") for method, event in fold.chosen.items()},
        "given_up": fold.given_up,
        "charged": fold.charged,
        "closed": fold.closed,
    }


def _trial(trial: Trial, fold: Fold, run: str) -> dict[str, Any]:
    settings = fold.settings
    session_facts = fold.sessions[-1]["facts"] if fold.sessions else {}
    own_encoder = bool(trial.facts.get("own_encoder"))
    choosing = trial.stage in CHOOSING
    measured = trial.last.metrics if trial.last and (choosing or trial.state == "complete") else {}
    images = _judged_on(trial)
    speeds = [speed for report in trial.reports.values() if (speed := report.images_per_second)]
    memory = [peak for report in trial.reports.values() if (peak := report.peak_memory_bytes)]
    return {
        "run": run,
        "uid": trial.uid,
        "method": trial.method,
        "stage": fold.stage(trial),
        "state": trial.state,
        "reason": trial.reason,
        "failure": trial.kind if trial.state == "failed" else None,
        "seed": trial.seed,
        "hyperparameters": json.dumps(trial.hyperparameters, sort_keys=True),
        "effective": _effective(trial),
        "published_recipe": trial.published,
        "our_recipe": trial.ours,
        "of": trial.of,
        "protocol": trial.job.protocol,
        "encoder": trial.facts.get("encoder") or (None if own_encoder else settings.get("encoder")),
        "encoder_parameters": trial.facts.get("encoder_parameters"),
        "own_encoder": own_encoder,
        **{name: trial.facts.get(name) for name in ORIGIN},
        "dataset": settings.get("dataset"),
        "dataset_fingerprint": settings.get("dataset_fingerprint"),
        "image_size": trial.facts.get("image_size") or settings.get("image_size"),
        "batch_size": trial.facts.get("batch_size"),
        "epochs": trial.epochs,
        "epoch": trial.epoch,
        **{f"{images}_{name}": value for name, value in measured.items()},
        **(_parts(measured) if images == "test" else {}),
        "device": trial.facts.get("device") or session_facts.get("device"),
        "device_seconds": trial.held,
        "images_per_second": statistics.median(speeds) if speeds else None,
        "peak_memory_bytes": max(memory, default=None),
        "attempts": trial.attempts,
        "started": _moment(trial.started),
        "ended": _moment(trial.ended),
    }


def _parts(measured: Mapping[str, float]) -> dict[str, list[float | None]]:
    """The list columns of what was measured class by class, or draw by draw."""
    places: dict[str, dict[int, float]] = {}
    for name, value in measured.items():
        whole, slash, place = name.rpartition("/")
        if slash and whole in METRICS and place.isdecimal():
            places.setdefault(whole, {})[int(place)] = value
    return {
        parts_column(METRICS[name]): [found.get(place) for place in range(max(found) + 1)]
        for name, found in places.items()
    }


def _judged_on(trial: Trial) -> str:
    return "train" if trial.stage in CHOOSING else "test"


def _effective(trial: Trial) -> str | None:
    """The hyper-parameters with which the trial was trained, as JSON; None where its trainer did not tell."""
    differing = trial.facts.get("hyperparameters")
    return None if differing is None else json.dumps(trial.hyperparameters | differing, sort_keys=True)


def _epochs(trial: Trial, fold: Fold, run: str) -> Iterable[dict[str, Any]]:
    began = trial.started if trial.started is not None else fold.time
    span = (fold.time if trial.ended is None else trial.ended) - began
    common = {
        "run": run,
        "uid": trial.uid,
        "method": trial.method,
        "stage": fold.stage(trial),
        "split": _judged_on(trial),
    }
    for epoch in sorted(trial.reports):
        report = trial.reports[epoch]
        share = report.device_seconds / trial.held if trial.held else 0.0
        own = {"device_seconds": report.device_seconds, "reported": _moment(began + share * span)}
        yield plain(report.to_json()) | common | own


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def save(trials: Records, epochs: Records, run: Run, folder: str | Path) -> None:
    """Write both files, each whole or not at all. Rows are mappings by column name; an absent value is null.

    The epochs go first, so that every trial that a reader sees has its epochs. Raises OSError.
    """
    folder = Path(folder)
    _write(_table(epochs, EPOCHS), folder / "epochs.parquet")
    facts = json.dumps(run, sort_keys=True).encode()
    _write(_table(trials, TRIALS.with_metadata({b"run": facts})), folder / "trials.parquet")


def load(folder: str | Path) -> Results:
    """Read a run's folder, also one that an earlier version wrote. Raises UserError where a file is missing, torn, or
    lacks a column."""
    folder = Path(folder)
    trials, epochs = _read(folder / "trials.parquet", TRIALS), _read(folder / "epochs.parquet", EPOCHS)
    try:
        run = json.loads((trials.schema.metadata or {}).get(b"run", b"{}"))
    except ValueError as error:
        raise UserError(f"{folder / 'trials.parquet'} has damaged facts of its run; run the benchmark again") from error
    frame = trials.to_pandas()
    if HELD_OUT in frame:
        frame[column("train", SELECTION)], run["held_out"] = frame[HELD_OUT], True
    return Results(frame, epochs.to_pandas(), run)


def _table(rows: Records, schema: pa.Schema) -> pa.Table:
    rows = list(rows)
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _write(table: pa.Table, path: Path) -> None:
    write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    if not path.is_file():
        raise UserError(f"{path} is missing; a run's folder holds trials.parquet and epochs.parquet")
    try:
        with open(path, "rb") as file:  # PyArrow opens no path that is not UTF-8
            table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path} is not a whole Parquet file ({_first_line(error)}); run the benchmark again to remake it"
        ) from error
    missing = [field.name for field in schema if field.name not in table.column_names]
    for name in (ADDED | MEASURED).intersection(missing):
        table = table.append_column(name, pa.nulls(len(table), schema.field(name).type))
        missing.remove(name)
    if missing:
        raise UserError(f"{path} lacks the column {missing[0]!r}; another version of this program wrote it")
    # Of columns that this version does not know those of numbers stay, as a metric's are.
    for field in table.schema:
        if field.name not in schema.names and field.type == pa.float64():
            schema = schema.append(field)
    try:
        return table.select(schema.names).cast(schema.with_metadata(table.schema.metadata))
    except (pa.ArrowException, ValueError) as error:
        raise UserError(
            f"{path} holds a column of another type ({_first_line(error)}); another program wrote it"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
