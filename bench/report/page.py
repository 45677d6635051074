"""What the sections of the report are made of: the page and its charts, colours, and small pieces of HTML."""

import html
import json
from collections.abc import Container
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from bench.report.results import Results
from bench.report.table import Row, one_line

ORDER = (
    *("byol", "relic", "simclr", "simclrv2", "swav", "moco", "mocov2", "mocov3"),
    *("barlow", "pirl", "amdim", "cpc", "seer", "sela", "dino", "simsiam"),
)
"""The methods whose colours are fixed, so that they are the same in every run; others come after."""
PALETTE = (  # Okabe and Ito's, then Tol's muted ones; every seven colours the shape changes too
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1"),
    *("#44aa99", "#cc6677", "#999933", "#6f7fd6", "#c9a227", "#a5673f", "#b05fb0"),
    *("#3f8f4f", "#d98880"),
)
SHAPES = (("circle", "solid"), ("square", "dash"), ("diamond", "dot"), ("triangle-up", "dashdot"))
GREY = "#8d96a0"
STATE_COLORS = {
    "complete": "#009e73",
    "pruned": "#a9b2bc",
    "failed": "#d55e00",
    "cut": "#cc79a7",
    "running": "#56b4e9",
}
LEGEND_ABOVE = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "xanchor": "left"}
LEGEND_BELOW = {"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top", "xanchor": "left"}


@dataclass
class Page:
    """What the sections are made from, and the charts that they put on the page."""

    results: Results
    rows: list[Row]
    figures: dict[str, dict] = field(default_factory=dict)

    @property
    def trials(self) -> pd.DataFrame:
        return self.results.trials

    @property
    def epochs(self) -> pd.DataFrame:
        return self.results.epochs

    @property
    def run(self) -> dict:
        return self.results.run

    @property
    def methods(self) -> list[Row]:
        return [row for row in self.rows if not row.baseline]

    def color(self, method: str) -> str:
        return PALETTE[self._place(method) % len(PALETTE)]

    def shape(self, method: str) -> tuple[str, str]:
        """Marker symbol and line dash; for those who cannot tell the colours apart."""
        return SHAPES[self._place(method) // 7 % len(SHAPES)]

    def _place(self, method: str) -> int:
        if method in ORDER:
            return ORDER.index(method)
        return len(ORDER) + sorted(row.method for row in self.rows).index(method)

    def chart(self, name: str, traces: list, label: str, *, height: int = 360, **layout) -> str:
        """Put a chart on the page; returns the element in which the page's script draws it."""
        margin = {"l": 50, "r": 16, "t": 14, "b": 44}
        layout = {
            "template": go.layout.Template(),
            "height": height,
            "margin": margin,
            "hovermode": "closest",
        } | layout
        for axis in ("xaxis", "yaxis"):
            layout[axis] = {"automargin": True} | layout.get(axis, {})
        self.figures[name] = json.loads(go.Figure(traces, layout).to_json())
        return f'<div class="chart" data-figure="{name}" role="img" aria-label="{text(label)}"></div>'


def text(value: object, most: int = 60) -> str:
    """Escaped for HTML and for Plotly's labels, which read a part of it and fill in what stands in braces."""
    return html.escape(one_line(value, most)).replace("{", "&#123;")


def empty(message: str) -> str:
    return f'<div class="empty">{message}</div>'


def method_name(page: Page, row: Row, link: bool = True) -> str:
    name = ("" if row.baseline else dot(page, row.method)) + text(row.title)
    if row.paper:
        return f'<a href="{html.escape(row.paper)}">{name}</a>' if link else name
    return name


def dot(page: Page, method: str) -> str:
    return f'<i class="dot {page.shape(method)[0]}" style="background:{page.color(method)}"></i>'


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def small(values: object) -> np.ndarray:
    """Half the bytes of float64, and more digits than any chart shows."""
    return np.asarray(values, dtype=np.float32)


def html_table(heads: list[str], rows: list[list[str]], texts: Container[int] = (), *, wide: bool = False) -> str:
    """A table that scrolls by itself where it is too wide. Cells are HTML; the columns in `texts` are not numbers."""

    def line(tag: str, cells: list[str]) -> str:
        kinds = (' class="text wrap"' if place in texts else "" for place in range(len(cells)))
        return f"<tr>{''.join(f'<{tag}{kind}>{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))}</tr>"

    body = "".join(line("td", row) for row in rows)
    kind = ' class="wide"' if wide else ""
    return f'<div class="scroll"><table{kind}><thead>{line("th", heads)}</thead><tbody>{body}</tbody></table></div>'
