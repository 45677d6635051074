"""What a run does now: the part of the page that its ledger's fold gives by itself, without a table being made."""

import shlex
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.report.cards import duration
from bench.report.page import GREY, PALETTE, Chart, templates, text
from bench.report.run import Run, budget_seconds, compute_unit
from bench.report.text import DASH, amount, count, listed, percent
from bench.search.fold import Fold
from bench.search.job import CHOOSING
from bench.search.selection import called, figure
from bench.search.trials import CONFIRMING, Trial
from bench.watch.parts import Parts, script_json

TEMPLATES = templates("bench.watch", "bench.report")
STALE = 60.0
"""Seconds without a word after which a driver may be gone: it gives a sign every two seconds, every twenty with 160
trials at a time."""
CHARTS, SHOWN = 8, 64
"""The most trials that run whose curves are drawn, and that are listed."""
NOTHING = {"title": "", "subtitle": [], "notices": [], "verdict": "", "cards": "", "sections": [], "figures": "{}"}
"""What the page's template is filled with where there is nothing to show."""
PLACE = "live"
"""The section's id."""
DOING = {
    "baseline": "training baselines",
    "search": "searching",
    "race": "racing the best on further seeds",
    **dict.fromkeys(CONFIRMING, "confirming"),
    "evaluate": "judging encoders",
}
CLOSED = {
    "done": "The run has ended: all was done.",
    "budget": "The run has ended: the budget is spent. The same command with a larger --budget continues it.",
    "interrupted": "The run was interrupted. The same command continues it.",
    "error": "The run ended with an error. The same command continues it, when what its output says is mended.",
}
BRIEFLY = {"budget": "budget spent", "error": "ended with an error"}


class Running(NamedTuple):
    """A trial that holds a slot, in words."""

    uid: str
    method: str
    stage: str
    epoch: str
    held: str
    pace: str
    left: str
    stop: str
    """The command that stops it."""


class Share(NamedTuple):
    """A method, and what of its share is spent."""

    method: str
    part: float | None
    """In percent, at most 100; None of what has no share."""
    spent: str
    trials: str
    best: str
    doing: str


def silent(fold: Fold, now: float) -> float | None:
    """Seconds since the driver was last heard, where that is too long; None else, and of a run that has ended."""
    quiet = now - fold.time
    return quiet if fold.settings and fold.closed is None and quiet > STALE else None


def briefly(run: Run, fold: Fold, now: float) -> str:
    """The state of a run in a list. Where there is no ledger, as its tables tell it."""
    closed = run.get("closed")
    if closed is not None:
        return BRIEFLY.get(closed, closed)
    if not fold.settings:
        return "not ended"
    quiet = silent(fold, now)
    return "running" if quiet is None else f"silent for {duration(quiet)}"


def parts(
    fold: Fold, run: Run, folder: Path, error: str | None = None, made: float | None = None, now: float | None = None
) -> Parts:
    """The section, with the figures of trials that run. `error` says why the run cannot be read on, `made` when the
    report below was made."""
    now = time.time() if now is None else now
    quiet, runs = silent(fold, now), [t for t in fold.open.values() if t.state == "running" and t.attempts]
    going = fold.closed is None and quiet is None
    figures = {name: chart for trial in runs if going for name, chart in _figures(trial)}
    figures = dict(list(figures.items())[:CHARTS])
    section = TEMPLATES.get_template("live.html").render(
        place=PLACE,
        said=_said(fold, run, quiet, now),
        troubled=error or (quiet is not None),
        error=error,
        budget=_budget(fold, run, len(runs) if going else 0),
        running=[_running(trial, fold, folder, now) for trial in runs[:SHOWN]] if going else [],
        more=max(0, len(runs) - SHOWN),
        charts=[(name, Chart(f"live-{name}", f"Loss and accuracy of {name} by epoch")) for name in figures],
        shares=list(_shares(fold, run)),
        next=_next(fold) if going else "",
        made=f"{datetime.fromtimestamp(made, UTC):%H:%M:%S} UTC" if made and going else "",
    )
    told = {f"live-{name}": script_json(chart) for name, chart in figures.items()}
    return Parts("", f'<a href="#{PLACE}">Now</a>', {PLACE: section.strip() + "\n"}, told)


def _said(fold: Fold, run: Run, quiet: float | None, now: float) -> str:
    if not fold.settings:
        closed = run.get("closed")
        if not run:
            return "Nothing is written yet: the run is being planned, and its methods are calibrated."
        how = CLOSED.get(closed, f"The run has ended ({closed}).") if closed else "The run had not ended."
        return f"{how} Its tables are here, its ledger is not."
    if fold.closed is not None:
        return CLOSED.get(fold.closed, f"The run has ended ({fold.closed}).")
    if quiet is not None:
        heard = duration(60 * (quiet // 60)) if quiet < 7200 else duration(quiet)
        return f"Nothing has been heard for {heard}; the driver may be gone. The same command continues the run."
    began = fold.sessions[-1]["time"] if fold.sessions else fold.time
    again = f", in its {_ordinal(len(fold.sessions))} session" if len(fold.sessions) > 1 else ""
    return (
        f"The run goes on{again}, for {duration(60 * ((now - began) // 60))}."
        if now - began >= 120
        else (f"The run has begun{again}.")
    )


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _budget(fold: Fold, run: Run, slots: int) -> dict[str, Any] | None:
    """What is spent, in words and in percent."""
    total = budget_seconds(run)
    charged = fold.charged if fold.settings else float(run.get("charged") or 0.0)
    if not total:
        return None
    unit, length = compute_unit(run, total)
    rate = slots * (fold.sessions[-1].get("rate", 1.0) if fold.sessions else 1.0)
    left = f"; the rest lasts {duration((total - charged) / rate)}" if rate and charged < total else ""
    words = f"{amount(charged, length)} of {amount(total, length)} {unit} spent, {100 * charged / total:.0f} %{left}"
    return {"part": min(100.0, 100 * charged / total), "words": words}


def _running(trial: Trial, fold: Fold, folder: Path, now: float) -> Running:
    rate = fold.sessions[-1].get("rate", 1.0) if fold.sessions else 1.0
    pace = _pace(trial, fold)
    since = trial.last.device_seconds if trial.last else trial.held_at_start
    left = None if pace is None else max(0.0, (trial.epochs - trial.epoch) * pace - max(0.0, trial.held - since))
    begun = trial.held > trial.held_at_start or bool(trial.reports)
    prunable = trial.stage == "search" and not trial.recipe and any(trial.at_milestone(e) for e in trial.evaluate_at)
    return Running(
        uid=trial.uid,
        method=trial.method,
        stage=trial.protocol or trial.stage,
        epoch=f"{trial.epoch} of {trial.epochs}" if begun else "starting",
        held=duration(trial.held),
        pace=DASH if pace is None or trial.protocol else f"{amount(pace / rate)} s",
        left=DASH if left is None else f"in {duration(left / rate)}" + (", unless it is pruned" if prunable else ""),
        stop=f"ssl-bench stop {shlex.quote(str(folder))} {shlex.quote(trial.uid)}",
    )


def _pace(trial: Trial, fold: Fold) -> float | None:
    """Device-seconds that an epoch of the trial takes: as its own did, else as the method's latest, else as
    calibrated."""
    for other in (trial, *reversed(fold.by_method.get(trial.method, [])[-20:])):
        if other.protocol == trial.protocol and other.reports:
            took = [report.took for _, report in sorted(other.reports.items())]
            return statistics.median(took[1:] or took)
    calibrated = fold.plan.get("calibration", {}).get(trial.method, {})
    name = "evaluation" if trial.protocol else "epoch"
    seconds = calibrated.get("protocols", {}).get(trial.protocol, calibrated.get(name))
    return None if seconds is None else seconds * (fold.sessions[-1].get("rate", 1.0) if fold.sessions else 1.0)


def _figures(trial: Trial) -> Iterator[tuple[str, dict[str, Any]]]:
    """The curves of a trial that has reported more than an evaluation's one epoch."""
    if not trial.reports or trial.epochs < 2:
        return
    reports = [trial.reports[epoch] for epoch in sorted(trial.reports)]
    kept = range(0, len(reports), max(1, len(reports) // 100))
    thin = [reports[place] for place in kept] + ([] if (len(reports) - 1) in kept else reports[-1:])
    judged = [(report.epoch, value) for report in reports if (value := figure(report.metrics)) is not None]

    def curve(name: str, points: list[tuple[int, float]], color: str, **more: Any) -> dict[str, Any]:
        xs, ys = [x for x, _ in points], [y if y == y and abs(y) != float("inf") else None for _, y in points]
        line = {"color": color, "width": 2}
        return {"type": "scatter", "x": xs, "y": ys, "name": name, "mode": "lines+markers", "line": line} | more

    axis = {"automargin": True, "showgrid": False}
    traces = [curve("loss", [(report.epoch, report.loss) for report in thin], GREY)]
    title = next((f"{called(report.metrics)}, %" for report in reports if called(report.metrics)), "")
    if judged:
        found = [(epoch, 100 * value) for epoch, value in judged]
        traces.append(curve(title, found, PALETTE[0], yaxis="y2"))
    yield (
        trial.uid,
        {
            "data": traces,
            "layout": {
                "height": 190,
                "margin": {"l": 46, "r": 46, "t": 8, "b": 34},
                "showlegend": False,
                "hovermode": "x unified",
                "xaxis": axis | {"range": [0.5, trial.epochs + 0.5], "title": {"text": "epoch"}},
                "yaxis": axis | {"title": {"text": "loss"}, "showgrid": True},
                "yaxis2": axis | {"title": {"text": title}, "side": "right", "overlaying": "y"},
            },
        },
    )


def _shares(fold: Fold, run: Run) -> Iterator[Share]:
    """Of each method, and then of each baseline, as far as it has a trial."""
    share = run.get("share")
    unit, length = compute_unit(run, share or max(fold.spent.values(), default=0.0))
    baselines = [name for name, trials in fold.by_method.items() if trials[0].stage == "baseline"]
    for method in (*(name for name in fold.by_method if name not in baselines), *baselines):
        spent, trials = fold.spent.get(method, 0.0), fold.by_method[method]
        whole = share if share and method not in baselines else None
        states = [trial.state for trial in trials if trial.attempts]
        known = [(states.count(state), state) for state in ("complete", "pruned", "failed", "cut", "running")]
        best = [t.accuracy for t in trials if t.stage == "search" and t.accuracy is not None]
        yield Share(
            method=method,
            part=min(100.0, 100 * spent / whole) if whole else None,
            spent=f"{amount(spent, length)} of {amount(whole, length)} {unit}"
            if whole
            else f"{amount(spent, length)} {unit}",
            trials=", ".join(f"{number} {state}" for number, state in known if number) or DASH,
            best=f"{percent(max(best))} %" if best else DASH,
            doing=_doing(fold, method),
        )


def _doing(fold: Fold, method: str) -> str:
    trials = fold.by_method[method]
    running = {trial.stage for trial in trials if trial.state == "running" and trial.attempts}
    if running and fold.closed is None:
        return listed(list(dict.fromkeys(words for stage, words in DOING.items() if stage in running)))
    if method in fold.given_up:
        return "given up"
    if trials[0].stage == "baseline":
        return "measured" if all(trial.final for trial in trials) else "to go on"
    if method not in fold.chosen:
        return "to be searched on"
    confirmed = sum(trial.state == "complete" for trial in fold.confirming(method))
    return f"winner chosen, {count(confirmed, 'seed')} confirmed"


def _next(fold: Fold) -> str:
    """What a free slot is likely to get; empty where that cannot be told."""
    planned = [name for name in fold.settings.get("baselines") or () if name not in fold.by_method]
    if planned:
        return f"The next free slot takes a baseline: {text(planned[0])}."
    ahead: dict[str, float] = {}
    for method, trials in fold.by_method.items():
        if trials[0].stage in CHOOSING and method not in fold.chosen:
            runs = [trial for trial in trials if trial.state == "running" and trial.attempts]
            promised = ((t.epochs - t.epoch) * (_pace(t, fold) or 0.0) for t in runs)
            ahead[method] = fold.spent.get(method, 0.0) + sum(promised)
    if ahead:
        return f"The next free slot is likely to go to {min(ahead, key=ahead.__getitem__)}, which has spent the least."
    if fold.chosen:
        return "The next free slot confirms a winner or its recipe, or judges an encoder that confirming has left."
    return ""
