"""How the methods rank at several budgets: the best that each search had seen against the compute it had taken."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.page import LEGEND_BELOW, Chart, Page, small, text
from bench.report.rows import Row
from bench.report.run import compute_unit
from bench.report.text import amount, article, percent


class Standing(NamedTuple):
    """A method at one budget."""

    rank: str
    accuracy: str
    tint: str
    """How strongly it is coloured, in percent."""


def section(page: Page) -> Markup:
    judged = page.judged
    found = progress(page.trials, page.epochs, judged.chosen.name)
    curves = {m: curve for m, curve in found.items() if curve.best.notna().any()}
    if not curves:
        return page.empty(f"No search trial has reported {article(judged.search_noun)} yet.")
    most = float(max(curve.device_seconds.iloc[-1] for curve in curves.values()))
    unit, length = compute_unit(page.run, most)
    budgets = [most / 8, most / 4, most / 2, most]
    best = best_at(curves, budgets)
    ranks = best.rank(ascending=False, method="min")
    shown = [row for row in page.methods if row.method in curves]
    lines: list[list[Row | Standing | None]] = [
        [row, *(_standing(ranks[budget], best[budget], row.method) for budget in budgets)]
        for row in sorted(shown, key=lambda row: ranks[most][row.method])
    ]
    return page.render(
        "ranking.html",
        chart=_chart(page, shown, curves, most, unit, length),
        heads=["method", *(f"{amount(budget, length)} {unit}" for budget in budgets)],
        lines=lines,
        stable=_stability(ranks[[budgets[0], most]].dropna().rank()),
        judged=judged,
    )


def progress(trials: pd.DataFrame, epochs: pd.DataFrame, figure: str) -> dict[str, pd.DataFrame]:
    """For each method the best of the epochs' column `figure` so far, at the last epoch of a training, against the
    device-seconds that its search had taken.

    Columns `device_seconds` and `best`, a row per report or end of a trial, in the order in which they happened.
    """
    search = trials[trials.stage == "search"]
    reports = epochs[epochs.uid.isin(search.uid)].sort_values(["uid", "epoch"])
    spent = reports.groupby("uid").device_seconds
    last = reports.epoch == reports.uid.map(search.set_index("uid").epochs)
    reports = pd.DataFrame(
        {
            "method": reports.method,
            "time": reports.reported,
            "cost": spent.diff().fillna(reports.device_seconds).clip(lower=0),
            "accuracy": reports[figure].where(last),
        }
    )
    told = epochs.groupby("uid").device_seconds.max()
    ends = pd.DataFrame(
        {
            "method": search.method,
            "time": search.ended.fillna(reports.time.max()),
            "cost": (search.device_seconds - search.uid.map(told).astype(float).fillna(0.0)).clip(lower=0),
            "accuracy": np.nan,
        }
    )
    found = {}
    for method, events in pd.concat([reports, ends]).groupby("method"):
        events = events.sort_values("time", kind="stable")
        best = events.accuracy.cummax().ffill()
        curve = pd.DataFrame({"device_seconds": events.cost.cumsum(), "best": best})
        found[str(method)] = curve.reset_index(drop=True)
    return found


def best_at(curves: Mapping[str, pd.DataFrame], budgets: list[float]) -> pd.DataFrame:
    """The best accuracy of each method, a row each, within each budget, a column each."""
    return pd.DataFrame(
        {
            budget: {
                method: curve.best[curve.device_seconds <= budget * (1 + 1e-9)].max()
                for method, curve in curves.items()
            }
            for budget in budgets
        }
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


def _standing(ranks: pd.Series, best: pd.Series, method: str) -> Standing | None:
    """None where the method had seen nothing yet."""
    rank = ranks[method]
    if pd.isna(rank):
        return None
    tint = 55 * (1 - (rank - 1) / max(1, len(ranks) - 1))
    return Standing(f"{rank:.0f}", percent(best[method]), f"{tint:.0f}")


def _stability(both: pd.DataFrame) -> str:
    """How alike the rankings at two budgets are, in words; empty where that cannot be told."""
    if len(both) <= 2 or both.nunique().min() <= 1:
        return ""
    correlation = float(both.corr().to_numpy()[0, 1])
    return (
        f"Spearman's correlation between the first and the last of these rankings is "
        f"{correlation:.2f} over {len(both)} methods."
    )
