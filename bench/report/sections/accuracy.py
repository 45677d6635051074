"""The test accuracy of each method, and what tuning adds to the published recipe."""

import json
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.columns import gain_note, gain_text
from bench.report.page import GREY, LEGEND_ABOVE, Page, text, upright
from bench.report.rows import Row
from bench.report.statistics import Estimate
from bench.report.text import capital, seeds_note, with_interval

LONGEST = 32
"""Characters of a name on one line: more would leave a narrow screen no room for the chart."""


class Button(NamedTuple):
    """What changes a chart's axes."""

    change: str
    """Of the layout, as JSON."""
    label: str


def section(page: Page) -> Markup:
    tested = measured(page.rows)[::-1]  # Plotly counts upwards
    if not tested:
        return page.empty(
            f"No method has met the {page.judged.images} yet: that happens once, when its winner is confirmed."
        )
    methods = [row for row, _ in tested if not row.baseline]
    buttons = []
    if methods and len(methods) < len(tested):
        lowest = len(tested) - len(methods)
        near = [pair for pair in tested if not pair[0].baseline]
        buttons = [
            _button("with baselines", around(tested), [-0.7, len(tested) - 0.4]),
            _button("methods only", around(near), [lowest - 0.7, len(tested) - 0.4]),
        ]
    frozen = [estimate.mean for row, estimate in tested if row.frozen and row.ranks]
    chart = page.chart(
        "accuracy",
        [trace for place, (row, estimate) in enumerate(tested) for trace in _traces(page, place, row, estimate)],
        "Test accuracy by method" if page.judged.ranks else f"{capital(page.judged.test_kind)}, by method",
        height=90 + 34 * len(tested),
        showlegend=False,
        shapes=[upright(100 * max(frozen), "dot", 1.5)] if frozen else [],
        xaxis={"title": {"text": page.judged.test_heading}, "range": around(tested)},
        yaxis={
            "range": [-0.7, len(tested) - 0.4],
            "showgrid": False,
            "tickvals": list(range(len(tested))),
            "ticktext": [with_note(row) for row, _ in tested],
        },
    )
    return page.render(
        "accuracy.html",
        buttons=buttons,
        chart=chart,
        gain=_gain(page),
        ranks=page.judged.ranks,
        frozen=bool(frozen),
    )


def measured(rows: list[Row]) -> list[tuple[Row, Estimate]]:
    """The rows that have a test accuracy, with it."""
    return [(row, row.accuracy) for row in rows if row.accuracy]


def with_note(row: Row) -> str:
    """A row's name for a chart, and below it what failed."""
    lines = map(text, textwrap.wrap(row.title, LONGEST))
    return "<br>".join(lines) + _below(seeds_note(row.accuracy, row.failed_seeds))


def around(tested: list[tuple[Row, Estimate]]) -> list[float]:
    """An axis that holds the test accuracies and their intervals, in percent, and nothing that cannot be."""
    ends = [estimate.mean + sign * (estimate.half_width or 0) for _, estimate in tested for sign in (-1, 1)]
    pad = 0.06 * (max(ends) - min(ends)) or 0.01
    return [100 * max(-0.01, min(ends) - pad), 100 * min(1.01, max(ends) + pad)]


def bars(half: float | None, color: str, width: float) -> dict[str, Any] | None:
    """An interval's bars, in percent."""
    return None if half is None else {"array": [100 * half], "thickness": 1.5, "width": width, "color": color}


def _below(note: str) -> str:
    return f"<br>{note}" if note else ""


def _button(label: str, xs: list[float], ys: list[float]) -> Button:
    return Button(json.dumps({"xaxis": {"range": xs}, "yaxis": {"range": ys}}), label)


def _traces(page: Page, place: int, row: Row, estimate: Estimate) -> list[Any]:
    """The seeds of a row, and its mean with the interval."""
    color = GREY if row.baseline else page.color(row.method)
    symbol = "circle" if row.baseline else page.shape(row.method)[0]
    seeds = list(estimate.values)
    return [
        go.Scatter(
            x=[100 * value for value in estimate.values.values()],
            y=[place - 0.28] * len(seeds),
            customdata=seeds,
            mode="markers",
            marker={"color": color, "symbol": "circle-open", "size": 6},
            hovertemplate=f"{text(row.title)}<br>seed %{{customdata}}: %{{x:.2f}} %<extra></extra>",
        ),
        go.Scatter(
            x=[100 * estimate.mean],
            y=[place],
            error_x=bars(estimate.half_width, color, 5),
            mode="markers",
            marker={"color": color, "symbol": symbol, "size": 10},
            hovertemplate=f"{with_note(row)}<br>{with_interval(estimate)} %<extra></extra>",
        ),
    ]


def _gain(page: Page) -> Markup:
    both = [
        (row, 100 * row.published.mean, 100 * row.accuracy.mean)
        for row in page.methods[::-1]
        if row.accuracy and row.published
    ]
    if not both:
        return page.empty("No method has both its published recipe and its winner confirmed yet.")
    ours = [(place, 100 * row.ours.mean) for place, (row, *_) in enumerate(both) if row.ours]
    places = list(range(len(both)))
    labels = [gain_text(row) + _below(gain_note(row)) for row, *_ in both]
    traces = [
        go.Scatter(
            x=np.array([[published, tuned, np.nan] for _, published, tuned in both]).ravel(),
            y=np.repeat(np.arange(len(both), dtype=float), 3),
            mode="lines",
            line={"color": GREY, "width": 2},
            hoverinfo="skip",
            showlegend=False,
        ),
        _recipes("published recipe", "circle-open", [published for _, published, _ in both], places),
        go.Scatter(
            x=[tuned for *_, tuned in both],
            y=places,
            name="tuned",
            mode="markers",
            marker={"size": 10, "color": [page.color(row.method) for row, *_ in both]},
            customdata=labels,
            hovertemplate="tuned: %{x:.2f} % (%{customdata})<extra></extra>",
        ),
    ]
    if ours:
        traces.append(_recipes("our recipe", "diamond-open", [x for _, x in ours], [place for place, _ in ours]))
    ends = [end for _, *pair in both for end in pair] + [x for _, x in ours]
    pad = max(0.5, 0.06 * (max(ends) - min(ends)))
    notes = [_beside(place, label) for place, label in enumerate(labels)]
    chart = page.chart(
        "gain",
        traces,
        "Published recipe against tuned",
        height=100 + 30 * len(both),
        margin={"l": 50, "r": 150 if any(gain_note(row) for row, *_ in both) else 104, "t": 14, "b": 44},
        annotations=notes,
        legend=LEGEND_ABOVE,
        xaxis={"title": {"text": page.judged.test_heading}, "range": [min(ends) - pad, max(ends) + pad]},
        yaxis={
            "range": [-0.7, len(both) - 0.3],
            "showgrid": False,
            "tickvals": places,
            "ticktext": [text(row.title) for row, *_ in both],
        },
    )
    return page.render("gain.html", chart=chart, ours=bool(ours))


def _recipes(name: str, symbol: str, xs: list[float], ys: list[int]) -> Any:
    return go.Scatter(
        x=xs,
        y=ys,
        name=name,
        mode="markers",
        marker={"symbol": symbol, "size": 9, "color": GREY, "line": {"width": 2}},
        hovertemplate=f"{name}: %{{x:.2f}} %<extra></extra>",
    )


def _beside(place: int, label: str) -> Mapping[str, Any]:
    """A text to the right of the chart."""
    return {
        "x": 1,
        "xref": "paper",
        "y": place,
        "text": label,
        "showarrow": False,
        "xanchor": "left",
        "align": "left",
        "xshift": 8,
    }
