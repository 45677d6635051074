"""Every trial's curve: its accuracy in the search and its loss by epoch."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from numpy.typing import NDArray

from bench.report.page import GREY, LEGEND_ABOVE, STATE_COLORS, Chart, small
from bench.report.sections.method.tried import Tried, epoch_ticks, sample

CURVES, POINTS = 120, 60
"""The most curves drawn per method, and points per curve: the page stays small with thousands of trials."""

Curve = tuple[NDArray[np.integer], NDArray[np.floating]]
"""Epochs, rising, and the figure of each."""
Group = tuple[str, pd.DataFrame, str, str, float]
"""Trials that look the same: their name, they, the colour, dash and width of their curves."""


def part(tried: Tried) -> Markup:
    drawn, judged = sample(tried.trials, tried.figure, CURVES), tried.page.judged
    groups = _groups(tried, drawn)
    quantities = ((judged.chosen.name, 100, judged.search_heading), ("loss", 1, "training loss"))
    charts = [chart for quantity in quantities if (chart := _chart(tried, groups, *quantity))]
    if not charts:
        return tried.page.empty("No trial of this method has reported an epoch.")
    left_out = f"{len(drawn)} of {len(tried.trials):,}" if len(drawn) < len(tried.trials) else ""
    return tried.page.render("curves.html", charts=charts, left_out=left_out)


def _groups(tried: Tried, drawn: pd.DataFrame) -> list[Group]:
    groups: list[Group] = [
        ("pruned", drawn[drawn.state == "pruned"], GREY, "solid", 1.1),
        ("failed", drawn[drawn.state == "failed"], STATE_COLORS["failed"], "dot", 1.4),
        ("cut or running", drawn[drawn.state.isin(["cut", "running"])], STATE_COLORS["cut"], "dash", 1.2),
        ("complete", drawn[drawn.state == "complete"], tried.color, "solid", 1.3),
    ]
    if tried.winner is not None:
        groups.append(("best", tried.trials.loc[[tried.winner.name]], tried.color, "solid", 3.2))
    return groups


def _chart(tried: Tried, groups: list[Group], column: str, factor: float, label: str) -> Chart | None:
    """None where nothing was reported of it."""
    page, trials = tried.page, tried.trials
    numbers = tried.numbers.set_axis(trials.uid)
    epochs = page.epochs[page.epochs.uid.isin(trials.uid)]
    told = epochs[epochs[column].notna()].sort_values(["uid", "epoch"])
    if not len(told):
        return None
    uids, first = np.unique(told.uid.to_numpy(dtype=str), return_index=True)
    by_trial: dict[str, Curve] = dict(
        zip(
            uids.tolist(),
            zip(np.split(told.epoch.to_numpy(), first[1:]), np.split(told[column].to_numpy(), first[1:]), strict=True),
            strict=True,
        )
    )
    traces = []
    for name, some, color, dash, width in groups:
        drawn = [uid for uid in some.uid if uid in by_trial]
        if not drawn:
            continue
        pieces = [_thin(by_trial[uid]) for uid in drawn]
        gap = [np.nan]
        traces.append(
            go.Scatter(
                x=small(np.concatenate([np.append(epoch, gap) for epoch, _ in pieces])),
                y=small(np.concatenate([np.append(factor * value, gap) for _, value in pieces])),
                customdata=small(np.repeat(numbers[drawn].to_numpy(), [len(epoch) + 1 for epoch, _ in pieces])),
                name=name,
                mode="lines+markers"
                if max(len(epoch) for epoch, _ in pieces) == 1 or name in ("best", "failed")
                else "lines",
                opacity=1.0 if name == "best" else 0.6,
                line={"color": color, "dash": dash, "width": width},
                marker={"size": 5},
                hovertemplate=f"trial %{{customdata}} ({name}), epoch %{{x}}: %{{y:.4~g}}<extra></extra>",
            )
        )
    if not traces:
        return None
    return page.chart(
        f"{column}-{tried.place}",
        traces,
        f"{label} of every trial of {tried.row.title}",
        height=330,
        showlegend=True,
        legend=LEGEND_ABOVE,
        margin={"l": 50, "r": 12, "t": 30, "b": 40},
        xaxis={"title": {"text": "epoch"}} | epoch_ticks(page),
        yaxis={"title": {"text": label}},
    )


def _thin(curve: Curve) -> Curve:
    """At most POINTS points of a curve, the first and last among them."""
    epoch, value = curve
    if len(epoch) <= POINTS:
        return curve
    kept = np.unique(np.linspace(0, len(epoch) - 1, POINTS).astype(int))
    return epoch[kept], value[kept]
