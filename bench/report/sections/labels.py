"""The accuracy against how many labels there are, beside training from scratch with just those."""

from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from bench.report.labels import SUPERVISED, UNTRAINED, Curve, Efficiency, efficiency
from bench.report.page import GREY, LEGEND_BELOW, Chart, Page, text
from bench.report.text import capital, with_interval


def section(page: Page) -> Markup | None:
    """None where nothing was measured with few labels."""
    few = efficiency(page.rows, page.results)
    if few is None:
        return None
    heads, lines = few.table()
    return page.render(
        "labels.html",
        linear=_chart(page, few, "labels-linear", "linear probe", few.linear) if few.linear else None,
        knn=_chart(page, few, "labels-knn", "kNN", few.knn) if few.knn else None,
        lead=few.lead,
        heads=heads,
        lines=lines,
        words=len(heads) - 1 if few.few else None,
    )


def _chart(page: Page, few: Efficiency, name: str, kind: str, curves: list[Curve]) -> Chart:
    traces = [_trace(page, few, curve) for curve in (*curves, *filter(None, [few.scratch]))]
    counts = sorted(set(few.labels.values()))
    return page.chart(
        name,
        traces,
        f"{capital(kind)} against the number of labels",
        height=430 + 9 * len(traces),
        showlegend=True,
        legend=LEGEND_BELOW,
        xaxis={
            "type": "log",
            "title": {"text": "labels", "standoff": 6},
            "tickvals": counts,
            "ticktext": [f"{count:,}" for count in counts],
        },
        yaxis={"title": {"text": f"test {kind}, %"}},
    )


def _trace(page: Page, few: Efficiency, curve: Curve) -> Any:
    row, (color, dash, width) = curve.row, _look(page, curve)
    halves = [100 * (estimate.half_width or 0.0) for estimate in curve.points.values()]
    return go.Scatter(
        x=[few.labels[number] for number in curve.points],
        y=[100 * estimate.mean for estimate in curve.points.values()],
        error_y={"array": halves, "thickness": 1, "width": 3, "color": color},
        customdata=[with_interval(estimate) for estimate in curve.points.values()],
        name=text("trained from scratch with just those labels" if row.method == SUPERVISED else row.title),
        mode="lines+markers",
        line={"color": color, "dash": dash, "width": width},
        marker={"color": color, "symbol": "circle" if row.baseline else page.shape(row.method)[0], "size": 6},
        hovertemplate=f"{text(row.title)}, %{{x:,}} labels<br>%{{customdata}} %<extra></extra>",
    )


def _look(page: Page, curve: Curve) -> tuple[str, str, float]:
    """Colour, dash and width of a line: what others are held against is grey, training from scratch bold."""
    method = curve.row.method
    if method == SUPERVISED:
        return GREY, "solid", 5
    if method == UNTRAINED:
        return GREY, "dot", 2
    return page.color(method), "dashdot" if curve.row.frozen else page.shape(method)[1], 2
