"""Accuracy in the search against each hyper-parameter."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.page import STATE_COLORS, Chart, small, upright
from bench.report.sections.method.axes import axis, edge
from bench.report.sections.method.tried import Tried
from bench.report.text import capital, value_text

Group = tuple[str, pd.DataFrame, str, str, int]
"""Trials that look the same: their name, they, the colour, symbol and size of their marks."""


class Slice(NamedTuple):
    """One hyper-parameter."""

    name: str
    flag: str
    """Where the best value is at an end of its range, that it is."""
    chart: Chart


def part(tried: Tried) -> Markup:
    names, drawn = tried.searched, tried.drawn
    if not names or not len(drawn):
        return Markup()
    groups = _groups(tried, drawn)
    slices = [_slice(tried, drawn, groups, number, name) for number, name in enumerate(names)]
    return tried.page.render("slices.html", slices=slices, noun=capital(tried.page.judged.search_noun))


def _groups(tried: Tried, drawn: pd.DataFrame) -> list[Group]:
    groups: list[Group] = [
        ("not finished", drawn[drawn.state != "complete"], STATE_COLORS["pruned"], "circle-open", 5),
        ("complete", drawn[drawn.state == "complete"], tried.color, "circle", 7),
    ]
    if tried.winner is not None and tried.winner.name in drawn.index:
        groups.append(("best", drawn.loc[[tried.winner.name]], tried.color, "star", 14))
    return groups


def _slice(tried: Tried, drawn: pd.DataFrame, groups: list[Group], number: int, name: str) -> Slice:
    entry, settings = tried.space[name], tried.settings
    values = axis(name, entry, settings.loc[drawn.index, name])
    at = pd.Series(values.values.astype(float), index=drawn.index)
    traces = [
        go.Scatter(
            x=small(at[some.index]),
            y=small(100 * some[tried.figure]),
            customdata=[value_text(value) for value in settings.loc[some.index, name]],
            mode="markers",
            marker={"color": mark, "symbol": symbol, "size": size, "opacity": 0.85},
            hovertemplate=f"%{{customdata}}: %{{y:.2f}} % ({label})<extra></extra>",
        )
        for label, some, mark, symbol, size in groups
        if len(some)
    ]
    pad = 0.06 * (values.high - values.low)
    ends = (values.low - pad, values.high + pad)
    chart = tried.page.chart(
        f"slice-{tried.place}-{number}",
        traces,
        f"{capital(tried.page.judged.search_noun)} in the search by {name}",
        height=210,
        margin={"l": 36, "r": 8, "t": 6, "b": 30},
        showlegend=False,
        shapes=[
            upright(place, dash, 1.2) for place, dash in _recipes(name, entry).items() if ends[0] <= place <= ends[1]
        ],
        xaxis={"range": list(ends), "tickvals": values.tickvals, "ticktext": values.ticktext},
        yaxis={"nticks": 5},
    )
    flag = edge(entry, settings.at[tried.winner.name, name]) if tried.winner is not None else ""
    return Slice(name.replace("_", " "), flag, chart)


def _recipes(name: str, entry: Mapping[str, Any]) -> dict[float, str]:
    """Where the recipes lie, and the dash of each one's line."""
    of = {"dash": entry["default"], "dot": entry.get("published", entry["default"])}  # of equals the dots stay
    return {float(axis(name, entry, [value]).values[0]): dash for dash, value in of.items()}
