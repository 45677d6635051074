"""Search spaces: for each method one YAML file with every hyper-parameter's default, its source and its range.

`recipe` says whose recipe it is: its `source` and, where the code cannot train it to the letter, how it is `adapted`. A
hyper-parameter whose default is ours has the source's value as `published`. `small` is the default for small images.
"""

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from algorithms import METHODS, method_class
from algorithms.encoders import SMALL_IMAGE
from algorithms.training.recipe import hyperparameter_names
from bench.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "search_spaces"
SCALES = ("linear", "log", "log1m")
FORMS = (
    {"default", "source"},
    {"default", "source", "low", "high", "scale"},
    {"default", "source", "choices"},
)
OPTIONAL = {"published", "small"}
COMPLEMENT = "one_minus_"
"""A parameter on the scale log1m is searched as its distance from 1, under this prefix, on a log scale."""
LARGEST = 1e12
"""The most that a range may reach: far from where sums and rounding go wrong."""
NARROWEST = 1e-6
"""The least width of a range, as a part of its ends: far from how exactly logarithms are rounded."""


@dataclass(frozen=True)
class SearchSpace:
    """The hyper-parameters of one method: the published recipe, ours where it differs, and the ranges around them."""

    method: str
    paper: str
    recipe: dict[str, str]
    entries: dict[str, dict[str, Any]]
    merged: Mapping[str, list[Any]] = field(default_factory=dict)
    """By hyper-parameter: what is left of its choices, where several train the same (`narrowed`)."""

    @property
    def defaults(self) -> dict[str, Any]:
        """Our recipe, which a search varies: every hyper-parameter by name."""
        return self._values("default")

    @property
    def published(self) -> dict[str, Any]:
        """The published recipe: every hyper-parameter by name; as ours but for what ours has otherwise."""
        return self._values("published")

    @property
    def recipes(self) -> list[dict[str, Any]]:
        """The published recipe, and ours where it is another one."""
        return [self.published] if self.published == self.defaults else [self.published, self.defaults]

    def _values(self, key: str) -> dict[str, Any]:
        values = {name: entry.get(key, entry["default"]) for name, entry in self.entries.items()}
        ranges = {name for name, entry in self.entries.items() if "scale" in entry and not _whole(entry)}
        return {name: float(value) if name in ranges else value for name, value in values.items()}

    def proposes(self, hyperparameters: dict[str, Any]) -> bool:
        """Whether a search may propose these: the fixed ones at their defaults, the others within their ranges."""
        searched, choices = self.searched, self.choices

        def inside(name: str, entry: dict[str, Any]) -> bool:
            value = hyperparameters[name]
            if name not in searched:
                return bool(value == entry["default"])
            return value in choices[name] if name in choices else bool(entry["low"] <= value <= entry["high"])

        return all(inside(name, entry) for name, entry in self.entries.items())

    @property
    def searched(self) -> list[str]:
        """The names of the hyper-parameters that have a range, or a choice."""
        return [name for name, entry in self.entries.items() if "low" in entry or len(self.choices.get(name, ())) > 1]

    @property
    def choices(self) -> dict[str, list[Any]]:
        """The values of every hyper-parameter that has choices instead of a range."""
        every = {name: entry["choices"] for name, entry in self.entries.items() if "choices" in entry}
        return every | dict(self.merged)

    def narrowed(self, choices: Mapping[str, list[Any]]) -> Self:
        """The same space, of the same hash, with these choices alone for the hyper-parameters that they name. They hold
        the default; a hyper-parameter with a single one is fixed."""
        return dataclasses.replace(self, merged=choices)

    @property
    def hash(self) -> str:
        """Of everything that decides a search: 12 hexadecimal digits."""
        decisive = {n: {k: v for k, v in entry.items() if k != "source"} for n, entry in self.entries.items()}
        return hashlib.sha256(json.dumps([self.method, decisive], sort_keys=True).encode()).hexdigest()[:12]

    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna samples, by its name there: `study.ask(space.distributions())`."""
        found: dict[str, BaseDistribution] = {}
        for name in self.searched:
            entry = self.entries[name]
            if "choices" in entry:
                found[name] = CategoricalDistribution(self.choices[name])
            elif entry["scale"] == "log1m":
                found[COMPLEMENT + name] = FloatDistribution(1 - entry["high"], 1 - entry["low"], log=True)
            else:
                kind = IntDistribution if _whole(entry) else FloatDistribution
                found[name] = kind(entry["low"], entry["high"], log=entry["scale"] == "log")
        return found

    def to_params(self, hyperparameters: dict[str, Any]) -> dict[str, Any]:
        """Hyper-parameters as Optuna holds them; the fixed ones are left out."""
        found = {}
        for key, distribution in self.distributions().items():
            name = self._name(key)
            found[key] = hyperparameters[name]
            if key != name and isinstance(distribution, FloatDistribution):  # rounding may leave the range
                found[key] = min(max(1 - found[key], distribution.low), distribution.high)
        return found

    def from_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """All hyper-parameters from what Optuna holds; the fixed ones at their defaults."""
        found = self.defaults
        for key, value in params.items():
            name = self._name(key)
            entry = self.entries[name]
            found[name] = value if key == name else 1 - value
            if "scale" in entry and not _whole(entry):  # rounding may leave the range
                found[name] = float(min(max(found[name], entry["low"]), entry["high"]))
        return found

    def _name(self, key: str) -> str:
        """The hyper-parameter that Optuna has under this name."""
        return key if key in self.entries else key.removeprefix(COMPLEMENT)


def _whole(entry: dict[str, Any]) -> bool:
    """Whether a range has whole numbers alone."""
    return entry["scale"] != "log1m" and all(isinstance(entry[key], int) for key in ("default", "low", "high"))


def check_methods(names: list[str]) -> list[str]:
    """The names as given, without repetitions. Raises UserError, with the nearest names, for an unknown one."""
    for name in names:
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, n=3) or sorted(METHODS)
            raise UserError(f"there is no method '{name}'; did you mean {' or '.join(near)}?")
    return list(dict.fromkeys(names))


def load(method: str, image_size: int, folder: Path = FOLDER) -> SearchSpace:
    """The search space of `method` for images of `image_size` px, from `folder`/METHOD.yaml, checked.

    Raises UserError for a file that is not YAML in UTF-8, an unknown or missing hyper-parameter, and an entry that
    `check_entry` refuses.
    """
    path = folder / f"{method}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{method} has no search space; it would stand in {path}.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8; save it in that encoding.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a date that is none, or endless brackets
        where = getattr(error, "problem_mark", None)
        raise UserError(f"{path} is not YAML{f', line {where.line + 1}' if where else ''}.") from None
    if not isinstance(content, dict) or set(content) != {"method", "paper", "recipe", "hyperparameters"}:
        raise UserError(f"{path} must have exactly the keys method, paper, recipe and hyperparameters.")
    if content["method"] != method:
        raise UserError(f"{path} is for {content['method']!r}; its file name says '{method}'.")
    recipe, entries = content["recipe"], content["hyperparameters"]
    if (
        not isinstance(recipe, dict)
        or not {"source"} <= set(recipe) <= {"source", "adapted"}
        or not all(isinstance(words, str) and words.strip() for words in recipe.values())
    ):
        raise UserError(f"{path}: recipe must have a source and, where it is not to the letter, how it is adapted.")
    if not isinstance(entries, dict):
        raise UserError(f"{path}: hyperparameters must be a mapping from names to entries.")
    required, known = hyperparameter_names(method_class(method))
    for name in entries:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}" if near else f"{method} takes {', '.join(sorted(known))}"
            raise UserError(f"{path}: {method} has no hyper-parameter {name!r}; {hint}.")
        check_entry(f"{path}: {name}", entries[name])
    if missing := required - set(entries):
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}.")
    size = "small" if image_size <= SMALL_IMAGE else "default"
    entries = {
        name: {key: entry[key] for key in entry if key != "small"} | {"default": entry.get(size, entry["default"])}
        for name, entry in entries.items()
    }
    return SearchSpace(method, str(content["paper"]), recipe, entries)


def check_entry(where: str, entry: object) -> None:
    """Raises UserError unless `entry` has one of the three forms and Optuna takes what it says: a range that is not
    empty, or choices that differ, and the defaults among them. A published value may lie outside."""
    if not isinstance(entry, dict) or set(entry) - OPTIONAL not in FORMS:
        raise UserError(
            f"{where} must have default and source, and either nothing more, or low, high and scale, or choices; "
            "beside them it may have published and small."
        )
    for key in ("default", *OPTIONAL.intersection(entry)):
        if not _plain(value := entry[key]):
            raise UserError(
                f"{where}: {'the default' if key == 'default' else key} must be a text, a finite number, true, false "
                f"or null, not {value!r}."
            )
    if "scale" in entry and type(entry.get("published", 0)) not in (int, float):
        raise UserError(f"{where}: published must be a number, as the range is, not {entry['published']!r}.")
    for default in (entry[key] for key in ("default", "small") if key in entry):
        if "choices" in entry:
            _check_choices(where, entry["choices"], default)
        elif "scale" in entry:
            _check_range(where, entry["low"], entry["high"], entry["scale"], default)


def _plain(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | bool | int)


def _check_choices(where: str, choices: object, default: object) -> None:
    if not isinstance(choices, list) or not any(type(c) is type(default) and c == default for c in choices):
        raise UserError(f"{where}: the choices must be a list that holds the default, {default!r}.")
    for place, choice in enumerate(choices):
        if not _plain(choice):
            raise UserError(f"{where}: a choice must be a text, a finite number, true, false or null, not {choice!r}.")
        if choice in choices[:place]:
            same = choices[choices.index(choice)]
            raise UserError(f"{where}: the choices {same!r} and {choice!r} are the same; leave one out.")


def _check_range(where: str, low: Any, high: Any, scale: object, default: Any) -> None:
    if scale not in SCALES:
        raise UserError(f"{where}: there is no scale {scale!r}; there are {', '.join(SCALES)}.")
    if not all(type(value) in (int, float) and abs(value) <= LARGEST for value in (low, high, default)):
        raise UserError(
            f"{where}: low, high and default must be numbers (write 1.0e-4, not 1e-4), {LARGEST:.0e} at the most."
        )
    if not low < high:
        raise UserError(f"{where}: the range from {low} to {high} is empty; low must be below high.")
    if not low <= default <= high:
        raise UserError(f"{where}: the default {default} is outside the range from {low} to {high}.")
    if (scale == "log" and low <= 0) or (scale == "log1m" and high >= 1):
        bound = "above 0" if scale == "log" else "below 1"
        raise UserError(f"{where}: on the scale {scale} the range must be {bound}.")
    first, last = (1 - high, 1 - low) if scale == "log1m" else (low, high)
    whole = _whole({"default": default, "low": low, "high": high, "scale": scale})
    if not whole and last - first < NARROWEST * max(abs(first), abs(last)):
        raise UserError(f"{where}: the range from {low} to {high} is too narrow to be searched; leave the entry fixed.")
