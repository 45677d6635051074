"""How much each hyper-parameter mattered."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.page import GREY, text
from bench.report.sections.method.tried import Tried

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


def importances(
    space: Mapping[str, Mapping[str, Any]], settings: pd.DataFrame, accuracy: pd.Series
) -> dict[str, tuple[float, float, float]]:
    """PED-ANOVA importance of each searched hyper-parameter: median, least and most over resamples."""
    import optuna

    from bench.search.space import SearchSpace

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
        study = optuna.create_study(direction="maximize")
        study.add_trials([trials[at] for at in generator.integers(len(trials), size=size)])
        with warnings.catch_warnings():  # of trials that are as good as each other: shown as equal importances
            warnings.simplefilter("ignore", UserWarning)
            found = optuna.importance.get_param_importances(study)
        for name, value in found.items():
            samples.setdefault(name.removeprefix("one_minus_"), []).append(value)
    return {name: _summary(values) for name, values in samples.items()}


def _summary(values: list[float]) -> tuple[float, float, float]:
    middle, least, most = np.quantile(np.pad(values, (0, BOOTSTRAPS - len(values))), [0.5, 0, 1]).tolist()
    return middle, least, most
