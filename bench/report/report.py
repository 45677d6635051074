"""The report: one page of Plotly charts made from a run's Parquet files alone.

`ssl-bench report RUN_DIR` makes it again: report.html, plotly.min.js beside it (so that it needs no
network), table.md and table.csv. The page's style and its little script are in report_template.html.
"""

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from bench.files import write_atomically
from bench.report import results, table
from bench.report.method_report import methods_section
from bench.report.page import (
    GREY,
    LEGEND_ABOVE,
    LEGEND_BELOW,
    PALETTE,
    STATE_COLORS,
    Page,
    count,
    empty,
    html_table,
    method_name,
    small,
    text,
)
from bench.report.results import Results
from bench.report.table import Row, amount, percent, with_interval

TEMPLATE = Path(__file__).with_name("report_template.html")


def write(folder: str | Path) -> Path:
    """Make the report and the table again from a run's Parquet files; returns the path of report.html.

    Raises UserError where the Parquet files are missing or torn.
    """
    folder = Path(folder)
    found = results.load(folder)
    table.write(found, folder)
    script = folder / "plotly.min.js"
    content = get_plotlyjs().encode()
    if not script.is_file() or script.stat().st_size != len(content):
        write_atomically(script, content)
    path = folder / "report.html"
    write_atomically(path, render(found))
    return path


def render(found: Results) -> str:
    """The page. The same results give the same text."""
    page = Page(found, table.rows(found))
    sections = [
        ("Results", "results", _results),
        ("Accuracy", "accuracy", _accuracy),
        ("Compute", "compute", _compute),
        ("Ranking by budget", "ranking", _ranking),
        ("Method by method", "methods", methods_section),
        ("Timeline", "timeline", _timeline),
        ("Failures", "failures", _failures),
        ("How to read this", "protocol", _protocol),
    ]
    bodies = [f'<section id="{name}"><h2>{title}</h2>{make(page)}</section>' for title, name, make in sections]
    dataset = _first(page.trials.dataset)
    began, ended = page.trials.started.min(), page.trials.ended.max()
    subtitle = [
        text(table.title(found), 400),
        f"run {text(page.run.get('name', 'without a name'))}",
    ]
    if not pd.isna(began):
        subtitle.append(f"{began:%Y-%m-%d %H:%M} to {(began if pd.isna(ended) else ended):%Y-%m-%d %H:%M} UTC")
    values = {
        "title": f"Self-supervised methods on {text(dataset or 'no data yet')}",
        "heading": f"Self-supervised methods on {text(dataset or 'no data yet')}",
        "subtitle": " · ".join(subtitle),
        "notice": _notice(page),
        "cards": _cards(page),
        "navigation": "".join(f'<a href="#{name}">{title}</a>' for title, name, _ in sections),
        "sections": "\n".join(bodies),
        "footer": 'Made from <a href="trials.parquet">trials.parquet</a> and '
        '<a href="epochs.parquet">epochs.parquet</a> with <code>ssl-bench report</code>.',
        # "<" would end the script element early
        "figures": json.dumps(page.figures, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub(r"{{(\w+)}}", lambda match: values[match[1]], TEMPLATE.read_text())


def _notice(page: Page) -> str:
    closed, notices = page.run.get("closed"), []
    if closed != "done":
        why = {
            None: "The run had not ended when this page was made; the same command continues it.",
            "budget": "The budget was spent before all was done; the same command with a larger one continues it.",
        }.get(closed, f"The run ended early ({text(closed)}); the same command continues it.")
        notices.append(f"{why} What follows is what was measured so far.")
    if remarks := table.fact(page.run, "remarks"):
        notices.append(f"<strong>About the data.</strong> {' '.join(text(remark, 1000) for remark in remarks)}")
    return "".join(f'<div class="notice">{notice}</div>' for notice in notices)


def _cards(page: Page) -> str:
    best = table.leader(page.rows)
    if best:
        other = page.methods[0]  # may stand above it with an encoder of its own
        leading = _card(
            "Best method",
            method_name(page, best, link=False),
            f"{with_interval(best.knn_200)} % test kNN, {count(len(best.knn_200.values), 'seed')}"
            + (f"; ranks first with probability {table.probability_text(best)}" if best.first is not None else "")
            + (f"; {text(other.title)} has {with_interval(other.knn_200)} %" if other is not best else ""),
        )
    else:
        tried = [row for row in table.compared(page.rows) if row.validation is not None]
        best = max(tried, key=lambda row: row.validation, default=None)
        failed = best and table.seeds_note(best.knn_200, best.failed_seeds)
        note = f"{percent(best.validation)} % on validation; {failed or 'not confirmed yet'}" if best else ""
        name = method_name(page, best, link=False) if best else table.DASH
        leading = _card("Best method so far", name, note or "no trial is complete yet")

    charged, total = (
        page.run.get("charged") or page.trials.device_seconds.sum(),
        (page.run.get("budget") or {}).get("seconds"),
    )
    unit, length = table.compute_unit(page.run, total or charged)
    share = min(1.0, charged / total) if total else 0.0
    budget = _card(
        "Budget",
        f"{amount(charged, length)} of {amount(total, length)} {unit}",
        f'<div class="bar"><i style="width:{100 * share:.1f}%;background:var(--accent)"></i></div>'
        + (f"{100 * charged / total:.0f} % spent, {_share_text(page)}" if total else "no budget recorded"),
    )
    states = page.trials.state.value_counts()
    known = [state for state in STATE_COLORS if states.get(state)]
    bar = "".join(f'<i style="flex:{states[s]};background:var(--{s})" title="{states[s]} {s}"></i>' for s in known)
    trials = _card(
        "Trials",
        f"{len(page.trials):,}",
        f'<div class="bar">{bar}</div>' + " · ".join(f"{states[state]:,} {state}" for state in known),
    )
    began, ended = (
        page.trials.started.min(),
        max(page.trials.ended.max(), page.epochs.reported.max(), key=_or_least),
    )
    devices = [text(device) for device in table.devices(page.results)]
    slots = table.slots_text(page.run)
    duration = _card(
        "Duration",
        _duration((ended - began).total_seconds()) if not pd.isna(began) and not pd.isna(ended) else table.DASH,
        (", ".join(devices) or "no device yet") + (f"; {text(slots)}" if slots else ""),
    )
    return leading + budget + trials + duration


def _share_text(page: Page) -> str:
    used = [row.device_seconds for row in page.methods if row.device_seconds]
    if len(used) < 2:
        return "everything counted"
    return f"the most used {max(used) / min(used):.2f} times the least"


def _card(label: str, value: str, note: str) -> str:
    parts = (("label", label), ("value", value), ("note", note))
    return f'<div class="card">{"".join(f"<div class={kind}>{part}</div>" for kind, part in parts)}</div>'


def _results(page: Page) -> str:
    if not page.rows:
        return empty("No trial has been suggested yet.")
    unit, length = table.compute_unit(page.run, max(row.device_seconds for row in page.rows))
    # What a cell shows, the value by which it is sorted, and a note below it.
    columns: list[tuple[str, Callable[[Row], tuple]]] = [
        (
            "test kNN k=200, %",
            lambda row: (
                with_interval(row.knn_200),
                _mean(row.knn_200),
                table.seeds_note(row.knn_200, row.failed_seeds),
            ),
        ),
        ("seeds", lambda row: _plain(len(row.knn_200.values) if row.knn_200 else None)),
        ("k=20, %", lambda row: (with_interval(row.knn_20), _mean(row.knn_20))),
        ("purity@20, %", lambda row: (with_interval(row.purity_20), _mean(row.purity_20))),
        (
            "published recipe, %",
            lambda row: (
                table.recipe_text(row),
                _mean(row.published),
                table.seeds_note(row.published, row.published_failed_seeds),
            ),
        ),
        (
            "our recipe, %",
            lambda row: (
                with_interval(row.ours),
                _mean(row.ours),
                table.seeds_note(row.ours, row.ours_failed_seeds),
            ),
        ),
        (
            "gain of tuning",
            lambda row: (
                table.gain_text(row),
                0 if row.won == "published" else _mean(row.gain),
                table.gain_note(row),
            ),
        ),
        ("validation, %", lambda row: (percent(row.validation), row.validation)),
        (f"one training, {unit}", lambda row: (amount(row.training_seconds, length), row.training_seconds)),
        (f"all, {unit}", lambda row: (amount(row.device_seconds, length), row.device_seconds)),
        ("images/s", lambda row: (amount(row.images_per_second), row.images_per_second)),
        ("training memory, GB", lambda row: (amount(row.peak_memory_bytes, 1e9), row.peak_memory_bytes)),
        ("configu&shy;rations", lambda row: (table.trials_text(row), sum(row.counts.values()) or None)),
        ("P(rank 1)", lambda row: (table.probability_text(row), row.first)),
    ]
    # A column in which nothing was measured takes the room of those that matter.
    columns = [column for column in columns if any(set(column[1](row)[::2]) - {table.DASH, ""} for row in page.rows)]
    head = "".join(f'<th scope="col"><button>{title}</button></th>' for title in ["method", *[c[0] for c in columns]])

    def line(row: Row) -> str:
        cells = [f'<td data-value="{text(row.title)}">{method_name(page, row)}</td>']
        for _, cell in columns:
            shown, value, *note = cell(row)
            below = "".join(f"<small>{part.replace('; ', ';<br>')}</small>" for part in note if part)
            cells.append(f'<td data-value="{"" if value is None else value}">{html.escape(shown)}{below}</td>')
        best = row is table.leader(page.rows)
        return f"<tr{' class=best' if best else ''}>{''.join(cells)}</tr>"

    methods = "".join(line(row) for row in page.methods)
    baselines = "".join(line(row) for row in page.rows if row.baseline)
    own = "; ".join(f"{text(row.method)} has {text(row.own_encoder)}" for row in page.rows if row.own_encoder)
    return (
        '<p class="lead">Mean ± half of the 95 % interval over fresh seeds; — was not measured. Configurations are '
        "those of the search, complete/pruned/failed/cut. The gain of tuning is over the published recipe"
        + ("; our recipe is shown where it is another one. " if any(row.two_recipes for row in page.rows) else ". ")
        + (f"{table.FAILED_SEEDS} " if any(row.failed_seeds for row in page.methods) else "")
        + "Click a heading to sort. "
        'Download: <a href="table.csv" download>CSV</a>, <a href="table.md">Markdown</a>, every trial and epoch as '
        '<a href="trials.parquet" download>trials.parquet</a> and '
        '<a href="epochs.parquet" download>epochs.parquet</a>.</p>'
        f'<div class="scroll"><table class="wide sortable headline"><thead><tr>{head}</tr></thead>'
        f"<tbody>{methods}</tbody><tbody>{baselines}</tbody></table></div>"
        + (
            f'<p class="lead">† Its own encoder, so the row compares method and encoder at once: {own}.</p>'
            if own
            else ""
        )
        + (
            f'<p class="lead">{table.ADAPTED} The published recipe is adapted; how is said under each method.</p>'
            if any(row.adapted and row.published for row in page.methods)
            else ""
        )
    )


def _accuracy(page: Page) -> str:
    tested = [row for row in page.rows if row.knn_200][::-1]  # Plotly counts upwards
    if not tested:
        return empty("No method has met the test images yet: that happens once, when its winner is confirmed.")
    traces = []
    for place, row in enumerate(tested):
        color = GREY if row.baseline else page.color(row.method)
        symbol = "circle" if row.baseline else page.shape(row.method)[0]
        seeds = list(row.knn_200.values)
        half = row.knn_200.half_width
        traces += [
            go.Scatter(
                x=_percents(row.knn_200.values.values()),
                y=[place - 0.28] * len(seeds),
                customdata=seeds,
                mode="markers",
                marker={"color": color, "symbol": "circle-open", "size": 6},
                hovertemplate=f"{text(row.title)}<br>seed %{{customdata}}: %{{x:.2f}} %<extra></extra>",
            ),
            go.Scatter(
                x=[100 * row.knn_200.mean],
                y=[place],
                error_x=_bars(half, color, 5),
                mode="markers",
                marker={"color": color, "symbol": symbol, "size": 10},
                hovertemplate=f"{_with_note(row)}<br>{with_interval(row.knn_200)} %<extra></extra>",
            ),
        ]
    methods = [row for row in tested if not row.baseline]
    names = {"tickvals": list(range(len(tested))), "ticktext": [_with_note(row) for row in tested]}
    body = ""
    if methods and len(methods) < len(tested):
        whole = {"xaxis": {"range": _around(tested)}, "yaxis": {"range": [-0.7, len(tested) - 0.4]}}
        lowest = len(tested) - len(methods)
        near = {"xaxis": {"range": _around(methods)}, "yaxis": {"range": [lowest - 0.7, len(tested) - 0.4]}}
        body += '<div class="buttons">' + _button("accuracy", whole, "with baselines", pressed=True)
        body += _button("accuracy", near, "methods only") + "</div>"
    body += page.chart(
        "accuracy",
        traces,
        "Test accuracy by method",
        height=90 + 34 * len(tested),
        showlegend=False,
        xaxis={"title": {"text": "test kNN k=200, %"}, "range": _around(tested)},
        yaxis={"range": [-0.7, len(tested) - 0.4], "showgrid": False, **names},
    )
    return (
        '<p class="lead">Each winner\'s mean with its 95 % interval; open circles are the single seeds. '
        "Intervals that overlap widely do not rank two methods.</p>" + body + _gain(page)
    )


def _with_note(row: Row) -> str:
    """A row's name, and below it what failed."""
    return text(row.title) + _below(table.seeds_note(row.knn_200, row.failed_seeds))


def _below(note: str) -> str:
    return f"<br>{note}" if note else ""


def _gain(page: Page) -> str:
    compared = [row for row in page.methods if row.knn_200 and row.published][::-1]
    body = "<h3>What tuning adds to the published recipe</h3>"
    if not compared:
        return body + empty("No method has both its published recipe and its winner confirmed yet.")
    lines = np.array([[100 * row.published.mean, 100 * row.knn_200.mean, np.nan] for row in compared]).ravel()
    ours = [(place, row) for place, row in enumerate(compared) if row.ours]
    places = np.repeat(np.arange(len(compared), dtype=float), 3)
    labels = [table.gain_text(row) + _below(table.gain_note(row)) for row in compared]
    traces = [
        go.Scatter(
            x=lines,
            y=places,
            mode="lines",
            line={"color": GREY, "width": 2},
            hoverinfo="skip",
            showlegend=False,
        ),
        go.Scatter(
            x=[100 * row.published.mean for row in compared],
            y=list(range(len(compared))),
            name="published recipe",
            mode="markers",
            marker={"symbol": "circle-open", "size": 9, "color": GREY, "line": {"width": 2}},
            hovertemplate="published recipe: %{x:.2f} %<extra></extra>",
        ),
        go.Scatter(
            x=[100 * row.knn_200.mean for row in compared],
            y=list(range(len(compared))),
            name="tuned",
            mode="markers",
            marker={"size": 10, "color": [page.color(row.method) for row in compared]},
            customdata=labels,
            hovertemplate="tuned: %{x:.2f} % (%{customdata})<extra></extra>",
        ),
    ]
    if ours:
        traces.append(
            go.Scatter(
                x=[100 * row.ours.mean for _, row in ours],
                y=[place for place, _ in ours],
                name="our recipe",
                mode="markers",
                marker={"symbol": "diamond-open", "size": 9, "color": GREY, "line": {"width": 2}},
                hovertemplate="our recipe: %{x:.2f} %<extra></extra>",
            )
        )
    ends = np.concatenate([lines[~np.isnan(lines)], [100 * row.ours.mean for _, row in ours]])
    notes = [
        {
            "x": 1,
            "xref": "paper",
            "y": place,
            "text": label,
            "showarrow": False,
            "xanchor": "left",
            "align": "left",
            "xshift": 8,
        }
        for place, label in enumerate(labels)
    ]
    pad = max(0.5, 0.06 * (ends.max() - ends.min()))
    return (
        body + '<p class="lead">Both with the same fresh seeds; the gain and its 95 % interval are paired by seed. '
        '"Recipe won" says that nothing else that was tried beat the published recipe on validation.'
        + (" Our recipe is drawn where it is another one and was confirmed." if ours else "")
        + "</p>"
        + page.chart(
            "gain",
            traces,
            "Published recipe against tuned",
            height=100 + 30 * len(compared),
            margin={"l": 50, "r": 150 if any(map(table.gain_note, compared)) else 104, "t": 14, "b": 44},
            annotations=notes,
            legend=LEGEND_ABOVE,
            xaxis={"title": {"text": "test kNN k=200, %"}, "range": [ends.min() - pad, ends.max() + pad]},
            yaxis={
                "range": [-0.7, len(compared) - 0.3],
                "showgrid": False,
                "tickvals": list(range(len(compared))),
                "ticktext": [text(row.title) for row in compared],
            },
        )
    )


def _compute(page: Page) -> str:
    shown = [row for row in page.methods if row.device_seconds][::-1]
    if not shown:
        return empty("No compute has been spent yet.")
    unit, length = table.compute_unit(page.run, max(row.device_seconds for row in shown))
    purposes = [(f"search, {state}", "search", state, color) for state, color in STATE_COLORS.items()]
    purposes.append(("confirming with fresh seeds", None, None, PALETTE[0]))
    traces = []
    for label, stage, state, color in purposes:
        part = (
            page.trials[page.trials.stage != "search"]
            if stage is None
            else page.trials[(page.trials.stage == "search") & (page.trials.state == state)]
        )
        spent = part.groupby("method").device_seconds.sum()
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
    line = {
        "type": "line",
        "x0": (share or 0) / length,
        "x1": (share or 0) / length,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
    }
    return (
        '<p class="lead">Every method gets the same share (dotted line), and everything counts: '
        "evaluation, pruned, failed and repeated work. A share that was not used stays unused.</p>"
        + page.chart(
            "spent",
            traces,
            "Compute spent by each method",
            height=110 + 28 * len(shown),
            barmode="stack",
            showlegend=True,
            bargap=0.35,
            legend=LEGEND_ABOVE | {"traceorder": "normal"},
            shapes=[line | {"line": {"dash": "dot", "width": 1.5}}] if share else [],
            xaxis={"title": {"text": unit}},
            yaxis={
                "showgrid": False,
                "tickvals": list(range(len(shown))),
                "ticktext": [text(row.title) for row in shown],
            },
        )
        + "<h3>Accuracy against compute</h3>"
        + _accuracy_against_compute(page)
    )


def _accuracy_against_compute(page: Page) -> str:
    tested = [row for row in page.methods if row.knn_200]
    if not tested:
        return empty("No method has met the test images yet.")
    charts = []
    for name, label, seconds in (
        ("training", "one training", lambda row: row.training_seconds),
        ("all", "search and confirming", lambda row: row.device_seconds),
    ):
        costs = [seconds(row) for row in tested if seconds(row)]
        if not costs:
            continue
        unit, length = table.compute_unit(page.run, max(costs))
        paid = [row for row in tested if seconds(row)]
        spread, around = max(costs) / min(costs), 0.14 * (max(costs) - min(costs)) or 0.1 * max(costs)
        logarithmic = spread > 8
        xs = [np.log10(seconds(row)) if logarithmic else seconds(row) for row in paid]
        sides = _label_sides(xs, [row.knn_200.mean for row in paid])
        traces = []
        for side, row in zip(sides, paid, strict=True):
            half = row.knn_200.half_width
            color, (symbol, _) = page.color(row.method), page.shape(row.method)
            traces.append(
                go.Scatter(
                    x=[seconds(row) / length],
                    y=[100 * row.knn_200.mean],
                    error_y=_bars(half, color, 3),
                    mode="markers+text",
                    text=f"\u2002{text(row.title)}\u2002",
                    textposition=side,
                    cliponaxis=False,
                    marker={"color": color, "symbol": symbol, "size": 10},
                    hovertemplate=f"{_with_note(row)}<br>{with_interval(row.knn_200)} %<br>"
                    f"{amount(seconds(row), length)} {unit}<extra></extra>",
                )
            )
        axis = {"title": {"text": f"{unit}, {label}"}}
        if logarithmic:
            axis["type"] = "log"
        else:
            axis["range"] = [max(0, min(costs) - around) / length, (max(costs) + around) / length]
        charts.append(
            "<div>"
            + page.chart(
                f"compute-{name}",
                traces,
                f"Accuracy against the compute of {label}",
                showlegend=False,
                xaxis=axis,
                yaxis={"title": {"text": "test kNN k=200, %"}, "range": _around(paid)},
            )
            + "</div>"
        )
    return (
        '<p class="lead">Upper left is better. On the left what a user pays who takes the winning configuration; '
        f'on the right what finding and confirming it took.</p><div class="grid">{"".join(charts)}</div>'
    )


def _label_sides(xs: list[float], ys: list[float]) -> list[str]:
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
    taken, sides = [], []
    for x, y in zip(xs, ys, strict=True):

        def crowd(side: str, x: float = x, y: float = y) -> int:
            at = (x + places[side][0] * width, y + places[side][1] * height)
            others = taken + [point for point in zip(xs, ys, strict=True) if point != (x, y)]
            return sum(abs(at[0] - a) < width * 0.8 and abs(at[1] - b) < height for a, b in others)

        sides.append(min(places, key=crowd))
        taken.append((x + places[sides[-1]][0] * width, y + places[sides[-1]][1] * height))
    return sides


def _around(rows: list[Row]) -> list[float]:
    """An axis that holds the test accuracies and their intervals, in percent, and nothing that cannot be."""
    ends = [row.knn_200.mean + sign * (row.knn_200.half_width or 0) for row in rows for sign in (-1, 1)]
    pad = 0.06 * (max(ends) - min(ends)) or 0.01
    return [100 * max(-0.01, min(ends) - pad), 100 * min(1.01, max(ends) + pad)]


def _bars(half: float | None, color: str, width: float) -> dict | None:
    """An interval's bars, in percent."""
    return None if half is None else {"array": [100 * half], "thickness": 1.5, "width": width, "color": color}


def progress(trials: pd.DataFrame, epochs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each method the best validation accuracy so far, at the last epoch of a training, against the device-seconds
    that its search had taken.

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
            "accuracy": reports.knn_200.where(last),
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
        found[method] = pd.DataFrame({"device_seconds": events.cost.cumsum(), "best": best}).reset_index(drop=True)
    return found


def _ranking(page: Page) -> str:
    curves = {m: curve for m, curve in progress(page.trials, page.epochs).items() if curve.best.notna().any()}
    if not curves:
        return empty("No search trial has reported a validation accuracy yet.")
    most = max(curve.device_seconds.iloc[-1] for curve in curves.values())
    unit, length = table.compute_unit(page.run, most)
    traces = []
    for row in page.methods:
        if row.method not in curves:
            continue
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
    begins = [
        curve.best.min() if value != value else value for value, curve in zip(early, curves.values(), strict=True)
    ]
    low, ends = min(begins), [curve.best.max() for curve in curves.values()]
    pad = 0.06 * (max(ends) - low) or 0.01
    return (
        '<p class="lead">The best validation kNN at the end of a training that each method\'s search had seen, '
        "against the compute it had taken. Methods that learn slowly overtake late, so the ranking depends on the "
        "budget: read it at yours. "
        "Methods are never pruned against one another.</p>"
        + page.chart(
            "anytime",
            traces,
            "Best validation accuracy against compute",
            height=410 + 8 * len(traces),
            legend=LEGEND_BELOW,
            xaxis={"title": {"text": f"{unit} of search, each method", "standoff": 6}, "rangemode": "tozero"},
            yaxis={
                "title": {"text": "best validation kNN k=200, %"},
                "range": [100 * (low - pad), 100 * (max(ends) + pad)],
            },
        )
        + _rank_table(page, curves, most, unit, length)
    )


def _rank_table(page: Page, curves: Mapping[str, pd.DataFrame], most: float, unit: str, length: float) -> str:
    budgets = [most / 8, most / 4, most / 2, most]
    best = pd.DataFrame(
        {
            budget: {
                method: curve.best[curve.device_seconds <= budget * (1 + 1e-9)].max()
                for method, curve in curves.items()
            }
            for budget in budgets
        }
    )
    ranks = best.rank(ascending=False, method="min")
    lines = []
    for row in sorted((row for row in page.methods if row.method in curves), key=lambda row: ranks[most][row.method]):
        cells = [method_name(page, row)]
        for budget in budgets:
            rank, value = ranks[budget][row.method], best[budget][row.method]
            tint = 55 * (1 - (rank - 1) / max(1, len(curves) - 1))
            style = f"background:color-mix(in srgb,var(--accent) {tint:.0f}%,transparent)"
            shown = f'<span class="rank" style="{style}">{rank:.0f}</span> {percent(value)}'
            cells.append(table.DASH if pd.isna(rank) else shown)
        lines.append(cells)
    both = ranks[[budgets[0], most]].dropna().rank()
    stable = ""
    if len(both) > 2 and both.nunique().min() > 1:
        stable = (
            f"Spearman's correlation between the first and the last of these rankings is "
            f"{both.corr().iloc[0, 1]:.2f} over {len(both)} methods."
        )
    heads = ["method", *(f"{amount(budget, length)} {unit}" for budget in budgets)]
    return f'<h3>Rank at four budgets</h3>{html_table(heads, lines)}<p class="lead">{stable}</p>'


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


def _timeline(page: Page) -> str:
    trials = page.trials[page.trials.started.notna()].sort_values("started", kind="stable")
    if not len(trials):
        return empty("No trial has started yet.")
    latest = max(page.trials.ended.max(), page.epochs.reported.max(), trials.started.max(), key=_or_least)
    told = page.epochs.groupby("uid").reported.max().reindex(trials.uid).set_axis(trials.index).fillna(trials.started)
    trials = trials.assign(ended=trials.ended.fillna(told.where(trials.state != "running", latest)))
    trials = trials.assign(slot=slots(trials))
    used = int(trials.slot.max()) + 1
    known = page.run.get("slots")
    if known and used > known:
        return empty(
            f"Not drawn: trials were interrupted and continued later, so they do not fit on {count(known, 'slot')} "
            "without their pauses."
        )
    zero = trials.started.min()
    longest = (latest - zero).total_seconds()
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
    return (
        '<p class="lead">What each slot did: full colour for trials that completed, pale for those pruned, failed or '
        "cut. A worker's start-up belongs to its first trial; gaps are idle time.</p>"
        + page.chart(
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
    )


def _failures(page: Page) -> str:
    failed = page.trials[page.trials.state == "failed"]
    if not len(failed):
        return '<p class="lead">No trial has failed.</p>'
    failed = failed.assign(reason=failed.reason.fillna("no reason recorded"), failure=failed.failure.fillna(table.DASH))
    kinds = ["method", "stage", "failure", "reason"]
    groups = sorted(failed.groupby(kinds), key=lambda group: (-len(group[1]), group[0]))
    unit, length = table.compute_unit(page.run, failed.device_seconds.sum())
    lines = [
        [
            *(text(method), text(stage), text(failure), str(len(part))),
            *(amount(part.device_seconds.sum(), length), text(reason, 300)),
        ]
        for (method, stage, failure, reason), part in groups[:100]
    ]
    more = f'<p class="lead">And {len(groups) - 100} more kinds.</p>' if len(groups) > 100 else ""
    given_up = page.run.get("given_up") or {}
    share = 100 * failed.device_seconds.sum() / max(1e-9, page.trials.device_seconds.sum())
    return (
        f'<p class="lead">{count(len(failed), "trial")} failed and took {share:.1f} % of the compute. '
        "A failure counts against its method's share.</p>"
        + "".join(f'<p class="lead">{text(m)} was given up: {text(why, 300)}</p>' for m, why in given_up.items())
        + html_table(["method", "stage", "kind", "trials", unit, "reason"], lines, (1, 2, 5), wide=True)
        + more
    )


def _protocol(page: Page) -> str:
    rules = [
        (
            "Equal compute",
            "Each method gets the same share of the budget in device-seconds, and everything counts.",
        ),
        (
            "Pruning",
            "Unpromising trials are stopped early within a method, never by comparison with another.",
        ),
        (
            "First trials",
            "The published recipe and, where ours is another one, then ours, both to the last epoch, so that tuning "
            "never loses for lack of trying them. Both are confirmed like the winner where the budget allows.",
        ),
    ]
    entries = [f"<dt>{label}</dt><dd>{html.escape(entry)}</dd>" for label, entry in rules]
    for label, entry, plain in table.footer(page.results, page.rows):
        if label == "About the data":  # stands at the head of the page
            continue
        shown = html.escape(entry if plain else re.sub(r"\\(.)", r"\1", html.unescape(entry)).replace("`", ""))
        entries.append(f"<dt>{label}</dt><dd>{shown}</dd>")
    return f"<dl>{''.join(entries)}</dl>"


def _button(figure: str, change: Mapping, label: str, pressed: bool = False) -> str:
    return (
        f'<button data-target="{figure}" data-relayout="{html.escape(json.dumps(change))}" '
        f'aria-pressed="{str(pressed).lower()}">{label}</button>'
    )


def _plain(value: int | None) -> tuple[str, int | None]:
    return (table.DASH if value is None else str(value)), value


def _mean(estimate: table.Estimate | None) -> float | None:
    return None if estimate is None else estimate.mean


def _percents(values: Iterable[float]) -> list[float]:
    return [100 * value for value in values]


def _first(values: pd.Series) -> object:
    values = values.dropna()
    return values.iloc[0] if len(values) else None


def _or_least(moment: pd.Timestamp) -> pd.Timestamp:
    return pd.Timestamp.min.tz_localize("UTC") if pd.isna(moment) else moment


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return (
        f"{minutes} min"
        if minutes < 120
        else f"{seconds / 3600:.1f} h"
        if hours < 72
        else f"{seconds / 86400:.1f} days"
    )
