"""The cards at the head of the page: the best method, the budget, the trials and the duration."""

from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from bench.report.columns import probability_text
from bench.report.notes import TO_BE_RANKED
from bench.report.page import STATE_COLORS, Page, latest
from bench.report.rows import Row, compared, leader, ranked
from bench.report.run import budget_seconds, compute_unit, devices, slots_text
from bench.report.text import DASH, amount, count, one_line, percent, seeds_note, with_interval


class Part(NamedTuple):
    """A part of a card's bar: a colour of the style sheet, and its length as a style or its share of the others."""

    style: str
    color: str
    title: str = ""


class Card(NamedTuple):
    """One figure of the whole run."""

    label: str
    value: str | Row
    """A row is shown as its method's name."""
    note: str
    bar: list[Part] | None = None


def cards(page: Page) -> Markup:
    return page.render("cards.html", cards=[_leading(page), _budget(page), _trials(page), _duration(page)])


def _leading(page: Page) -> Card:
    judged = page.judged
    if not judged.ranks:
        return Card("Best method", DASH, f"no labels: methods are not ranked; {TO_BE_RANKED}")
    if best := leader(page.rows):
        other = page.methods[0]  # may stand above it with an encoder of its own
        note = f"{with_interval(best.accuracy)} % {judged.test_kind}"
        note += f", {count(len(best.accuracy.values), 'seed')}" if best.accuracy else ""
        note += f"; ranks first with probability {probability_text(best)}" if best.first is not None else ""
        note += f"; {one_line(other.title)} has {with_interval(other.accuracy)} %" if other is not best else ""
        alike = len(page.comparison.best(row.method for row in ranked(page.rows))) - 1
        note += f"; {count(alike, 'other')} may be the best" if alike > 0 else ""
        return Card("Leading method" if alike > 0 else "Best method", best, note)
    if not judged.ranks_searches:
        return Card("Best method", DASH, "no labels enough to say before all are confirmed")
    tried = [row for row in compared(page.rows) if row.search_accuracy is not None]
    best = max(tried, key=lambda row: row.search_accuracy or 0.0, default=None)
    if best is None:
        return Card("Best method so far", DASH, "no trial is complete yet")
    failed = seeds_note(best.accuracy, best.failed_seeds)
    note = f"{percent(best.search_accuracy)} % {judged.search_kind}; {failed or 'not confirmed yet'}"
    return Card("Best method so far", best, note)


def _budget(page: Page) -> Card:
    charged = page.run.get("charged") or float(page.results.trials.device_seconds.sum())
    total = budget_seconds(page.run)
    unit, length = compute_unit(page.run, total or charged)
    share = min(1.0, charged / total) if total else 0.0
    return Card(
        "Budget",
        f"{amount(charged, length)} of {amount(total, length)} {unit}",
        f"{100 * charged / total:.0f} % spent, {_shares(page)}" if total else "no budget recorded",
        [Part(f"width:{100 * share:.1f}%", "accent")],
    )


def _shares(page: Page) -> str:
    used = [row.device_seconds for row in page.methods if row.device_seconds]
    if len(used) < 2:
        return "everything counted"
    return f"the most used {max(used) / min(used):.2f} times the least"


def _trials(page: Page) -> Card:
    states = page.trials.state.value_counts()
    known = [state for state in STATE_COLORS if states.get(state)]
    return Card(
        "Trials",
        f"{len(page.trials):,}",
        " · ".join(f"{states[state]:,} {state}" for state in known),
        [Part(f"flex:{states[state]}", state, f"{states[state]} {state}") for state in known],
    )


def _duration(page: Page) -> Card:
    trials, slots = page.results.trials, slots_text(page.run)
    began, ended = trials.started.min(), latest(trials.ended.max(), page.epochs.reported.max())
    lasted = DASH if pd.isna(began) or pd.isna(ended) else duration((ended - began).total_seconds())
    on = ", ".join(map(one_line, devices(page.run, trials))) or "no device yet"
    return Card("Duration", lasted, on + (f"; {one_line(slots)}" if slots else ""))


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`, `4.0 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if (minutes := round(seconds / 60)) < 120:
        return f"{minutes} min"
    return f"{seconds / 3600:.1f} h" if round(seconds / 3600) < 72 else f"{seconds / 86400:.1f} days"
