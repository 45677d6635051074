"""Search spaces: for each method one YAML file with every hyper-parameter's default, its source and its range."""

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from algorithms import METHODS, method_class
from algorithms.trainer import hyperparameter_names
from bench.errors import UserError

FOLDER = Path(__file__).resolve().parent.parent / "search_spaces"
SCALES = ("linear", "log", "log1m")
FORMS = (
    {"default", "source"},
    {"default", "source", "low", "high", "scale"},
    {"default", "source", "choices"},
)
COMPLEMENT = "one_minus_"
"""A parameter on the scale log1m is searched as its distance from 1, under this prefix, on a log scale."""


@dataclass(frozen=True)
class SearchSpace:
    """The hyper-parameters of one method: the published recipe, and the ranges around it."""

    method: str
    paper: str
    entries: dict[str, dict]
    merged: Mapping[str, list] = field(default_factory=dict)
    """By hyper-parameter: what is left of its choices, where several train the same (`narrowed`)."""

    @property
    def defaults(self) -> dict:
        """The published recipe: every hyper-parameter by name."""
        return {name: entry["default"] for name, entry in self.entries.items()}

    @property
    def searched(self) -> list[str]:
        """The names of the hyper-parameters that have a range, or a choice."""
        return [name for name, entry in self.entries.items() if "low" in entry or len(self.choices.get(name, ())) > 1]

    @property
    def choices(self) -> dict[str, list]:
        """The values of every hyper-parameter that has choices instead of a range."""
        every = {name: entry["choices"] for name, entry in self.entries.items() if "choices" in entry}
        return every | dict(self.merged)

    def narrowed(self, choices: Mapping[str, list]) -> "SearchSpace":
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
                kind = IntDistribution if isinstance(entry["default"], int) else FloatDistribution
                found[name] = kind(entry["low"], entry["high"], log=entry["scale"] == "log")
        return found

    def to_params(self, hyperparameters: dict) -> dict:
        """Hyper-parameters as Optuna holds them; the fixed ones are left out."""
        names = self.distributions()
        return {
            name: 1 - hyperparameters[name.removeprefix(COMPLEMENT)]
            if name.startswith(COMPLEMENT)
            else hyperparameters[name]
            for name in names
        }

    def from_params(self, params: dict) -> dict:
        """All hyper-parameters from what Optuna holds; the fixed ones at their defaults."""
        found = {
            name.removeprefix(COMPLEMENT): 1 - value if name.startswith(COMPLEMENT) else value
            for name, value in params.items()
        }
        return self.defaults | found


def check_methods(names: list[str]) -> list[str]:
    """The names as given, without repetitions. Raises UserError, with the nearest names, for an unknown one."""
    for name in names:
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, n=3) or sorted(METHODS)
            raise UserError(f"there is no method '{name}'; did you mean {' or '.join(near)}?")
    return list(dict.fromkeys(names))


def load(method: str, folder: Path = FOLDER) -> SearchSpace:
    """The search space of `method` from `folder`/METHOD.yaml, checked.

    Raises UserError for an unknown or missing hyper-parameter, an entry of another form, an empty range, a default
    outside its range.
    """
    path = folder / f"{method}.yaml"
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{method} has no search space; it would stand in {path}.") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        raise UserError(f"{path} is not YAML{f', line {where.line + 1}' if where else ''}.") from None
    if not isinstance(content, dict) or set(content) != {"method", "paper", "hyperparameters"}:
        raise UserError(f"{path} must have exactly the keys method, paper and hyperparameters.")
    if content["method"] != method:
        raise UserError(f"{path} is for '{content['method']}'; its file name says '{method}'.")
    entries = content["hyperparameters"]
    if not isinstance(entries, dict):
        raise UserError(f"{path}: hyperparameters must be a mapping from names to entries.")
    required, known = hyperparameter_names(method_class(method))
    for name in entries:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}" if near else f"{method} takes {', '.join(sorted(known))}"
            raise UserError(f"{path}: {method} has no hyper-parameter '{name}'; {hint}.")
        check_entry(f"{path}: {name}", entries[name])
    if missing := required - set(entries):
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}.")
    return SearchSpace(method, str(content["paper"]), entries)


def check_entry(where: str, entry: object) -> None:
    """Raises UserError unless `entry` has one of the three forms, and its range is not empty and holds the default."""
    if not isinstance(entry, dict) or set(entry) not in FORMS:
        raise UserError(
            f"{where} must have default and source, and either nothing more, or low, high and scale, or choices."
        )
    default = entry["default"]
    if "choices" in entry:
        if not isinstance(entry["choices"], list) or default not in entry["choices"]:
            raise UserError(f"{where}: the choices must be a list that holds the default, {default}.")
    elif "scale" in entry:
        low, high, scale = entry["low"], entry["high"], entry["scale"]
        if scale not in SCALES:
            raise UserError(f"{where}: there is no scale '{scale}'; there are {', '.join(SCALES)}.")
        if not all(type(value) in (int, float) and math.isfinite(value) for value in (low, high, default)):
            raise UserError(f"{where}: low, high and default must be numbers (write 1.0e-4, not 1e-4).")
        if not low < high:
            raise UserError(f"{where}: the range from {low} to {high} is empty; low must be below high.")
        if not low <= default <= high:
            raise UserError(f"{where}: the default {default} is outside the range from {low} to {high}.")
        if (scale == "log" and low <= 0) or (scale == "log1m" and high >= 1):
            bound = "above 0" if scale == "log" else "below 1"
            raise UserError(f"{where}: on the scale {scale} the range must be {bound}.")
