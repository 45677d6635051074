"""The table of the results, sortable; `bench.report.columns` says what it has."""

from markupsafe import Markup

from algorithms.evaluation.metrics import METRICS
from bench.report.columns import ADAPTED, any_adapted, columns
from bench.report.labels import SUPERVISED
from bench.report.notes import FAILED_SEEDS, UNRANKED, from_elsewhere
from bench.report.page import Page
from bench.report.rows import Row, leader
from bench.report.text import DASH
from bench.search.plan import FROM_SCRATCH

SCRATCH = "Of the supervised baseline, few labels and fine-tuning are training from scratch with just those labels."


def section(page: Page) -> Markup:
    if not page.rows:
        return page.empty("No trial has been suggested yet.")
    name, *others = (column for column in columns(page.rows, page.run, page.results.judged) if column.heading)
    # A column in which nothing was measured takes the room of those that matter.
    shown = [column for column in others if any({column.text(r), column.note(r)} - {DASH, ""} for r in page.rows)]
    return page.render(
        "results_table.html",
        columns=[name, *shown],
        bodies=[page.methods, [row for row in page.rows if row.baseline]],
        leader=leader(page.rows),
        own=[row for row in page.rows if row.own_encoder],
        elsewhere=from_elsewhere(page.rows),
        two_recipes=any(row.two_recipes for row in page.rows),
        unranked="" if page.judged.ranks else UNRANKED,
        failed_seeds=FAILED_SEEDS if any(row.failed_seeds for row in page.methods) else "",
        scratch=SCRATCH if any(map(_from_scratch, page.rows)) else "",
        adapted=ADAPTED if any_adapted(page.methods) else "",
    )


def _from_scratch(row: Row) -> bool:
    """Whether it has a figure of protocols that train from scratch."""
    measured = {METRICS[name].protocol for name in row.evaluated}
    return row.method == SUPERVISED and not measured.isdisjoint(FROM_SCRATCH)
