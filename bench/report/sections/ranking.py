"""How the methods rank at several budgets: the best that each search had seen against the compute it had taken."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.page import LEGEND_BELOW, Chart, Page, small, text
from bench.report.progress import PARTS, Standing, progress
from bench.report.rows import Row
from bench.report.run import compute_unit
from bench.report.text import amount, article, percent


class Place(NamedTuple):
    """A method at one budget."""

    rank: str
    accuracy: str
    tint: str
    """How strongly it is coloured, in percent."""


def section(page: Page) -> Markup:
    judged = page.judged
    known = progress(page.trials, page.epochs, judged.chosen.name)
    curves = {m: curve for m, curve in known.items() if curve.best.notna().any()}
    if not curves:
        return page.empty(f"No search trial has reported {article(judged.search_noun)} yet.")
    most = float(max(curve.device_seconds.iloc[-1] for curve in curves.values()))
    unit, length = compute_unit(page.run, most)
    found = Standing.by_compute(curves)
    best, ranks = found.best, found.ranks
    shown = [row for row in page.methods if row.method in curves]
    lines: list[list[Row | Place | None]] = [
        [row, *(_place(ranks[part], best[part], row.method) for part in PARTS)]
        for row in sorted(shown, key=lambda row: ranks[PARTS[-1]][row.method])
    ]
    return page.render(
        "ranking.html",
        chart=_chart(page, shown, curves, most, unit, length),
        heads=["method", *(f"{amount(part * most, length)} {unit}" for part in PARTS)],
        lines=lines,
        stable=_stability(found),
        judged=judged,
    )


def _chart(
    page: Page, shown: list[Row], curves: Mapping[str, pd.DataFrame], most: float, unit: str, length: float
) -> Chart:
    traces = []
    for row in shown:
        curve = curves[row.method].dropna()
        rises = curve[(curve.best.diff().fillna(1) > 0) | (curve.index == curve.index[-1])]
        traces.append(
            go.Scatter(
                x=small(rises.device_seconds / length),
                y=small(100 * rises.best),
                name=text(row.title),
                mode="lines",
                line={
                    "shape": "hv",
                    "width": 2,
                    "color": page.color(row.method),
                    "dash": page.shape(row.method)[1],
                },
                hovertemplate=f"{text(row.title)}: %{{y:.2f}} % after %{{x:.3~g}} {unit}<extra></extra>",
            )
        )
    # the axis begins where the curves are after an eighth of the compute: the first epochs say little
    early = [curve.best[curve.device_seconds <= most / 8].max() for curve in curves.values()]
    low = min(
        curve.best.min() if pd.isna(value) else value for value, curve in zip(early, curves.values(), strict=True)
    )
    high = max(curve.best.max() for curve in curves.values())
    pad = 0.06 * (high - low) or 0.01
    return page.chart(
        "anytime",
        traces,
        f"Best {page.judged.search_noun} of the search against compute",
        height=410 + 8 * len(traces),
        legend=LEGEND_BELOW,
        xaxis={"title": {"text": f"{unit} of search, each method", "standoff": 6}, "rangemode": "tozero"},
        yaxis={
            "title": {"text": f"best {page.judged.search_heading}"},
            "range": [100 * (low - pad), 100 * (high + pad)],
        },
    )


def _place(ranks: pd.Series, best: pd.Series, method: str) -> Place | None:
    """None where the method had seen nothing yet."""
    rank = ranks[method]
    if pd.isna(rank):
        return None
    tint = 55 * (1 - (rank - 1) / max(1, len(ranks) - 1))
    return Place(f"{rank:.0f}", percent(best[method]), f"{tint:.0f}")


def _stability(found: Standing) -> str:
    """How alike the rankings at the first and the last budget are, in words; empty where that cannot be told."""
    correlation = found.correlation(PARTS[0], PARTS[-1])
    if correlation is None:
        return ""
    return (
        f"Spearman's correlation between the first and the last of these rankings is "
        f"{correlation:.2f} over {len(found.best[[PARTS[0], PARTS[-1]]].dropna())} methods."
    )
