"""Which methods differ beyond doubt, how probably one is better than another, and what seeds and searches do."""

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.page import GREY, Chart, Page, small, text
from bench.report.rows import Row
from bench.report.text import DASH, percent
from bench.report.verdict import uncertainty


def section(page: Page) -> Markup | None:
    """None where no two methods can be compared."""
    found = page.comparison
    shown = {row.method: row for row in page.methods}
    ordered = found.ordered(name for name, row in shown.items() if row.ranks and row.whole)
    if len(ordered) < 2:
        return None
    rows = [shown[name] for name in ordered]
    lines = []
    for row in rows:
        by = uncertainty(row, page.results, found)
        lines.append([row, percent(found.estimates[row.method].mean), _points(by.seeds), _points(by.search)])
    own = any(row.own_encoder for row in rows)
    return page.render(
        "differences.html", diagram=_diagram(page, rows), matrix=_matrix(page, rows), lines=lines, own=own
    )


def _points(value: float | None) -> str:
    return DASH if value is None else f"± {100 * value:.2f}"


def _diagram(page: Page, rows: list[Row]) -> Chart:
    """Means on an axis, and a bar over those of which no two differ."""
    found = page.comparison
    names = [row.method for row in rows]
    groups = found.groups(names)
    place = {name: len(names) - 1 - order for order, name in enumerate(names)}
    columns = [
        go.Scatter(
            x=[1.0 + order] * 2,
            y=[place[group[0]] + 0.32, place[group[-1]] - 0.32],
            xaxis="x2",
            mode="lines",
            line={"color": GREY, "width": 6},
            hovertemplate=f"no two of these {len(group)} differ beyond doubt<extra></extra>",
        )
        for order, group in enumerate(groups)
    ]
    points = [
        go.Scatter(
            x=[100 * found.estimates[row.method].mean],
            y=[place[row.method]],
            error_x={"array": [100 * found.half_width(row.method)], "color": page.color(row.method), "width": 4},
            mode="markers",
            marker={"color": page.color(row.method), "symbol": page.shape(row.method)[0], "size": 10},
            hovertemplate=f"{text(row.title)}: %{{x:.2f}} %<extra></extra>",
        )
        for row in rows
    ]
    return page.chart(
        "critical-differences",
        [*points, *columns],
        "Means of the methods, and which of them do not differ beyond doubt",
        height=90 + 26 * len(rows),
        showlegend=False,
        xaxis={"title": {"text": page.judged.test_heading}, "domain": [0, 0.78]},
        xaxis2={"domain": [0.81, 1], "range": [0.3, max(4, len(groups)) + 0.7], "visible": False},
        yaxis={
            "range": [-0.7, len(rows) - 0.3],
            "showgrid": False,
            "tickvals": [place[name] for name in names],
            "ticktext": [text(row.title) for row in rows],
        },
    )


def _matrix(page: Page, rows: list[Row]) -> Chart:
    """The probability that the method of a line is better than that of a column."""
    found, names = page.comparison, [row.method for row in rows]
    likely = np.array([[100 * found.better(one, other) for other in names] for one in names])
    np.fill_diagonal(likely, np.nan)
    titles = [text(row.title) for row in rows]
    heat = go.Heatmap(
        x=titles,
        y=titles,
        z=small(likely),
        zmin=0,
        zmax=100,
        colorscale=[[0, "#d55e00"], [0.5, "#e8eaed"], [1, "#0072b2"]],
        colorbar={"title": {"text": "%"}, "thickness": 12},
        xgap=1,
        ygap=1,
        hovertemplate="%{y} is better than %{x} with %{z:.1f} %<extra></extra>",
    )
    return page.chart(
        "better",
        [heat],
        "The probability that the method of a line is better than that of a column",
        height=140 + 22 * len(rows),
        xaxis={"side": "bottom", "tickangle": -45, "showgrid": False, "title": {"text": "than"}},
        yaxis={"autorange": "reversed", "showgrid": False, "title": {"text": "better"}},
    )
