"""What has been measured of a method, here and elsewhere: the table of learning, published runs, anchors."""

import statistics
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from bench.report import anchors, bundle
from bench.report.results import Results
from bench.report.rows import Row, rows
from bench.report.text import DASH

PROJECT = Path(__file__).resolve().parents[2]
REPORTS = PROJECT / "reports"
PUBLISHED = PROJECT / "results"
"""Where the runs lie that are evidence of the project, each in a bundle."""
LEARNING = "python -m tests.learning --data PATH_TO_CIFAR10"
"""The command that makes the table of learning."""


@dataclass(frozen=True)
class Learned:
    """A method's rows of reports/learning/results.csv: kNN and the linear probe, as fractions, a value a seed."""

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
    linear_before: list[float]
    linear_after: list[float]
    """Empty where there was no linear probe."""

    @property
    def accuracy(self) -> float:
        return statistics.fmean(self.after)

    @property
    def gain(self) -> float:
        """Over the random initialisation."""
        return self.accuracy - statistics.fmean(self.before)

    @property
    def above_pixels(self) -> float:
        return self.accuracy - statistics.fmean(self.pixels)


def with_spread(accuracies: list[float]) -> str:
    """The mean of accuracies, fractions, in %, and their standard deviation where there are several; a dash of none."""
    if not accuracies:
        return DASH
    spread = f" ± {100 * statistics.stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
    return f"{100 * statistics.fmean(accuracies):.1f}{spread}"


@cache
def _learning() -> pd.DataFrame:
    path = REPORTS / "learning" / "results.csv"
    found = pd.read_csv(path) if path.exists() else pd.DataFrame({"method": []})
    return found.reindex(columns=found.columns.union(["linear_before", "linear_after"]))


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
        linear_before=found.linear_before.dropna().tolist(),
        linear_after=found.linear_after.dropna().tolist(),
    )


@cache
def runs() -> dict[str, tuple[Results, list[Row]]]:
    """The published runs, by the name of the bundle, and the rows of their tables."""
    loaded = {path.name: bundle.load(path) for path in sorted(PUBLISHED.glob(f"*{bundle.SUFFIX}"))}
    return {name: (found, rows(found)) for name, found in loaded.items()}


@cache
def published() -> list[anchors.Anchor]:
    """The numbers of all methods that others published."""
    return anchors.load()
