"""Entries of a search space, as its YAML file has them: read, and checked."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from algorithms.encoders import SMALL_IMAGE
from bench.errors import UserError

SCALES = ("linear", "log", "log1m")
FORMS = (
    {"default", "source"},
    {"default", "source", "low", "high", "scale"},
    {"default", "source", "choices"},
)
OPTIONAL = {"published", "small"}
TRANSFORMER = "vit"
"""The key of what holds where the encoder is a vision transformer, in place of the rest."""
LARGEST = 1e12
"""The most that a range may reach: far from where sums and rounding go wrong."""
NARROWEST = 1e-6
"""The least width of a range, as a part of its ends: far from how exactly logarithms are rounded."""


def read_yaml(path: Path) -> Any:
    """What stands in a file. Raises UserError for one that is not YAML in UTF-8, and FileNotFoundError."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8; save it in that encoding.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a date that is none, or endless brackets
        where = getattr(error, "problem_mark", None)
        raise UserError(f"{path} is not YAML{f', line {where.line + 1}' if where else ''}.") from None


def resolved(
    entries: Mapping[str, Mapping[str, Any]], image_size: int, transformer: bool = False
) -> dict[str, dict[str, Any]]:
    """The entries for images of `image_size` px and such an encoder: each with its one default."""
    size = "small" if image_size <= SMALL_IMAGE else "default"

    def one(entry: Mapping[str, Any]) -> dict[str, Any]:
        of = entry[TRANSFORMER] if transformer and TRANSFORMER in entry else entry
        kept = {key: value for key, value in of.items() if key not in ("small", TRANSFORMER)}
        return kept | {"default": of.get(size, of["default"])}

    return {name: one(entry) for name, entry in entries.items() if transformer or entry.keys() != {TRANSFORMER}}


def is_whole(entry: dict[str, Any]) -> bool:
    """Whether a range has whole numbers alone."""
    return entry["scale"] != "log1m" and all(isinstance(entry[key], int) for key in ("default", "low", "high"))


def check_entry(where: str, entry: object) -> None:
    """Raises UserError unless `entry` has one of the three forms and Optuna takes what it says: a range that is not
    empty, or choices that differ, and the defaults among them. A published value may lie outside. What it has for a
    vision transformer is such an entry too, and may be all that it has: then it is there for one alone."""
    if isinstance(entry, dict) and TRANSFORMER in entry:
        if isinstance(other := entry[TRANSFORMER], dict) and TRANSFORMER in other:
            raise UserError(f"{where}: {TRANSFORMER} stands in {TRANSFORMER} again; leave out the inner one.")
        check_entry(f"{where}: {TRANSFORMER}", other)
        if len(entry) == 1:
            return
        entry = {key: value for key, value in entry.items() if key != TRANSFORMER}
    if not isinstance(entry, dict) or set(entry) - OPTIONAL not in FORMS:
        raise UserError(
            f"{where} must have default and source, and either nothing more, or low, high and scale, or choices; "
            "beside them it may have published, small and vit."
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
    whole = is_whole({"default": default, "low": low, "high": high, "scale": scale})
    if not whole and last - first < NARROWEST * max(abs(first), abs(last)):
        raise UserError(f"{where}: the range from {low} to {high} is too narrow to be searched; leave the entry fixed.")
