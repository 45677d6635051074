"""What the augmentations of a preset were worth: each setting over all methods, and the preset beside each paper's own
views."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.page import GREY, Chart, Page, small, text
from bench.report.rows import Row
from bench.report.run import spaces
from bench.report.sections.method.tried import Tried, sample, tried
from bench.report.statistics import Estimate
from bench.report.text import DASH, value_text, with_interval
from bench.report.trials import asked

PARTS = 3
"""Of a range."""
DRAWN = 300
"""The most trials of a method that are drawn."""


class Value(NamedTuple):
    """A value of a setting, or a part of its range, and how its trials did, each less the mean of its method."""

    name: str
    trials: pd.DataFrame
    worth: Estimate | None
    """None of no trial, and of all."""


class Setting(NamedTuple):
    """A setting of the preset, as the page shows it."""

    name: str
    values: list[Value]
    chart: Chart


def section(page: Page) -> Markup | None:
    """None where no preset was asked for."""
    entries = {row.method: spaces(page.run).get(row.method, {}).get("hyperparameters") or {} for row in page.methods}
    presets = [each["augment"]["default"] for each in entries.values() if "augment" in each]
    if not presets:
        return None
    from algorithms.images.augmentation import OFF, SETTINGS  # with PyTorch, which other pages do without

    methods = [tried(page, place, row) for place, row in enumerate(page.methods) if "augment" in entries[row.method]]
    shared = {name: each[name] for each in entries.values() for name in SETTINGS if name in each}
    centred = _centred(methods, presets[0])
    searched = [name for name in SETTINGS if name in centred and shared[name].keys() & {"low", "choices"}]
    most = 110 * float(centred.figure.abs().max()) or 1.0 if len(centred) else 1.0
    settings = []
    for place, name in enumerate(searched):
        values = _values(shared[name], getattr(OFF, name), centred.dropna(subset=[name]), name)
        settings.append(Setting(name.replace("_", " "), values, _chart(page, place, name, values, most)))
    heads, lines = _against_the_papers(methods, [name for name in SETTINGS if name in shared], presets[0])
    return page.render(
        "augmentation.html",
        preset=presets[0],
        settings=settings,
        trials=len(centred),
        methods=centred.method.nunique(),
        tested=page.judged.test_heading,
        worth=lambda value: with_interval(value.worth, "+"),
        heads=heads,
        lines=lines,
    )


def _centred(methods: Sequence[Tried], preset: str) -> pd.DataFrame:
    """The full search trials with the preset of methods that have two or more: their `method`, `figure` in the search
    less the mean of its method, and settings, in columns."""
    found = [pd.DataFrame({"method": [], "figure": []})]
    for each in methods:
        figure = each.page.judged.train
        there = (each.trials.state == "complete") & each.trials[figure].notna()
        settings = each.settings.loc[there]
        settings = settings[settings.augment == preset] if "augment" in settings else settings.iloc[:0]
        if len(settings) > 1:
            figures = each.trials.loc[settings.index, figure].astype(float)
            found.append(settings.assign(method=each.row.method, figure=figures - figures.mean()))
    return pd.concat(found, ignore_index=True)


def _values(entry: Mapping[str, Any], off: Any, trials: pd.DataFrame, name: str) -> list[Value]:
    """Off first, then the other choices as they rise, or the parts of a range. What all trials have was beside nothing
    else, and has no worth."""
    if "choices" in entry:
        some = [(value_text(choice), trials[name] == choice) for choice in sorted(entry["choices"]) if choice != off]
    else:
        ends = np.linspace(entry["low"], entry["high"], PARTS + 1)
        part = np.digitize(trials[name].astype(float), ends[1:-1])
        on = trials[name] != off
        some = [
            (f"{value_text(float(low))} to {value_text(float(high))}", on & (part == number))
            for number, (low, high) in enumerate(pairwise(ends))
        ]
    values = []
    for label, rows in [("off", trials[name] == off), *some]:
        worth = Estimate(dict(enumerate(trials.figure[rows]))) if rows.any() and not rows.all() else None
        values.append(Value(label, trials[rows], worth))
    return values


def _chart(page: Page, place: int, name: str, values: Sequence[Value], most: float) -> Chart:
    """The trials of each value by method, and their means with intervals, as far as `most` points from the mean."""
    methods = [row.method for row in page.methods]
    traces: list[Any] = []
    for at, value in enumerate(values):
        for method, of in value.trials.groupby("method"):
            drawn = sample(of, "figure", DRAWN)
            across = at + 0.6 * ((methods.index(str(method)) + 1) / (len(methods) + 1) - 0.5)
            traces.append(
                go.Scatter(
                    x=[across] * len(drawn),
                    y=small(100 * drawn.figure.astype(float)),
                    customdata=[value_text(each) for each in drawn[name]],
                    mode="markers",
                    marker={
                        "color": page.color(str(method)),
                        "symbol": page.shape(str(method))[0] + ("-open" if value.name == "off" else ""),
                        "size": 5,
                        "opacity": 0.6,
                    },
                    hovertemplate=f"{text(method)}, %{{customdata}}: %{{y:+.2f}} points<extra></extra>",
                )
            )
        if value.worth is not None:
            half = value.worth.half_width
            traces.append(
                go.Scatter(
                    x=[at],
                    y=[100 * value.worth.mean],
                    error_y=None if half is None else {"array": [100 * half], "thickness": 2, "color": GREY},
                    mode="markers",
                    marker={"color": GREY, "symbol": "line-ew-open", "size": 26, "line": {"width": 3}},
                    hovertemplate=f"{text(value.name)}: {with_interval(value.worth, '+')} points<extra></extra>",
                )
            )
    return page.chart(
        f"augmentation-{place}",
        traces,
        f"What {name.replace('_', ' ')} was worth",
        height=230,
        margin={"l": 40, "r": 8, "t": 6, "b": 42},
        showlegend=False,
        xaxis={
            "range": [-0.5, len(values) - 0.5],
            "tickvals": list(range(len(values))),
            "ticktext": [text(value.name).replace(" to ", "<br>to ") for value in values],
            "tickangle": 0,
            "showgrid": False,
        },
        yaxis={"nticks": 5, "range": [-most, most]},
    )


def _against_the_papers(
    methods: Sequence[Tried], settings: Sequence[str], preset: str
) -> tuple[list[str], list[list[Row | str]]]:
    """A line a method: its paper's own views beside the preset's defaults, confirmed, and the settings that won."""
    heads = [
        *("method", "paper's own views", f"{preset}, at its defaults", "difference", "recipes also differ in"),
        "views of the winner",
        *(name.replace("_", " ").removesuffix(" probability") for name in settings),
    ]
    lines: list[list[Row | str]] = []
    for each in methods:
        row = each.row
        paper, ours = (dict(estimate.values) if estimate else {} for estimate in (row.published, row.ours))
        paired = {seed: ours[seed] - paper[seed] for seed in ours if seed in paper}
        also = [name for name, entry in each.space.items() if name != "augment" and _differs(entry)]
        won = {} if each.winner is None else asked(each.winner)
        views = str(won.get("augment", DASH))
        kept = won if views == preset else {}
        lines.append(
            [
                row,
                with_interval(row.published),
                with_interval(row.ours),
                with_interval(Estimate(paired) if paired else None, "+"),
                ", ".join(name.replace("_", " ") for name in also) or DASH,
                views,
                *(value_text(kept.get(name)) for name in settings),
            ]
        )
    return heads, lines


def _differs(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("published", entry.get("default")) != entry.get("default"))
