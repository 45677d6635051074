"""What each method spent, and its accuracy against that."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.cards import duration
from bench.report.page import LEGEND_ABOVE, PALETTE, STATE_COLORS, Chart, Page, text, upright
from bench.report.rows import Row
from bench.report.run import compute_unit
from bench.report.sections.accuracy import around, bars, measured, with_note
from bench.report.statistics import Estimate
from bench.report.text import amount, capital, listed, with_interval


def section(page: Page) -> Markup:
    shown = [row for row in page.methods if row.device_seconds][::-1]
    if not shown:
        return page.empty("No compute has been spent yet.")
    return page.render(
        "compute.html",
        spent=_spent(page, shown),
        against=_accuracy_against_compute(page),
        noun=capital(page.judged.noun),
        judging=_judging(page),
    )


def _judging(page: Page) -> str:
    """What judging an encoder took, in a sentence; empty where nothing was judged."""
    trials = page.results.trials
    done = trials[(trials.stage == "evaluate") & (trials.state == "complete")]
    took = [
        f"{duration(float(some.median()))} ({protocol})"
        for protocol, some in done.groupby("protocol", sort=False).device_seconds
    ]
    if not took:
        return ""
    unit, length = compute_unit(page.run, float(done.device_seconds.sum()))
    return f"Judging one encoder took {listed(took)}, medians; all {amount(done.device_seconds.sum(), length)} {unit}."


def _purposes(page: Page) -> list[tuple[str, pd.DataFrame, str]]:
    """What compute was spent for: its name, its trials, its colour."""
    trials = page.results.trials
    search, race, judging = (trials.stage == stage for stage in ("search", "race", "evaluate"))
    return [
        *(
            (f"search, {state}", trials[search & (trials.state == state)], color)
            for state, color in STATE_COLORS.items()
        ),
        ("race on further seeds", trials[race], PALETTE[4]),
        ("confirming with fresh seeds", trials[~search & ~race & ~judging], PALETTE[0]),
        ("judging encoders", trials[judging], PALETTE[6]),
    ]


def _spent(page: Page, shown: list[Row]) -> Chart:
    unit, length = compute_unit(page.run, max(row.device_seconds for row in shown))
    traces = []
    for label, trials, color in _purposes(page):
        spent = trials.groupby("method").device_seconds.sum()
        seconds = np.array([spent.get(row.method, 0.0) for row in shown])
        if seconds.any():
            traces.append(
                go.Bar(
                    x=seconds / length,
                    y=list(range(len(shown))),
                    name=label,
                    orientation="h",
                    marker={"color": color, "line": {"width": 0}},
                    hovertemplate=f"%{{x:.3~g}} {unit} {label}<extra></extra>",
                )
            )
    share = page.run.get("share")
    return page.chart(
        "spent",
        traces,
        "Compute spent by each method",
        height=110 + 28 * len(shown),
        barmode="stack",
        showlegend=True,
        bargap=0.35,
        legend=LEGEND_ABOVE | {"traceorder": "normal"},
        shapes=[upright(share / length, "dot", 1.5)] if share else [],
        xaxis={"title": {"text": unit}},
        yaxis={
            "showgrid": False,
            "tickvals": list(range(len(shown))),
            "ticktext": [text(row.title) for row in shown],
        },
    )


def _accuracy_against_compute(page: Page) -> Markup:
    tested = measured(page.methods)
    if not tested:
        return page.empty(f"No method has met the {page.judged.images} yet.")
    costs: tuple[tuple[str, str, Callable[[Row], float | None]], ...] = (
        ("training", "one training", lambda row: row.training_seconds),
        ("all", "search and confirming", lambda row: row.device_seconds),
    )
    charts = []
    for name, label, cost in costs:
        paid = [(row, estimate, seconds) for row, estimate in tested if (seconds := cost(row))]
        if paid:
            charts.append(_against(page, f"compute-{name}", label, paid))
    return page.render("against.html", charts=charts, ranks=page.judged.ranks)


def _against(page: Page, name: str, label: str, paid: list[tuple[Row, Estimate, float]]) -> Chart:
    costs = [seconds for *_, seconds in paid]
    unit, length = compute_unit(page.run, max(costs))
    spread, margin = max(costs) / min(costs), 0.14 * (max(costs) - min(costs)) or 0.1 * max(costs)
    logarithmic = spread > 8
    xs = [float(np.log10(seconds)) if logarithmic else seconds for seconds in costs]
    sides = label_sides(xs, [estimate.mean for _, estimate, _ in paid])
    traces = []
    for side, (row, estimate, seconds) in zip(sides, paid, strict=True):
        color, (symbol, _) = page.color(row.method), page.shape(row.method)
        traces.append(
            go.Scatter(
                x=[seconds / length],
                y=[100 * estimate.mean],
                error_y=bars(estimate.half_width, color, 3),
                mode="markers+text",
                text=f"\u2002{text(row.title)}\u2002",
                textposition=side,
                cliponaxis=False,
                marker={"color": color, "symbol": symbol, "size": 10},
                hovertemplate=f"{with_note(row)}<br>{with_interval(estimate)} %<br>"
                f"{amount(seconds, length)} {unit}<extra></extra>",
            )
        )
    axis: dict[str, Any] = {"title": {"text": f"{unit}, {label}"}}
    if logarithmic:
        axis["type"] = "log"
    else:
        axis["range"] = [max(0, min(costs) - margin) / length, (max(costs) + margin) / length]
    return page.chart(
        name,
        traces,
        f"{capital(page.judged.noun)} against the compute of {label}",
        showlegend=False,
        xaxis=axis,
        yaxis={
            "title": {"text": page.judged.test_heading},
            "range": around([(row, estimate) for row, estimate, _ in paid]),
        },
    )


def label_sides(xs: list[float], ys: list[float]) -> list[str]:
    """Where each point's name goes so that names do not lie on one another: greedily the first free side."""
    if len(xs) < 2:
        return ["middle right"] * len(xs)
    width, height = 0.17 * (max(xs) - min(xs) or 1), 0.06 * (max(ys) - min(ys) or 1)
    places = {
        "middle right": (0.6, 0),
        "middle left": (-0.6, 0),
        "top center": (0, 1),
        "bottom center": (0, -1),
    }
    taken: list[tuple[float, float]] = []
    sides = []
    for x, y in zip(xs, ys, strict=True):

        def crowd(side: str, x: float = x, y: float = y) -> int:
            at = (x + places[side][0] * width, y + places[side][1] * height)
            others = taken + [point for point in zip(xs, ys, strict=True) if point != (x, y)]
            return sum(abs(at[0] - a) < width * 0.8 and abs(at[1] - b) < height for a, b in others)

        sides.append(min(places, key=crowd))
        taken.append((x + places[sides[-1]][0] * width, y + places[sides[-1]][1] * height))
    return sides
