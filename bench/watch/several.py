"""Several runs: a list of them, and those that were chosen side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from bench.errors import UserError
from bench.files import slug
from bench.report.notes import title
from bench.report.page import LEGEND_ABOVE, PALETTE, SHAPES, Page, small, text
from bench.report.results import Results
from bench.report.rows import Row, leader, rows
from bench.report.run import budget_seconds, compute_unit
from bench.report.text import DASH, amount, one_line, percent, with_interval
from bench.report.verdict import verdict
from bench.watch.live import NOTHING, TEMPLATES
from bench.watch.parts import Parts, Versions, script_json
from bench.watch.watched import FILES, Watched


def is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("ledger.jsonl", FILES[0]))


class Runs:
    """The runs in `folders`, each of which is one, or has some in it; those that begin later are found too.

    Raises UserError where there is none, unless one is `expected`.
    """

    def __init__(self, folders: Sequence[Path], *, expected: bool = False) -> None:
        self._folders = folders
        self.known: dict[str, Watched] = {}
        """By the names that their addresses have."""
        self.list = Versions(["list"])
        self.frame = TEMPLATES.get_template("runs.html").render(**NOTHING | {"title": "Runs"})
        self._lines: dict[str, tuple[Results, dict[str, Any]]] = {}
        self.single = len(folders) == 1 and (expected or is_run(folders[0]))
        """Whether there is one run alone, which needs no list."""
        if self.single:
            self._add(folders[0])
        else:
            self.find()
        if not self.known:
            where = ", ".join(map(str, folders))
            raise UserError(
                f"{where} holds no run; give the folder of one, in which ledger.jsonl lies, or one above some"
            )

    def find(self) -> None:
        """Look for runs that have begun since."""
        if self.single:
            return
        for folder in self._folders:
            inside = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
            for path in [folder] if is_run(folder) else filter(is_run, inside):
                self._add(path)

    def _add(self, folder: Path) -> None:
        if any(run.folder == folder.resolve() for run in self.known.values()):
            return
        run = Watched(folder)
        base = slug(run.name) or "run"
        taken = (base if number == 1 else f"{base}-{number}" for number in range(1, len(self.known) + 2))
        self.known[next(name for name in taken if name not in self.known)] = run

    def look(self) -> None:
        """Bring the list up to date: of each run what its page was last made of."""
        self.find()
        for run in self.known.values():
            run.look()
        lines = [self._line(name, run) for name, run in self.known.items()]
        body = TEMPLATES.get_template("list.html").render(lines=lines)
        section = f'<section id="runs"><h2>Runs</h2>\n{body}</section>\n'
        head = f"<div>\n<h1>{len(lines)} {'run' if len(lines) == 1 else 'runs'}</h1>\n</div>"
        self.list.put("list", Parts(head, "", {"runs": section}, {}))

    def page(self) -> str:
        self.look()
        return self.list.page(self.frame, "live.js")

    def _line(self, name: str, run: Watched) -> dict[str, Any]:
        found, state = run.results, run.state
        if found is None:
            reason = "being read" if not run.made.is_set() else "its files cannot be read; its page says why"
            return {"name": name, "run": run.name, "state": reason, "images": DASH, "methods": DASH, "spent": DASH,
                    "leader": DASH, "verdict": ""}  # fmt: skip
        if self._lines.get(name, (None,))[0] is not found:
            self._lines[name] = found, _summary(found)
        return {"name": name, "run": run.name, "state": state, **self._lines[name][1]}


def _summary(found: Results) -> dict[str, Any]:
    """Of a run for the list."""
    made, total = rows(found), budget_seconds(found.run)
    charged = found.run.get("charged") or float(found.trials.device_seconds.sum())
    unit, length = compute_unit(found.run, total or charged)
    best, said = leader(made), verdict(made, found)
    methods = [row.method for row in made if not row.baseline]
    return {
        "images": one_line(title(found), 200) if len(found.trials) else DASH,
        "methods": f"{len(methods)}: {one_line(', '.join(methods), 90)}" if methods else DASH,
        "spent": f"{amount(charged, length)} of {amount(total, length)} {unit}",
        "leader": f"{one_line(best.title)} {with_interval(best.accuracy)} %" if best else DASH,
        "verdict": said.text.split(". ")[0].rstrip(".") + "." if said else "",
    }


# ---- side by side ----


class Beside(NamedTuple):
    """A run beside others."""

    name: str
    title: str
    found: Results
    made: list[Row]


def side_by_side(chosen: Sequence[tuple[str, Watched]]) -> str:
    """The page of the runs that were chosen; of those of which nothing is known yet nothing."""
    runs = [Beside(name, run.name, run.results, rows(run.results)) for name, run in chosen if run.results is not None]
    if not runs:
        return _page("Side by side", Markup('<p class="empty">No run was chosen. Go back and choose some.</p>'), "{}")
    page = Page(runs[0].found, [])
    methods = dict.fromkeys(row.title for run in runs for row in run.made)
    told = {run.name: {row.title: _accuracy(row) for row in run.made} for run in runs}
    known = [run.found.trials[["dataset", "dataset_fingerprint"]].dropna().drop_duplicates() for run in runs]
    images = {tuple(map(str, each)) for some in known for each in some.to_numpy()}
    body = TEMPLATES.get_template("side_by_side.html").render(
        runs=runs,
        lines=[(method, [told[run.name].get(method, DASH) for run in runs]) for method in methods],
        other_images=len(images) > 1,
        chart=_curves(page, runs),
    )
    return _page("Side by side", body, script_json(page.figures))


def _page(name: str, body: str, figures: str) -> str:
    section = {"title": "Accuracy", "name": "accuracy", "body": Markup(body)}
    filled = {"title": name, "sections": [section], "figures": Markup(figures)}
    return TEMPLATES.get_template("runs.html").render(**NOTHING | filled)


def _accuracy(row: Row) -> str:
    if row.accuracy is not None:
        return with_interval(row.accuracy)
    return DASH if row.search_accuracy is None else f"({percent(row.search_accuracy)})"


def _curves(page: Page, runs: Sequence[Beside]) -> Any:
    """The best figure that each run's search had seen against the compute that it had taken; None where none has."""
    most = max(float(run.found.trainings.device_seconds.sum()) for run in runs)
    unit, length = compute_unit(runs[0].found.run, most)
    traces = []
    for place, run in enumerate(runs):
        trials = run.found.trainings
        search = trials[(trials.stage == "search") & trials.ended.notna()].sort_values("ended", kind="stable")
        figure = search[run.found.judged.train].where(search.state == "complete")
        if not figure.notna().any():
            continue
        best = figure.ffill().cummax() if len(figure) else figure
        traces.append(
            go.Scatter(
                x=small(np.cumsum(search.device_seconds.to_numpy()) / length),
                y=small(100 * best.to_numpy()),
                name=text(run.title),
                mode="lines+markers",
                line={"shape": "hv", "color": PALETTE[place % len(PALETTE)], "dash": SHAPES[place // 7 % 4][1]},
                marker={"size": 4},
            )
        )
    if not traces:
        return None
    return page.chart(
        "search",
        traces,
        "The best that each search had seen",
        showlegend=True,
        legend=LEGEND_ABOVE,
        xaxis={"title": {"text": f"{unit} of search"}},
        yaxis={"title": {"text": runs[0].found.judged.search_heading}},
    )
