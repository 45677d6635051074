"""What the parts of a method's block are made from: its trials, their settings and the range of each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.report.page import Page
from bench.report.rows import Row
from bench.report.run import spaces
from bench.report.trials import winning_trial

MARKS = 400
"""The most trials drawn in one scatter or parallel-coordinates plot."""


@dataclass(frozen=True)
class Tried:
    """What was tried of one method."""

    page: Page
    place: int
    """Of its block on the page."""
    row: Row
    every: pd.DataFrame
    """Its trials."""
    trials: pd.DataFrame
    """Those of its search."""
    settings: pd.DataFrame
    """The hyper-parameters that each of these was asked for: a row a trial."""
    space: Mapping[str, Mapping[str, Any]]
    """The entry of each hyper-parameter in the search space."""
    winner: pd.Series | None
    """The search trial that was chosen or, while the search is on, that is the best."""

    @property
    def figure(self) -> str:
        """The column of the figure by which the search chose."""
        return self.page.judged.train

    @property
    def color(self) -> str:
        return self.page.color(self.row.method)

    @property
    def numbers(self) -> pd.Series:
        """The number by which a reader finds a trial, by the trial's index."""
        return pd.Series(range(len(self.trials)), index=self.trials.index)

    @property
    def searched(self) -> list[str]:
        """The hyper-parameters that have a range or a choice."""
        return [
            name for name, entry in self.space.items() if entry.keys() & {"low", "choices"} and name in self.settings
        ]

    @property
    def drawn(self) -> pd.DataFrame:
        """Of the trials with an accuracy as many as one plot holds."""
        return sample(self.trials[self.trials[self.figure].notna()], self.figure, MARKS)


def tried(page: Page, place: int, row: Row) -> Tried:
    every = page.trials[page.trials.method == row.method]
    trials = every[every.stage == "search"]
    winner = winning_trial(trials, page.run)
    figure = page.judged.train
    complete = trials[(trials.state == "complete") & trials[figure].notna()]
    if winner is None and len(complete):
        winner = complete.iloc[int(complete[figure].argmax())]
    settings = pd.DataFrame([json.loads(entry) for entry in trials.hyperparameters], index=trials.index)
    space = spaces(page.run).get(row.method, {}).get("hyperparameters") or {}
    return Tried(page, place, row, every, trials, settings, space, winner)


def sample(trials: pd.DataFrame, figure: str, most: int) -> pd.DataFrame:
    """At most `most` trials: the half of them with the highest in the column `figure`, and the others at even
    distances."""
    if len(trials) <= most:
        return trials
    best = trials[figure].nlargest(most // 2).index
    others = trials.index.difference(best)
    kept = others[np.linspace(0, len(others) - 1, most - len(best)).astype(int)]
    return trials.loc[best.union(kept)]


def epoch_ticks(page: Page) -> dict[str, Any]:
    """Ticks of an axis of epochs: none between two of them."""
    return {"dtick": 1} if page.trials.epochs.max() <= 10 else {}
