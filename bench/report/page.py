"""What the sections of the page are made with: the run, its charts, their colours, and the templates."""

import html
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from bench.report.comparison import Comparison
from bench.report.inspections import Inspections
from bench.report.judged import Judged
from bench.report.results import Results
from bench.report.rows import Row
from bench.report.run import Run
from bench.report.text import one_line
from bench.report.verdict import Verdict, comparison, verdict
from bench.search.methods import WARM, base

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
WARM_SHAPE = ("star", "longdash")
"""Of a warm-started method, which has the colour of the same method from scratch."""
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


class Chart(NamedTuple):
    """The place of a chart in the page, where the page's script draws it."""

    name: str
    label: str
    """For those who cannot see it."""


@dataclass
class Page:
    """What the sections are made from, and the charts that they put on the page."""

    results: Results
    rows: list[Row]
    inspections: Inspections | None = None
    """What the run left to look at, beside its tables."""
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    @cached_property
    def comparison(self) -> Comparison:
        return comparison(self.rows)

    @cached_property
    def verdict(self) -> Verdict | None:
        return verdict(self.rows, self.results)

    @property
    def trials(self) -> pd.DataFrame:
        """The trials that train."""
        return self.results.trainings

    @property
    def epochs(self) -> pd.DataFrame:
        return self.results.epochs

    @property
    def run(self) -> Run:
        return self.results.run

    @property
    def judged(self) -> Judged:
        return self.results.judged

    @property
    def methods(self) -> list[Row]:
        return [row for row in self.rows if not row.baseline]

    def color(self, method: str) -> str:
        return PALETTE[self._place(method) % len(PALETTE)]

    def shape(self, method: str) -> tuple[str, str]:
        """Marker symbol and line dash; for those who cannot tell the colours apart."""
        return WARM_SHAPE if method.endswith(WARM) else SHAPES[self._place(method) // 7 % len(SHAPES)]

    def _place(self, method: str) -> int:
        method = base(method)
        if method in ORDER:
            return ORDER.index(method)
        return len(ORDER) + sorted({base(row.method) for row in self.rows}).index(method)

    def chart(self, name: str, traces: list[Any], label: str, *, height: int = 360, **layout: Any) -> Chart:
        """Put a chart on the page: Plotly's traces and layout."""
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
        return Chart(name, label)

    def render(self, template: str, **values: Any) -> Markup:
        """A template's HTML: `page` is this page, and values that are no markup are escaped."""
        return Markup(TEMPLATES.get_template(template).render(page=self, **values))

    def empty(self, message: str) -> Markup:
        """What stands where nothing can be shown yet."""
        return self.render("empty.html", message=message)


def text(value: object, most: int = 60) -> str:
    """Escaped for HTML and for Plotly's labels, which read a part of it and fill in what stands in braces."""
    return html.escape(one_line(value, most)).replace("{", "&#123;")


def latest(*moments: Any) -> Any:
    """The last of the moments that are known; NaT where none is."""
    return max((moment for moment in moments if not pd.isna(moment)), default=pd.NaT)


def small(values: ArrayLike) -> NDArray[np.float32]:
    """Half the bytes of float64, and more digits than any chart shows."""
    return np.asarray(values, dtype=np.float32)


def templates(*packages: str) -> jinja2.Environment:
    """Those of these packages, of the first that has one of a name. All values are escaped that are no markup."""
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package) for package in packages]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["text"] = lambda value, most=60: Markup(text(value, most))
    return made


TEMPLATES = templates("bench.report")


def upright(place: float, dash: str, width: float) -> dict[str, Any]:
    """A line over the whole height of a chart."""
    line = {"dash": dash, "width": width}
    return {"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "yref": "paper", "line": line}
