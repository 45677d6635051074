"""Search spaces: for each method one YAML file with every hyper-parameter's default, its source and its range.

`recipe` says whose recipe it is: its `source` and, where the code cannot train it to the letter, how it is `adapted`. A
hyper-parameter whose default is ours has the source's value as `published`. `small` is the default for small images.
`vit`, in an entry and in the recipe, holds in place of the rest where the encoder is a vision transformer.
"""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from algorithms import method_class
from algorithms.images.augmentation import PAPER, SETTINGS
from algorithms.method import Method
from algorithms.training.recipe import AUGMENTATION, hyperparameter_names
from bench.errors import UserError
from bench.search.entries import TRANSFORMER, check_entry, is_whole, read_yaml, resolved

FOLDER = Path(__file__).resolve().parents[2] / "search_spaces"
OF_CONVOLUTIONS = "it is one for convolutional networks: for a vision transformer none is taken from a source"
"""How a recipe is adapted that has nothing for a vision transformer, where the encoder is one."""
COMPLEMENT = "one_minus_"
"""A parameter on the scale log1m is searched as its distance from 1, under this prefix, on a log scale."""


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
        ranges = {name for name, entry in self.entries.items() if "scale" in entry and not is_whole(entry)}
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
                kind = IntDistribution if is_whole(entry) else FloatDistribution
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

    def settled(self, params: dict[str, Any]) -> dict[str, Any]:
        """The same as Optuna holds it, what has no effect at its default: beside the paper's own views, the settings of
        a preset. So trainings that are the same are one point to a searcher, and are tried once."""
        if params.get("augment") != PAPER:
            return params
        without = {key: value for key, value in self.to_params(self.defaults).items() if self._name(key) in SETTINGS}
        return params | without

    def from_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """All hyper-parameters from what Optuna holds, `settled`; the fixed ones at their defaults."""
        found = self.defaults
        for key, value in self.settled(params).items():
            name = self._name(key)
            entry = self.entries[name]
            found[name] = value if key == name else 1 - value
            if "scale" in entry and not is_whole(entry):  # rounding may leave the range
                found[name] = float(min(max(found[name], entry["low"]), entry["high"]))
        return found

    def _name(self, key: str) -> str:
        """The hyper-parameter that Optuna has under this name."""
        return key if key in self.entries else key.removeprefix(COMPLEMENT)


def load(method: str, image_size: int, folder: Path = FOLDER, *, transformer: bool = False) -> SearchSpace:
    """The search space of `method` for images of `image_size` px, from `folder`/METHOD.yaml, where the run's encoder is
    a vision `transformer` or not. Raises UserError."""
    path = folder / f"{method}.yaml"
    space = read(path, method_class(method), image_size, transformer=transformer)
    if space.method != method:
        raise UserError(f"{path} is for {space.method!r}; its file name says '{method}'.")
    return space


def read(path: Path, of: type[Method], image_size: int, *, transformer: bool = False) -> SearchSpace:
    """The search space at `path` of a method of this class, for images of `image_size` px, checked; for a vision
    `transformer` where the run's encoder is one, unless the method brings its own.

    Raises UserError for a file that is not YAML in UTF-8, an unknown or missing hyper-parameter, and an entry that
    `check_entry` refuses.
    """
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"{path.stem} has no search space; it would stand in {path}.") from None
    if not isinstance(content, dict) or set(content) != {"method", "paper", "recipe", "hyperparameters"}:
        raise UserError(f"{path} must have exactly the keys method, paper, recipe and hyperparameters.")
    method = str(content["method"])
    transformer = transformer and not of.brings_encoder()
    recipe = _recipe(path, content["recipe"], transformer)
    entries = content["hyperparameters"]
    if not isinstance(entries, dict):
        raise UserError(f"{path}: hyperparameters must be a mapping from names to entries.")
    required, known = hyperparameter_names(of)
    if reserved := sorted(known & set(AUGMENTATION)):
        raise UserError(f"{path}: {method} calls a hyper-parameter {reserved[0]}, as --augment does; rename it.")
    for name in entries:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}" if near else f"{method} takes {', '.join(sorted(known))}"
            raise UserError(f"{path}: {method} has no hyper-parameter {name!r}; {hint}.")
        check_entry(f"{path}: {name}", entries[name])
    if missing := required - set(entries):
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}.")
    return SearchSpace(method, str(content["paper"]), recipe, resolved(entries, image_size, transformer))


def _recipe(path: Path, recipe: object, transformer: bool) -> dict[str, str]:
    """Whose recipe it is, with such an encoder. Raises UserError."""

    def right(one: object) -> bool:
        return (
            isinstance(one, dict)
            and {"source"} <= set(one) <= {"source", "adapted"}
            and all(isinstance(words, str) and words.strip() for words in one.values())
        )

    other = recipe.get(TRANSFORMER) if isinstance(recipe, dict) else None
    found = {key: words for key, words in recipe.items() if key != TRANSFORMER} if isinstance(recipe, dict) else {}
    if not right(found) or (other is not None and not right(other)):
        raise UserError(
            f"{path}: recipe must have a source and, where it is not to the letter, how it is adapted; where it is "
            "another one for vision transformers, that as vit, with a source as well."
        )
    if not transformer:
        return found
    if other is not None:
        return dict(other)
    return found | {"adapted": "; ".join(filter(None, [OF_CONVOLUTIONS, found.get("adapted")]))}
