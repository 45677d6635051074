"""Every trial's curve: its accuracy in the search and its loss by epoch."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.page import GREY, LEGEND_ABOVE, STATE_COLORS, Chart, small
from bench.report.sections.method.tried import Tried, epoch_ticks, sample

CURVES, POINTS = 120, 60
"""The most curves drawn per method, and points per curve: the page stays small with thousands of trials."""

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
    by_trial = {str(uid): part for uid, part in epochs[epochs[column].notna()].groupby("uid")}
    traces = []
    for name, some, color, dash, width in groups:
        pieces = [_thin(by_trial[uid].sort_values("epoch")) for uid in some.uid if uid in by_trial]
        if not pieces:
            continue
        gap = [np.nan]
        traces.append(
            go.Scatter(
                x=small(np.concatenate([np.append(piece.epoch, gap) for piece in pieces])),
                y=small(np.concatenate([np.append(factor * piece[column], gap) for piece in pieces])),
                customdata=small(np.concatenate([np.repeat(numbers[p.uid.iloc[0]], len(p) + 1) for p in pieces])),
                name=name,
                mode="lines+markers" if max(map(len, pieces)) == 1 or name in ("best", "failed") else "lines",
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


def _thin(curve: pd.DataFrame) -> pd.DataFrame:
    """At most POINTS points of a curve, the first and last among them."""
    if len(curve) <= POINTS:
        return curve
    return curve.iloc[np.unique(np.linspace(0, len(curve) - 1, POINTS).astype(int))]
