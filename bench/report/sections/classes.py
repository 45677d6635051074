"""How well the best method knows each class, the worst first."""

import plotly.graph_objects as go
from markupsafe import Markup

from algorithms.evaluation.metrics import METRICS
from bench.report.page import Page, small, text
from bench.report.rows import Row, compared, leader
from bench.report.text import heading, listed, one_line, percent

MOST = 200
"""Classes that a chart has room for."""
NAMED = 30
WORST = 5


def section(page: Page) -> Markup | None:
    """None where the accuracies of classes were not told, or classes are too many."""
    row = leader(page.rows) or next((row for row in compared(page.rows) if row.classes), None)
    if row is None or not row.classes:
        return None
    by = "linear" if "linear" in row.classes else next(iter(row.classes))
    measured = [(place, value) for place, value in enumerate(row.classes[by]) if value is not None]
    if not 1 < len(measured) <= MOST:
        return None
    measured.sort(key=lambda each: each[1])
    names = _names(page, len(row.classes[by]))
    worst = [f"{names[place]} ({percent(value)} %)" for place, value in measured[: min(WORST, len(measured) // 2)]]
    return page.render(
        "classes.html",
        chart=_chart(page, row, [place for place, _ in measured], names),
        row=row,
        by=METRICS[by].title,
        worst=listed(worst),
    )


def _names(page: Page, count: int) -> list[str]:
    """What the classes are called, by their places in the data set; where that is not told, these."""
    told = ((page.run.get("facts") or {}).get("images") or {}).get("classes") or []
    return [one_line(told[place], 40) if place < len(told) else f"class {place}" for place in range(count)]


def _chart(page: Page, row: Row, places: list[int], names: list[str]) -> object:
    told = [(METRICS[name], values) for name, values in row.classes.items()][::-1]  # Plotly counts upwards
    shown = [[values[place] if place < len(values) else None for place in places] for _, values in told]
    return page.chart(
        "classes",
        [
            go.Heatmap(
                z=[small([float("nan") if value is None else 100 * value for value in line]) for line in shown],
                y=[heading(metric) for metric, _ in told],
                customdata=[[text(names[place]) for place in places]] * len(told),
                hovertemplate="%{customdata}: %{z:.2f} % by %{y}<extra></extra>",
                colorscale="Viridis",
                xgap=1,
                ygap=1,
                colorbar={"thickness": 10, "ticksuffix": " %"},
            )
        ],
        f"Accuracy of {text(row.title)} in each class",
        height=120 + 34 * len(told) + (60 if len(places) <= NAMED else 0),
        xaxis={
            "showgrid": False,
            "tickvals": list(range(len(places))) if len(places) <= NAMED else [],
            "ticktext": [text(names[place], 16) for place in places] if len(places) <= NAMED else [],
        },
        yaxis={"showgrid": False},
    )
