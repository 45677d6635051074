"""The trials that something went wrong with: what, and what is usually done about it."""

from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from algorithms.evaluation.metrics import FEATURE_STD, RANKME
from bench.report.diagnosis import Group, groups, summary
from bench.report.page import GREY, STATE_COLORS, Chart, Page, small, text
from bench.report.run import compute_unit
from bench.report.text import amount, capital, count, heading, one_line

GROUPS = 40
"""The most groups of like trials on the page; those that follow are counted."""
LISTED = 8
"""The most trials of a group that are listed."""
DRAWN, OTHERS, WITH_CHARTS = 12, 20, 12
"""The most trials of a group in its charts, and of the method's others; and the groups that have charts."""


class Shown(NamedTuple):
    """A group as the page has it."""

    group: Group
    example: str
    advice: list[str]
    settings: list[str]
    lines: list[list[str]]
    more: int
    charts: list[Chart]


def section(page: Page) -> Markup:
    found = groups(page.results)
    troubled = page.trials[page.trials.uid.isin([str(case.trial.uid) for group in found for case in group.cases])]
    failed = troubled[troubled.state == "failed"]
    seconds = float(failed.device_seconds.sum())
    unit, length = compute_unit(page.run, seconds)
    return page.render(
        "diagnosis.html",
        said=summary(found),
        failed=count(len(failed), "trial") if len(failed) else "",
        share=100 * seconds / max(1e-9, float(page.results.trials.device_seconds.sum())),
        given_up=page.run.get("given_up") or {},
        heads=["stage", "seed", "epoch", unit, "what happened"],
        shown=[_shown(page, group, place, length) for place, group in enumerate(found[:GROUPS])],
        more=sum(len(group.cases) for group in found[GROUPS:]),
    )


def _shown(page: Page, group: Group, place: int, length: float) -> Shown:
    lines = [
        [
            one_line(case.trial.stage),
            one_line(case.trial.seed),
            f"{case.trial.epoch} of {case.trial.epochs}",
            amount(float(case.trial.device_seconds), length),
            case.diagnosis.seen,
        ]
        for case in group.cases[:LISTED]
    ]
    return Shown(
        group,
        group.cases[0].diagnosis.seen,
        [advice.text for advice in group.advice],
        group.settings(page.results),
        lines,
        len(group.cases) - len(lines),
        _charts(page, group, place) if place < WITH_CHARTS else [],
    )


def _charts(page: Page, group: Group, place: int) -> list[Chart]:
    """Deviation and effective rank over epochs, of these trials and of the method's others; none where the trials were
    never judged."""
    own = [str(case.trial.uid) for case in group.cases[:DRAWN]]
    all_own = {str(case.trial.uid) for case in group.cases}
    trials = page.trials[(page.trials.method == group.method) & (page.trials.state == "complete")]
    others = [uid for uid in trials.uid if uid not in all_own][:OTHERS]
    made = []
    for metric in (FEATURE_STD, RANKME):
        epochs = page.epochs.dropna(subset=[metric.name])
        of = {
            str(uid): part.sort_values("epoch") for uid, part in epochs[epochs.uid.isin([*own, *others])].groupby("uid")
        }
        if not any(uid in of for uid in own):
            continue
        traces = [_trace(of[uid], metric.name, False) for uid in others if uid in of]
        traces += [_trace(of[uid], metric.name, True) for uid in own if uid in of]
        made.append(
            page.chart(
                f"diagnosis-{metric.name}-{place}",
                traces,
                f"{capital(metric.title)} of these trials of {text(group.method)}, the method's others in grey",
                height=240,
                showlegend=False,
                xaxis={"title": {"text": "epoch"}},
                yaxis={"title": {"text": heading(metric)}, "rangemode": "tozero"},
            )
        )
    return made


def _trace(epochs: pd.DataFrame, name: str, troubled: bool) -> go.Scatter:
    return go.Scatter(
        x=epochs.epoch.tolist(),
        y=small(epochs[name]),
        mode="lines+markers",
        line={"color": STATE_COLORS["failed"] if troubled else GREY, "width": 2 if troubled else 1},
        marker={"size": 5 if troubled else 3, "symbol": "x" if troubled else "circle"},
        opacity=1 if troubled else 0.5,
        hovertemplate=f"{'this trial' if troubled else 'another'}, epoch %{{x}}: %{{y:.3g}}<extra></extra>",
    )
