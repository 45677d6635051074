"""The trials that failed, by method, stage, kind and reason."""

from markupsafe import Markup

from bench.report.page import Page
from bench.report.run import compute_unit
from bench.report.text import DASH, amount, count, one_line

KINDS = 100
"""The most kinds of failure in the table."""


def section(page: Page) -> Markup:
    failed = page.trials[page.trials.state == "failed"]
    seconds = float(failed.device_seconds.sum())
    failed = failed.assign(reason=failed.reason.fillna("no reason recorded"), failure=failed.failure.fillna(DASH))
    kinds = ["method", "stage", "failure", "reason"]
    groups = sorted(failed.groupby(kinds), key=lambda group: (-len(group[1]), group[0]))
    unit, length = compute_unit(page.run, seconds)
    return page.render(
        "failures.html",
        failed=count(len(failed), "trial") if len(failed) else "",
        share=100 * seconds / max(1e-9, float(page.results.trials.device_seconds.sum())),
        given_up=page.run.get("given_up") or {},
        heads=["method", "stage", "kind", "trials", unit, "reason"],
        lines=[
            [
                *map(one_line, (method, stage, failure, len(part))),
                *(amount(float(part.device_seconds.sum()), length), one_line(reason, 300)),
            ]
            for (method, stage, failure, reason), part in groups[:KINDS]
        ],
        more=max(0, len(groups) - KINDS),
    )
