"""Search spaces: for each method one YAML file with every hyper-parameter's default, its source and its range."""

import difflib
import hashlib
import json
import math
from dataclasses import dataclass
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
LARGEST = 1e12
"""The most that a range may reach: far from where sums and rounding go wrong."""
NARROWEST = 1e-6
"""The least width of a range, as a part of its ends: far from how exactly logarithms are rounded."""


@dataclass(frozen=True)
class SearchSpace:
    """The hyper-parameters of one method: the published recipe, and the ranges around it."""

    method: str
    paper: str
    entries: dict[str, dict]

    @property
    def defaults(self) -> dict:
        """The published recipe: every hyper-parameter by name."""
        return {
            name: float(entry["default"]) if "scale" in entry and not _whole(entry) else entry["default"]
            for name, entry in self.entries.items()
        }

    @property
    def searched(self) -> list[str]:
        """The names of the hyper-parameters that have a range."""
        return [name for name, entry in self.entries.items() if len(entry) > 2]

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
                found[name] = CategoricalDistribution(entry["choices"])
            elif entry["scale"] == "log1m":
                found[COMPLEMENT + name] = FloatDistribution(1 - entry["high"], 1 - entry["low"], log=True)
            else:
                kind = IntDistribution if _whole(entry) else FloatDistribution
                found[name] = kind(entry["low"], entry["high"], log=entry["scale"] == "log")
        return found

    def to_params(self, hyperparameters: dict) -> dict:
        """Hyper-parameters as Optuna holds them; the fixed ones are left out."""
        found = {}
        for key, distribution in self.distributions().items():
            name = self._name(key)
            found[key] = hyperparameters[name]
            if key != name:  # rounding may leave the range
                found[key] = min(max(1 - found[key], distribution.low), distribution.high)
        return found

    def from_params(self, params: dict) -> dict:
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


def _whole(entry: dict) -> bool:
    """Whether a range has whole numbers alone."""
    return entry["scale"] != "log1m" and all(isinstance(entry[key], int) for key in ("default", "low", "high"))


def check_methods(names: list[str]) -> list[str]:
    """The names as given, without repetitions. Raises UserError, with the nearest names, for an unknown one."""
    for name in names:
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, n=3) or sorted(METHODS)
            raise UserError(f"there is no method '{name}'; did you mean {' or '.join(near)}?")
    return list(dict.fromkeys(names))


def load(method: str, folder: Path = FOLDER) -> SearchSpace:
    """The search space of `method` from `folder`/METHOD.yaml, checked.

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
    if not isinstance(content, dict) or set(content) != {"method", "paper", "hyperparameters"}:
        raise UserError(f"{path} must have exactly the keys method, paper and hyperparameters.")
    if content["method"] != method:
        raise UserError(f"{path} is for {content['method']!r}; its file name says '{method}'.")
    entries = content["hyperparameters"]
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
    return SearchSpace(method, str(content["paper"]), entries)


def check_entry(where: str, entry: object) -> None:
    """Raises UserError unless `entry` has one of the three forms and Optuna takes what it says: a range that is not
    empty, or choices that differ, and the default among them."""
    if not isinstance(entry, dict) or set(entry) not in FORMS:
        raise UserError(
            f"{where} must have default and source, and either nothing more, or low, high and scale, or choices."
        )
    default = entry["default"]
    if not _plain(default):
        raise UserError(f"{where}: the default must be a text, a finite number, true, false or null, not {default!r}.")
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


def _check_range(where: str, low: object, high: object, scale: object, default: object) -> None:
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
