"""The page of a run: Plotly charts and tables made from its Parquet files alone, a section a file of
`bench.report.sections`, their HTML in `templates/`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from bench.files import write_atomically
from bench.report import inspections, results, table
from bench.report.cards import cards
from bench.report.inspections import Inspections
from bench.report.labels import WORTH
from bench.report.notes import ABOUT_THE_DATA, title
from bench.report.page import Page
from bench.report.results import Results
from bench.report.rows import rows
from bench.report.run import fact
from bench.report.sections import (
    accuracy,
    augmentation,
    classes,
    compute,
    diagnosis,
    differences,
    labels,
    learned,
    methods,
    protocol,
    ranking,
    results_table,
    timeline,
    trials,
)
from bench.report.text import capital, one_line

SECTIONS: tuple[tuple[str, str, Callable[[Page], Markup | None]], ...] = (
    ("Results", "results", results_table.section),
    ("Accuracy", "accuracy", accuracy.section),
    ("Differences", "differences", differences.section),
    (WORTH, "labels", labels.section),
    ("Class by class", "classes", classes.section),
    ("What it learned", "learned", learned.section),
    ("Compute", "compute", compute.section),
    ("Ranking by budget", "ranking", ranking.section),
    ("Augmentation", "augmentation", augmentation.section),
    ("Method by method", "methods", methods.section),
    ("Timeline", "timeline", timeline.section),
    ("All trials", "trials", trials.section),
    ("Diagnosis", "diagnosis", diagnosis.section),
    ("How to read this", "protocol", protocol.section),
)
"""Title, name and maker of each, in the order of the page; a maker gives None where the run has nothing of its kind.
Where labels are few or none, some are called otherwise."""


class Notice(NamedTuple):
    """What stands at the head of the page."""

    text: str
    about: str = ""


def write(folder: str | Path) -> Path:
    """Make the page and the table again from a run's Parquet files and what it left to look at: report.html,
    plotly.min.js beside it (so that it needs no network), table.md and table.csv. Returns the path of report.html.

    Raises UserError where the Parquet files are missing or torn, and OSError.
    """
    folder = Path(folder)
    found = results.load(folder)
    table.write(found, folder)
    script = folder / "plotly.min.js"
    content = get_plotlyjs().encode()
    if not script.is_file() or script.stat().st_size != len(content):
        write_atomically(script, content)
    path = folder / "report.html"
    write_atomically(path, render(found, inspections.load(folder, found)))
    return path


def render(found: Results, inspected: Inspections | None = None, *, live: bool = False) -> str:
    """The page. The same results give the same text. Where it is renewed while the run goes on (`live`), it does not
    say that the run had not ended."""
    page = Page(found, rows(found), inspected)
    told = {} if page.judged.ranks else {"accuracy": capital(page.judged.noun)}
    told |= {} if page.judged.ranks_searches else {"ranking": "Search by budget"}
    made = [{"title": told.get(name, title), "name": name, "body": make(page)} for title, name, make in SECTIONS]
    sections = [section for section in made if section["body"] is not None]
    dataset = next(iter(page.trials.dataset.dropna()), "no data yet")
    figures = json.dumps(page.figures, separators=(",", ":")).replace("<", "\\u003c")  # it would end the script early
    return page.render(
        "page.html",
        title=f"Self-supervised methods on {one_line(dataset)}",
        subtitle=_subtitle(page),
        notices=_notices(page, live),
        verdict=page.verdict.points if page.verdict else [],
        cards=cards(page),
        sections=sections,
        figures=Markup(figures),
    )


def _subtitle(page: Page) -> list[str]:
    """What the run is of, its name, and when it was."""
    trials = page.results.trials
    began, ended = trials.started.min(), trials.ended.max()
    told = [one_line(title(page.results), 400), f"run {one_line(page.run.get('name', 'without a name'))}"]
    if not pd.isna(began):
        told.append(f"{began:%Y-%m-%d %H:%M} to {(began if pd.isna(ended) else ended):%Y-%m-%d %H:%M} UTC")
    return told


def _notices(page: Page, live: bool) -> list[Notice]:
    closed, notices = page.run.get("closed"), []
    if closed != "done" and not (live and closed is None):
        why = {
            None: "The run had not ended when this page was made; the same command continues it.",
            "budget": "The budget was spent before all was done; the same command with a larger one continues it.",
        }.get(closed, f"The run ended early ({one_line(closed)}); the same command continues it.")
        notices.append(Notice(f"{why} What follows is what was measured so far."))
    if remarks := fact(page.run, "remarks"):
        notices.append(Notice(" ".join(one_line(remark, 1000) for remark in remarks), ABOUT_THE_DATA))
    return notices
