"""What each slot did over time."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.page import GREY, LEGEND_ABOVE, Page, latest, small, text
from bench.report.text import count


def section(page: Page) -> Markup:
    every = page.results.trials
    trials = every[every.started.notna()].sort_values("started", kind="stable")
    if not len(trials):
        return page.empty("No trial has started yet.")
    last = latest(every.ended.max(), page.epochs.reported.max(), trials.started.max())
    told = page.epochs.groupby("uid").reported.max().reindex(trials.uid).set_axis(trials.index).fillna(trials.started)
    trials = trials.assign(ended=trials.ended.fillna(told.where(trials.state != "running", last)))
    trials = trials.assign(slot=slots(trials))
    used = int(trials.slot.max()) + 1
    known = page.run.get("slots")
    if known and used > known:
        return page.empty(
            f"Not drawn: trials were interrupted and continued later, so they do not fit on {count(known, 'slot')} "
            "without their pauses."
        )
    zero = trials.started.min()
    longest = (last - zero).total_seconds()
    name, length = ("hours", 3600) if longest >= 7200 else ("minutes", 60) if longest >= 120 else ("seconds", 1)
    traces = []
    for row in page.rows:
        part = trials[trials.method == row.method]
        for place, (state, some) in enumerate(part.groupby("state")):  # complete comes first
            begin = (some.started - zero).dt.total_seconds() / length
            end = (some.ended - zero).dt.total_seconds() / length
            traces.append(
                go.Scatter(
                    x=small(np.stack([begin, (begin + end) / 2, end, np.full(len(some), np.nan)], 1).ravel()),
                    y=small(np.repeat(some.slot.to_numpy() + 1, 4)),
                    customdata=small(np.repeat(some.epoch.to_numpy(), 4)),
                    name=text(row.title),
                    legendgroup=text(row.method),
                    showlegend=place == 0,
                    mode="lines",
                    opacity=1.0 if state == "complete" else 0.4,
                    line={
                        "color": GREY if row.baseline else page.color(row.method),
                        "width": min(16, max(3, 300 // used)),
                    },
                    hovertemplate=f"{text(row.title)}: {text(state)}, epoch %{{customdata}}<extra></extra>",
                )
            )
    chart = page.chart(
        "timeline",
        traces,
        "Trials by slot over time",
        height=min(640, 150 + 24 * used),
        legend=LEGEND_ABOVE,
        xaxis={"title": {"text": f"{name} since the start"}},
        yaxis={
            "title": {"text": "slot"},
            "range": [used + 0.6, 0.4],
            "dtick": max(1, used // 12),
            "showgrid": False,
        },
    )
    return page.render("timeline.html", chart=chart)


def slots(trials: pd.DataFrame) -> list[int]:
    """For each trial, in the order of its start, the first slot that was free then."""
    free: list[pd.Timestamp] = []
    taken = []
    for start, end in zip(trials.started, trials.ended, strict=True):
        # a slot hands over within the same instant, and the two ends are stamped by one clock, a line apart
        place = next((at for at, until in enumerate(free) if until <= start + pd.Timedelta(seconds=1)), len(free))
        free[place : place + 1] = [end]
        taken.append(place)
    return taken
