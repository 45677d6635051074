"""A method's search space as a page shows it: published, ours, and where these differ."""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from bench.guide.markdown import cell, prose
from bench.report.text import value_text
from bench.search.entries import TRANSFORMER, read_yaml
from bench.search.space import FOLDER


class Departure(NamedTuple):
    """A hyper-parameter whose default is not the published one."""

    name: str
    ours: str
    """With where it holds, if not everywhere."""
    published: str
    source: str
    """The words of its source, which say why."""


@cache
def space(name: str) -> dict[str, Any]:
    """The search space of a method as its file has it."""
    found: dict[str, Any] = read_yaml(FOLDER / f"{name}.yaml")
    return found


def published(name: str, hyperparameter: str) -> Any:
    """The source's value; None where the method has no such hyper-parameter."""
    entry = space(name)["hyperparameters"].get(hyperparameter, {"default": None})
    return entry.get("published", entry["default"])


def sources(name: str) -> list[str]:
    """Whose recipe it is and how it is adapted, in sentences; for vision transformers too, where that is another."""
    recipe = space(name)["recipe"]
    told = [("The recipe is from", recipe)]
    if TRANSFORMER in recipe:
        told.append(("For a vision transformer it is from", recipe[TRANSFORMER]))
    return [
        f"{begin} {prose(one['source'])}" + (f"; adapted: {prose(one['adapted'])}" if "adapted" in one else "") + "."
        for begin, one in told
    ]


def departures(name: str) -> Iterator[Departure]:
    """Every hyper-parameter whose default is ours and not the source's."""
    for hyperparameter, whole in space(name)["hyperparameters"].items():
        for where, entry in (("", whole), ("vision transformer", whole.get(TRANSFORMER) or {})):
            if "published" not in entry:
                continue
            ours = {"": entry["default"], "small images": entry.get("small", entry["default"])}
            if ours["small images"] == ours[""]:
                del ours["small images"]
            told = [
                value_text(value) + (f" ({', '.join(filter(None, (size, where)))})" if size or where else "")
                for size, value in ours.items()
                if value != entry["published"]
            ]
            if told:
                yield Departure(hyperparameter, ", ".join(told), value_text(entry["published"]), prose(entry["source"]))


def table_rows(name: str) -> tuple[list[str], list[list[str]]]:
    """The heads and rows of the table of all hyper-parameters; a column of values that nowhere differ is left out."""
    heads = ["hyper-parameter", "published", "ours", "small images", "vision transformer", "searched", "source"]
    rows = [_row(hyperparameter, entry) for hyperparameter, entry in space(name)["hyperparameters"].items()]
    kept = [place for place in range(len(heads)) if place not in (3, 4) or any(row[place] for row in rows)]
    return [heads[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _row(name: str, entry: dict[str, Any]) -> list[str]:
    other = entry.get(TRANSFORMER)
    if other is not None and len(entry) == 1:
        words = [f"vision transformer: {text}" for text in (_searched(other), cell(other["source"]))]
        return [f"`{name}`", "none", "none", "", value_text(other["default"]), *words]
    default, small = entry["default"], entry.get("small", entry["default"])
    differs = other is not None and other["default"] != default
    return [
        f"`{name}`",
        value_text(entry.get("published", default)),
        value_text(default),
        value_text(small) if small != default else "",
        value_text(other["default"]) if other is not None and differs else "",
        _searched(entry) + (f"; vision transformer: {_searched(other)}" if other and _differ(entry, other) else ""),
        cell(entry["source"]) + (f"; vision transformer: {cell(other['source'])}" if other else ""),
    ]


def _differ(entry: dict[str, Any], other: dict[str, Any]) -> bool:
    return _searched(entry) != _searched(other)


def _searched(entry: dict[str, Any]) -> str:
    if "choices" in entry:
        return ", ".join(map(value_text, entry["choices"]))
    if "low" not in entry:
        return "fixed"
    scale = {"linear": "", "log": ", log", "log1m": ", log of 1 - x"}[entry["scale"]]
    return f"{value_text(entry['low'])} to {value_text(entry['high'])}{scale}"
