"""All trials: a table that the reader sorts, filters and compares. The page's script makes its rows, from columns as
JSON."""

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd
from markupsafe import Markup

from bench.report.page import Page
from bench.report.text import count, one_line, value_text
from bench.report.trials import effective


def section(page: Page) -> Markup:
    trials = page.results.trials
    if not len(trials):
        return page.empty("No trial has been started yet.")
    content = json.dumps(columns(page), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return page.render("trials.html", content=Markup(content), trials=count(len(trials), "trial"))


def columns(page: Page) -> list[dict[str, Any]]:
    """The columns of the table, each with its `name` (unique, without spaces), `title` and `values`, a value a trial in
    the order of their start. Of texts that repeat, `values` holds each once, and `at` the place of every trial's. What
    is not there is null. `kind` is text, number or moment (seconds since 1970); hyper-parameters have `setting`."""
    trials, judged = page.results.trials, page.judged
    trials = trials.sort_values("started", kind="stable")
    lines: Iterable[Any] = trials[["hyperparameters", "effective", "batch_size"]].itertuples()
    settings = [effective(line) for line in lines]
    names = dict.fromkeys(name for each in settings for name in each)
    made = [
        {"name": "trial", "title": "trial", "kind": "text", "values": [one_line(uid) for uid in trials.uid]},
        *(_texts(name, name, trials[name]) for name in ("method", "stage", "state")),
        _numbers("seed", "seed", trials.seed, 0),
        _numbers("search", judged.search_heading, 100 * trials[judged.train], 2),
        _numbers("test", judged.test_heading, 100 * trials[judged.test], 2),
        _numbers("epoch", "epoch", trials.epoch, 0),
        _numbers("epochs", "of epochs", trials.epochs, 0),
        _numbers("seconds", "device-seconds", trials.device_seconds, 1),
        _numbers("speed", "images/s", trials.images_per_second, 0),
        _numbers("memory", "memory, GB", trials.peak_memory_bytes / 1e9, 2),
        _moments("started", "started, UTC", trials.started),
        _texts("reason", "reason", trials.reason, 300),
    ]
    return made + [
        _texts(f"setting-{place}", one_line(name), (each.get(name) for each in settings), setting=True)
        for place, name in enumerate(names)
    ]


def _numbers(name: str, title: str, values: pd.Series, digits: int) -> dict[str, Any]:
    told = [None if pd.isna(value) else round(float(value), digits) for value in values]
    if not digits:
        told = [None if value is None else int(value) for value in told]
    return {"name": name, "title": title, "kind": "number", "digits": digits, "values": told}


def _moments(name: str, title: str, values: pd.Series) -> dict[str, Any]:
    told = [None if pd.isna(value) else round(value.timestamp()) for value in values]
    return {"name": name, "title": title, "kind": "moment", "values": told}


def _texts(name: str, title: str, values: Iterable[Any], most: int = 60, setting: bool = False) -> dict[str, Any]:
    places: dict[str, int] = {}
    at = []
    for value in values:
        missing = value is None or (isinstance(value, float) and pd.isna(value))
        at.append(None if missing else places.setdefault(one_line(value_text(value), most), len(places)))
    column = {"name": name, "title": title, "kind": "text", "values": list(places), "at": at}
    return column | ({"setting": True} if setting else {})
