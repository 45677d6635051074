"""How much each hyper-parameter mattered."""

import copy
import warnings
from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import optuna
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from optuna.trial import FrozenTrial, TrialState

from bench.report.page import GREY, text
from bench.report.sections.method.tried import Tried
from bench.search.space import SearchSpace

ENOUGH = 40
"""Fewer full trials than this give importances anywhere between 0.1 and 1 for the same truth."""
BOOTSTRAPS, RESAMPLED = 12, 100
"""Resamples for an importance's bars, and the most trials in one: an evaluation costs more the more it has."""


def part(tried: Tried) -> Markup:
    complete = tried.trials[(tried.trials.state == "complete") & tried.trials[tried.figure].notna()]
    if len(complete) < ENOUGH:
        why = f"estimates are unreliable below {ENOUGH} full trials, and this method has {len(complete)}"
        return tried.page.render("importance.html", chart=None, why=why)
    if not tried.space:
        return tried.page.render("importance.html", chart=None, why="the run has no record of the ranges")
    found = importances(tried.space, tried.settings.loc[complete.index], complete[tried.figure])
    names = sorted(found, key=lambda name: found[name][0])
    trace = go.Bar(
        x=np.array([found[name][0] for name in names]),
        y=[text(name.replace("_", " ")) for name in names],
        orientation="h",
        marker={"color": tried.color},
        error_x={
            "array": [found[name][2] - found[name][0] for name in names],
            "arrayminus": [found[name][0] - found[name][1] for name in names],
            "color": GREY,
            "thickness": 1.5,
        },
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )
    chart = tried.page.chart(
        f"importance-{tried.place}",
        [trace],
        "Importance of the hyper-parameters",
        height=70 + 28 * len(names),
        bargap=0.4,
        xaxis={"range": [0, 1]},
        yaxis={"type": "category", "showgrid": False},
    )
    resampled = min(len(complete), RESAMPLED)
    return tried.page.render(
        "importance.html", chart=chart, trials=len(complete), bootstraps=BOOTSTRAPS, resampled=resampled
    )


class _Given(optuna.storages.InMemoryStorage):
    """Trials that are only read: to add each to a study would copy it twice, which takes as long as all the rest."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        super().__init__()
        self._given = [copy.copy(trial) for trial in trials]
        for number, trial in enumerate(self._given):
            trial.number = trial._trial_id = number  # one that was drawn twice is two

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [trial for trial in self._given if states is None or trial.state in states]


def importances(
    space: Mapping[str, Mapping[str, Any]], settings: pd.DataFrame, accuracy: pd.Series
) -> dict[str, tuple[float, float, float]]:
    """PED-ANOVA importance of each searched hyper-parameter: median, least and most over resamples."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = SearchSpace("", "", {}, {name: dict(entry) for name, entry in space.items()})
    distributions = search.distributions()
    trials = []
    for record, value in zip(settings.to_dict("records"), accuracy, strict=True):
        hyperparameters = {str(name): of for name, of in record.items()}
        if not search.proposes(hyperparameters):
            continue
        params = search.to_params(hyperparameters)
        for name, distribution in distributions.items():
            # 1 - (1 - x) may lie a rounding outside
            if isinstance(distribution, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution):
                params[name] = min(max(params[name], distribution.low), distribution.high)
        trial = optuna.trial.create_trial(params=params, distributions=distributions, value=float(value))
        trials.append(trial)
    generator, size = np.random.default_rng(0), min(len(trials), RESAMPLED)
    samples: dict[str, list[float]] = {}
    for _ in range(BOOTSTRAPS):
        sample = [trials[at] for at in generator.integers(len(trials), size=size)]
        study = optuna.create_study(direction="maximize", storage=_Given(sample))
        with warnings.catch_warnings():  # of trials that are as good as each other: shown as equal importances
            warnings.simplefilter("ignore", UserWarning)
            found = optuna.importance.get_param_importances(study)
        for name, value in found.items():
            samples.setdefault(name.removeprefix("one_minus_"), []).append(value)
    return {name: _summary(values) for name, values in samples.items()}


def _summary(values: list[float]) -> tuple[float, float, float]:
    middle, least, most = np.quantile(np.pad(values, (0, BOOTSTRAPS - len(values))), [0.5, 0, 1]).tolist()
    return middle, least, most
