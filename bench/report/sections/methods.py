"""Method by method: the best trial of each, and a block for each with the parts of `bench.report.sections.method`."""

import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.page import LEGEND_BELOW, STATE_COLORS, Chart, Page, small, text
from bench.report.rows import Row
from bench.report.run import origin
from bench.report.sections.method import curves, importance, parallel, settings, slices
from bench.report.sections.method.tried import Tried, epoch_ticks, tried
from bench.report.text import DASH, capital, count, one_line, percent, seeds_note, with_interval

PARTS = (settings.part, curves.part, parallel.part, slices.part, importance.part)
"""Of a method's block, in their order."""


def section(page: Page) -> Markup:
    if not page.methods:
        return page.empty("No method has been tried yet.")
    blocks = [_block(page, place, row) for place, row in enumerate(page.methods)]
    return page.render("methods.html", best=_best_curves(page), blocks=blocks)


def _best_curves(page: Page) -> Chart | None:
    traces, figure, by_epoch = [], page.judged.train, page.judged.chosen.name
    search = page.trials[page.trials.stage == "search"]
    for row in page.methods:
        trials = search[(search.method == row.method) & search[figure].notna()]
        complete = trials[trials.state == "complete"]
        trials = complete if len(complete) else trials
        if not len(trials):
            continue
        uid = trials.uid.iloc[int(trials[figure].argmax())]
        curve = page.epochs[(page.epochs.uid == uid) & page.epochs[by_epoch].notna()].sort_values("epoch")
        symbol, dash = page.shape(row.method)
        traces.append(
            go.Scatter(
                x=curve.epoch.to_numpy(),
                y=small(100 * curve[by_epoch]),
                name=text(row.title),
                mode="lines+markers",
                line={"color": page.color(row.method), "dash": dash, "width": 2},
                marker={"symbol": symbol, "size": 5},
                hovertemplate=f"{text(row.title)}, epoch %{{x}}: %{{y:.2f}} %<extra></extra>",
            )
        )
    if not traces:
        return None
    return page.chart(
        "best-curves",
        traces,
        f"{capital(page.judged.search_noun)} by epoch of each method's best trial of the search",
        height=390 + 8 * len(traces),
        legend=LEGEND_BELOW,
        xaxis={"title": {"text": "epoch", "standoff": 6}} | epoch_ticks(page),
        yaxis={"title": {"text": page.judged.search_heading}},
    )


def _block(page: Page, place: int, row: Row) -> Markup:
    found = tried(page, place, row)
    recipe = origin(page.run, row.method)
    return page.render(
        "method.html",
        row=row,
        place=place,
        facts=_facts(found),
        source=recipe.get("source", DASH) if recipe else "",
        parts=[part(found) for part in PARTS],
    )


def _facts(found: Tried) -> list[str]:
    """What stands beside the method's name."""
    row = found.row
    states = ", ".join(f"{row.counts[state]} {state}" for state in STATE_COLORS if state in row.counts)
    given_up = (found.page.run.get("given_up") or {}).get(row.method)
    judged = found.page.judged
    tested = "test" if judged.ranks else judged.test_kind
    facts = [
        f"{with_interval(row.accuracy)} % {tested}" if row.accuracy else "not confirmed",
        seeds_note(row.accuracy, row.failed_seeds),
        f"{percent(row.search_accuracy)} % {judged.search}" if row.search_accuracy is not None else "",
        f"{count(len(found.trials), 'configuration')}: {one_line(states)}" if states else "no configuration tried",
        f"given up: {one_line(given_up, 300)}" if given_up else "",
    ]
    return [fact for fact in facts if fact]
