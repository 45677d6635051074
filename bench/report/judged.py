"""By what a run was judged, and what that is called: where labels are few or none it is no accuracy, and no output may
call it one. All of them ask here."""

from dataclasses import dataclass
from typing import Self

import pandas as pd

from algorithms.evaluation.choosing import ENOUGH
from algorithms.evaluation.metrics import CRITERIA, INSTANCE_ACCURACY, JUDGED, METRICS, SELECTION, Metric
from bench.report.run import Run
from bench.report.text import heading

IMAGES = ("train", "test")
TESTED = [metric for metric in METRICS.values() if "test" in metric.images and metric.protocol == "knn"]


def column(images: str, metric: Metric) -> str:
    """The column in `trials.parquet` of a metric on these images."""
    return f"{images}_{metric.name}"


HELD_OUT = f"validation_{SELECTION.name}"
"""In files of earlier versions, whose searches were judged on images held out, what the search's kNN is now."""


@dataclass(frozen=True)
class Judged:
    """The figures of a run that compare one training with another."""

    chosen: Metric
    """By which the search chose: leave-one-out kNN, or `JUDGED` where labels are few or none."""
    tested: Metric
    """By which encoders are tested: kNN on test images, or instance accuracy on held-out images without labels."""
    labels: bool
    """Whether labels had a part in it."""
    validation: bool
    """Whether images that were held out judged the search, as in earlier versions."""

    @classmethod
    def of(cls, trials: pd.DataFrame, run: Run) -> Self:
        """Of a run by the columns that hold figures; before there is one, by how many images have labels."""

        def seen(images: str, metric: Metric) -> bool:
            return bool(trials[column(images, metric)].notna().any())

        labelled = ((run.get("facts") or {}).get("images") or {}).get("labelled", ENOUGH)
        chosen = next((metric for metric in (JUDGED, SELECTION) if seen("train", metric)), None)
        tested = next((metric for metric in (SELECTION, INSTANCE_ACCURACY) if seen("test", metric)), None)
        return cls(
            chosen or (JUDGED if labelled < ENOUGH else SELECTION),
            tested or (SELECTION if labelled else INSTANCE_ACCURACY),
            seen("train", SELECTION) or (labelled > 0 and chosen is not JUDGED),
            bool(run.get("held_out")),
        )

    @property
    def train(self) -> str:
        """The column of the search's figure."""
        return column("train", self.chosen)

    @property
    def test(self) -> str:
        """The column of the test's."""
        return column("test", self.tested)

    @property
    def ranks(self) -> bool:
        """Whether one method's test may be compared with another's. Instance accuracy was measured not to allow it
        (`reports/tabular/criteria/across.md`)."""
        return self.tested is SELECTION

    @property
    def ranks_searches(self) -> bool:
        """The same of the searches' figures."""
        return self.chosen is SELECTION

    @property
    def measures(self) -> list[Metric]:
        """What is told of the test images, that by which they are judged first: of those with labels what wants labels,
        of others the rest."""
        told = [metric for metric in TESTED if (metric in CRITERIA) == (self.tested in CRITERIA)]
        return sorted(told, key=lambda metric: metric is not self.tested)

    # ---- what it is called ----

    @property
    def search_noun(self) -> str:
        """The search's figure in a sentence."""
        if self.chosen is SELECTION:
            return "accuracy"
        return self.chosen.title if self.labels else INSTANCE_ACCURACY.title

    @property
    def search(self) -> str:
        """The search's figure, beside a test's."""
        if self.chosen is SELECTION:
            return "validation" if self.validation else "leave-one-out"
        return self.chosen.title if self.labels else f"{INSTANCE_ACCURACY.title}, training images"

    @property
    def search_heading(self) -> str:
        """The same for an axis."""
        return heading(SELECTION, self.search) if self.chosen is SELECTION else f"{self.search}, %"

    @property
    def search_kind(self) -> str:
        """The same behind a number: `50 % leave-one-out kNN`."""
        return f"{self.search} kNN" if self.chosen is SELECTION else self.search

    @property
    def noun(self) -> str:
        """The test's figure in a sentence."""
        return "accuracy" if self.tested is SELECTION else self.tested.title

    @property
    def test_heading(self) -> str:
        """The test's figure for a column or an axis."""
        return heading(SELECTION, "test") if self.tested is SELECTION else f"{self.tested.title}, held out, %"

    @property
    def test_kind(self) -> str:
        """The same behind a number: `50 % test kNN`."""
        return "test kNN" if self.tested is SELECTION else f"{self.tested.title}, held out"

    @property
    def images(self) -> str:
        """On which encoders are tested."""
        return "test images" if self.tested is SELECTION else "held-out images"
