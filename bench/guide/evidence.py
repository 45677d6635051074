"""What has been measured of a method, here and elsewhere: the table of learning, the runs that are kept, anchors."""

import statistics
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from bench.report import anchors, results
from bench.report.results import Results
from bench.report.rows import Row, rows

PROJECT = Path(__file__).resolve().parents[2]
REPORTS = PROJECT / "reports"
RUNS = ("cifar10-resnet8",)
"""The runs that are kept with the project, as folders of reports/; others that lie there are no evidence of it."""
LEARNING = "python -m tests.learning --data PATH_TO_CIFAR10"
"""The command that makes the table of learning."""


@dataclass(frozen=True)
class Learned:
    """A method's rows of reports/learning/results.csv: kNN, as fractions, a value a seed."""

    encoder: str
    images: int
    test_images: int
    image_size: int
    epochs: int
    device: str
    before: list[float]
    """Of the encoder as it was initialised."""
    after: list[float]
    pixels: list[float]
    """Of raw pixels."""

    @property
    def accuracy(self) -> float:
        return statistics.fmean(self.after)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds; None of one."""
        return statistics.stdev(self.after) if len(self.after) > 1 else None

    @property
    def gain(self) -> float:
        """Over the random initialisation."""
        return self.accuracy - statistics.fmean(self.before)

    @property
    def above_pixels(self) -> float:
        return self.accuracy - statistics.fmean(self.pixels)


@cache
def _learning() -> pd.DataFrame:
    path = REPORTS / "learning" / "results.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame({"method": []})


def learned(name: str) -> Learned | None:
    """What a method learns in ten short epochs at its default recipe; None where that was not measured."""
    found = _learning()
    found = found[found.method == name]
    if not len(found):
        return None
    first = found.iloc[0]
    return Learned(
        encoder=str(first.trained_encoder),
        images=int(first.images),
        test_images=int(first.test_images),
        image_size=int(first.image_size),
        epochs=int(first.epochs),
        device=str(first.device),
        before=found.knn_before.tolist(),
        after=found.knn_after.tolist(),
        pixels=found.knn_pixels.tolist(),
    )


@cache
def runs() -> dict[str, tuple[Results, list[Row]]]:
    """The runs that are kept, by the name of the folder, and the rows of their tables."""
    loaded = {name: results.load(REPORTS / name) for name in RUNS if (REPORTS / name / "trials.parquet").exists()}
    return {name: (found, rows(found)) for name, found in loaded.items()}


@cache
def published() -> list[anchors.Anchor]:
    """The numbers of all methods that others published."""
    return anchors.load()
