"""Parallel coordinates: a line per trial across its hyper-parameters."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from numpy.typing import NDArray

from bench.report.page import GREY, small
from bench.report.sections.method.axes import Axis, axis, numbers
from bench.report.sections.method.tried import Tried
from bench.report.text import article

LADDER = ("#2b6cb0", "#5f97c4", "#93a9a0", "#c9a45a", "#e08a00")
"""From the worst fifth of the trials to the best."""

Group = tuple[NDArray[np.bool_], str, float, float]
"""Lines that look the same: which they are, their colour, width and opacity."""


def part(tried: Tried) -> Markup:
    names, drawn = tried.searched, tried.drawn
    if not names or not len(drawn):
        nothing = f"No trial of a searched hyper-parameter has reported {article(tried.page.judged.search_noun)}."
        return tried.page.render("parallel.html", chart=None, nothing=nothing)
    drawn = drawn.sort_values(tried.figure)
    accuracy = 100 * drawn[tried.figure]
    axes = [axis(name, tried.space[name], tried.settings.loc[drawn.index, name]) for name in names]
    axes.append(numbers("epochs reached", drawn.epoch, 0, max(1, int(drawn.epochs.max()))))
    axes.append(
        numbers(f"{tried.page.judged.search}, %", accuracy, accuracy.min(), max(accuracy.max(), accuracy.min() + 0.01))
    )
    width = len(axes)
    # a row per trial: where its line crosses each axis, from 0 to 1
    heights = np.stack([(np.asarray(each.values, dtype=float) - each.low) / (each.high - each.low) for each in axes], 1)
    told = small(np.stack([tried.numbers[drawn.index].to_numpy(), accuracy], 1))
    traces = [
        go.Scatter(
            x=small(np.tile([*range(width), np.nan], some.sum())),
            y=small(np.pad(heights[some], ((0, 0), (0, 1)), constant_values=np.nan).ravel()),
            customdata=np.repeat(told[some], width + 1, 0),
            hovertemplate="trial %{customdata[0]}: %{customdata[1]:.2f} %<extra></extra>",
            mode="lines",
            opacity=opacity,
            line={"color": color, "width": thickness},
        )
        for some, color, thickness, opacity in _groups((drawn.state == "complete").to_numpy(dtype=bool))
        if some.any()
    ]
    chart = tried.page.chart(
        f"parallel-{tried.place}",
        traces,
        f"Parallel coordinates of the trials of {tried.row.title}",
        height=330,
        margin={"l": 10, "r": 20, "t": 34, "b": 14},
        showlegend=False,
        annotations=[tick for at, each in enumerate(axes) for tick in _ticks(at, each)],
        shapes=[
            {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": {"width": 1.2}, "layer": "above"}
            for at in range(width)
        ],
        xaxis={
            "side": "top",
            "showgrid": False,
            "showline": False,
            "range": [-0.55, width - 0.85],
            "tickvals": list(range(width)),
            "ticktext": [each.label for each in axes],
        },
        yaxis={"visible": False, "range": [-0.04, 1.04]},
    )
    return tried.page.render("parallel.html", chart=chart, width=105 * width, noun=tried.page.judged.search_noun)


def _groups(complete: NDArray[np.bool_]) -> list[Group]:
    """Of trials that rise by their accuracy: those that did not finish, then the others from the worst to the best."""
    rank = np.zeros(len(complete), dtype=int)
    rank[complete] = np.arange(complete.sum()) * len(LADDER) // max(1, complete.sum())
    groups: list[Group] = [(~complete, GREY, 1.0, 0.45)]
    groups += [(complete & (rank == step), color, 1.8, 0.85) for step, color in enumerate(LADDER)]
    if complete.any():
        groups.append((np.arange(len(complete)) == np.flatnonzero(complete)[-1], LADDER[-1], 3.5, 1.0))
    return groups


def _ticks(place: int, axis: Axis) -> list[dict[str, Any]]:
    """The labels along one axis."""
    return [
        {
            "x": place,
            "y": (at - axis.low) / (axis.high - axis.low),
            "text": label,
            "showarrow": False,
            "xanchor": "right",
            "xshift": -3,
        }
        for at, label in zip(axis.tickvals, axis.ticktext, strict=True)
    ]
