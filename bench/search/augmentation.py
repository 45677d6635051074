"""Presets of augmentation (`--augment`): for each kind of images the settings that all methods search beside their own
hyper-parameters. They stand in one file."""

import dataclasses
from pathlib import Path
from typing import Any

from algorithms.images.augmentation import OFF, PAPER, SETTINGS, Augmentation
from algorithms.method import Method
from bench.errors import UserError
from bench.search.entries import check_entry, read_yaml, resolved
from bench.search.space import FOLDER, SearchSpace

FILE = FOLDER / "augmentation.yaml"


def load(preset: str, image_size: int, path: Path = FILE) -> dict[str, dict[str, Any]]:
    """The entry of every setting of a preset, for images of `image_size` px, checked. Raises UserError."""
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"there are no presets of augmentation; they would stand in {path}") from None
    if not isinstance(content, dict) or not isinstance(content.get(preset), dict):
        raise UserError(f"{path} has no preset {preset!r}")
    where, found = f"{path}: {preset}", content[preset]
    if set(found) != {"images", "settings"} or not isinstance(found["images"], str):
        raise UserError(f"{where} must have exactly images, in words, and settings")
    if not isinstance(found["settings"], dict) or set(found["settings"]) != set(SETTINGS):
        raise UserError(f"{where}: settings must be exactly {', '.join(SETTINGS)}")
    for name, entry in found["settings"].items():
        check_entry(f"{where}: {name}", entry)
        _check_setting(f"{where}: {name}", name, entry)
    return resolved(found["settings"], image_size)


def _check_setting(where: str, name: str, entry: dict[str, Any]) -> None:
    """Raises UserError for a value that is none of this setting, and for a search that has no off."""
    if "published" in entry:
        raise UserError(f"{where}: the published recipe has the paper's own views; leave out published")
    values = [entry[key] for key in ("default", "small", "low", "high") if key in entry] + entry.get("choices", [])
    try:
        for value in values:
            Augmentation(**{name: value})
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    off = getattr(OFF, name)
    inside = off in entry["choices"] if "choices" in entry else entry.get("low", off) <= off <= entry.get("high", off)
    if not inside:
        raise UserError(f"{where}: {off}, which is off, must be among what is searched")


def defaults(preset: str, image_size: int) -> Augmentation:
    """The settings of a preset at their defaults. Raises UserError."""
    return Augmentation(**{name: entry["default"] for name, entry in load(preset, image_size).items()})


def with_preset(space: SearchSpace, preset: str, of: type[Method], image_size: int) -> SearchSpace:
    """The search space of a method of this class with a preset's settings, as far as they change its views, and the
    choice between them and the paper's own views, which are the published recipe's. Raises UserError."""
    settings = {
        name: entry
        for name, entry in load(preset, image_size).items()
        if name not in of.unaffected_by(image_size)
        if entry.keys() & {"low", "choices"} or entry["default"] != getattr(OFF, name)
    }
    switch = {
        "default": preset,
        "published": PAPER,
        "choices": [PAPER, preset],
        "source": "the published recipe has the paper's own views",
    }
    return dataclasses.replace(space, entries=space.entries | {"augment": switch} | settings)
