"""The best configuration of a method beside the published recipe, and ours where it is another one."""

from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from bench.report.sections.method.axes import edge
from bench.report.sections.method.tried import Tried
from bench.report.text import DASH, one_line, value_text
from bench.report.trials import asked, effective, fitted, recipe_of, recipe_trial
from bench.search.trials import RECIPES


class Cell(NamedTuple):
    """A value, and what to say of it."""

    value: str
    flags: tuple[str, ...] = ()


def part(tried: Tried) -> Markup:
    """A table, with values as they were trained."""
    recipes = {recipe: recipe_trial(tried.every, recipe) for recipe in RECIPES}
    best = _best(tried, recipes)
    two = any("published" in entry for entry in tried.space.values()) or recipes["ours"] is not None
    trained, published = _as_trained(best, "asked for"), _as_trained(recipes["published"], "published:")
    ours = _as_trained(recipes["ours"], "asked for")
    chosen = {} if best is None else asked(best)
    lines = []
    for name in dict.fromkeys([*tried.space, *trained, *published, *ours]):
        entry = tried.space.get(name, {})
        value, flags = trained.get(name, Cell(DASH))
        at_the_end = edge(entry, chosen[name]) if name in chosen else ""
        theirs = published.get(name) or _cell(entry.get("published", entry.get("default")))
        own = [ours.get(name) or _cell(entry.get("default"))] if two else []
        source = Cell(one_line(entry.get("source", DASH), 200))
        best_cell = Cell(value, flags + ((at_the_end,) if at_the_end else ()))
        lines.append([Cell(one_line(name)), best_cell, theirs, *own, Cell(one_line(_searched(entry))), source])
    if not lines:
        return Markup()
    heads = ["hyper-parameter", "best", "published recipe", *(["our recipe"] if two else []), "searched", "source"]
    differs = any(fitted(trial) for trial in (best, *recipes.values()) if trial is not None)
    return tried.page.render("settings.html", heads=heads, lines=lines, differs=differs)


def _best(tried: Tried, recipes: dict[str, pd.Series | None]) -> pd.Series | None:
    """Of the winner's configuration a trial that confirms it, if there is one: it had all training images, as those of
    the recipes had."""
    winner = tried.winner
    if winner is None:
        return None
    won = recipes.get(recipe_of(winner) or "")
    if won is not None:
        return won
    confirming = tried.every[(tried.every.stage == "confirm") & (tried.every.epoch > 0)]
    return confirming.iloc[0] if len(confirming) else winner


def _as_trained(trial: pd.Series | None, word: str) -> dict[str, Cell]:
    """The cells of a trial's hyper-parameters by name: as trained and, where that differs, what was `word`."""
    if trial is None:
        return {}
    changed = fitted(trial)
    return {
        name: _cell(value, *([f"{word} {value_text(changed[name][0])}"] if name in changed else []))
        for name, value in effective(trial).items()
    }


def _cell(value: Any, *flags: str) -> Cell:
    return Cell(one_line(value_text(value)), tuple(one_line(flag) for flag in flags))


def _searched(entry: Any) -> str:
    if "choices" in entry:
        return ", ".join(map(value_text, entry["choices"]))
    if "low" in entry:
        return f"{value_text(entry['low'])} to {value_text(entry['high'])}, {entry.get('scale', 'linear')}"
    return "fixed"
