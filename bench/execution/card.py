"""A folder that holds an encoder, to take away: `model.safetensors`, the state dict of the encoder that was judged;
`encoder.pt2`, a program of PyTorch's that needs neither this project nor the network's code
(`bench.execution.graph`); and `card.json`, which says what the encoder is. The card is written last: a folder that has
one is whole. It may lie anywhere. Reading a card needs no PyTorch.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

from bench.errors import UserError, one_line
from bench.files import write_atomically

T = TypeVar("T")
FORMAT = 1
LARGEST = 65_535
"""Side of an image, px."""
CARD, WEIGHTS, PROGRAM = "card.json", "model.safetensors", "encoder.pt2"
PIXELS = "uint8 / 255, resized antialiased (bilinear)"
"""What stands between a decoded image and the network, beside the normalisation."""
OTHERWISE = f"give a folder that ssl-bench train or run --keep-encoders left, or its {CARD}"


@dataclass(frozen=True)
class Accuracy:
    """What was measured of the encoder on test images, or of all that were trained as it was."""

    title: str
    mean: float
    half_width: float | None
    """Half of the 95 % interval over seeds; None of one seed."""
    seeds: int


@dataclass(frozen=True)
class Hyperparameter:
    """One of those in effect."""

    value: Any
    origin: str
    """`won in RUN`, `our recipe`, `published`; `fitted to the encoder and the images` where those ask for another;
    `default` of what the search space leaves as it is."""
    source: str | None
    """Where the search space has its default from."""


@dataclass(frozen=True)
class Network:
    """What makes the network that the weights are of."""

    name: str
    """What tables call it."""
    network: str
    """The name of an encoder, or the door (`bench.doors`) to what makes the user's own, without its folder. A card runs
    no code: whoever reads it names the door."""
    width: int
    """Its features."""
    parameters: int
    source: str | None = None
    """The hash of the file behind the door."""
    method: str | None = None
    """Where a method brings an encoder of its own in place of that network: its name, or its door, as above."""


@dataclass(frozen=True)
class Images:
    """Those that the encoder was trained on."""

    name: str
    fingerprint: str
    """SHA-256 (`bench.data.dataset.fingerprint`)."""
    train: int
    labelled: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Preprocessing:
    """What the encoder wants to see."""

    image_size: int
    """px"""
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of each channel, of values 0 .. 1."""
    fit: str
    """What became of images that are not square: `crop`, `pad`, `squash`."""
    pixels: str = PIXELS


@dataclass(frozen=True)
class Card:
    """What a kept encoder is, whence, and what it is worth."""

    method: str
    paper: str
    recipe: Mapping[str, str]
    """Of the search space: its `source` and, where it is not to the letter, how it is `adapted`."""
    hyperparameters: Mapping[str, Hyperparameter]
    epochs: int
    seed: int
    images: Images
    encoder: Network
    preprocessing: Preprocessing
    weights: str
    """Of the state dict (`algorithms.encoders.weights.fingerprint`)."""
    accuracies: Mapping[str, Accuracy]
    """By metrics (`algorithms.evaluation.metrics`)."""
    began_with: str | None
    """The pretrained weights with which the training began."""
    began_with_trained_on: str | None
    teacher: str | None
    teacher_trained_on: str | None
    picked: str | None
    """In words, where it was taken from several that were trained alike."""
    commit: str | None
    versions: Mapping[str, str]
    date: str
    """ISO 8601, UTC."""
    license: str | None = None
    """For whoever hands it on to fill in."""
    format: int = FORMAT

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.encoder.name} ({self.method})"

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return {"format": values.pop("format"), **values}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Raises ValueError for what is no card of this version; names that it does not know are left aside."""
        if not isinstance(values, Mapping) or not isinstance(found := values.get("format"), int):
            raise ValueError("it has no number as format")
        if found > FORMAT:
            raise ValueError(f"it has format {found}, this version reads {FORMAT}; update ssl-bench")
        one = {"images": Images, "encoder": Network, "preprocessing": Preprocessing}
        many = {"hyperparameters": Hyperparameter, "accuracies": Accuracy}
        nested: dict[str, Any] = {name: _record(kind, _mapping(values, name)) for name, kind in one.items()}
        for name, kind in many.items():
            entries = _mapping(values, name)
            nested[name] = {each: _record(kind, _mapping(entries, each)) for each in entries}
        made = _record(cls, {**values, **nested})
        seen = made.preprocessing
        if not 0 < seen.image_size <= LARGEST:
            raise ValueError(f"its image_size is {seen.image_size}")
        numbers = (*seen.mean, *seen.std)
        if not len(seen.mean) == len(seen.std) == seen.channels > 0 or not all(map(math.isfinite, numbers)):
            raise ValueError("its mean and std must be a number each for every channel")
        if not min(seen.std) > 0:
            raise ValueError("its std must be above 0")
        return made


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if not isinstance(found := values.get(name), Mapping):
        raise ValueError(f"its {name} is no mapping")
    return found


CHECKS: dict[Any, Callable[[Any], bool]] = {
    str: lambda value: isinstance(value, str),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    str | None: lambda value: value is None or isinstance(value, str),
    float | None: lambda value: value is None or (isinstance(value, int | float) and not isinstance(value, bool)),
    tuple[str, ...]: lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    tuple[float, ...]: lambda value: isinstance(value, list) and all(isinstance(each, float | int) for each in value),
    Mapping[str, str]: lambda value: isinstance(value, Mapping) and all(isinstance(v, str) for v in value.values()),
}
"""What JSON may have for a field of this type."""


def _record(kind: type[T], values: Mapping[str, Any]) -> T:
    """A record of JSON's values. Raises ValueError, with the name, for one that is missing or of another type."""
    taken: dict[str, Any] = {}
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]  # it is a data class
        if each.name not in values:
            if each.default is dataclasses.MISSING:
                raise ValueError(f"it lacks {each.name}")
            continue
        value = values[each.name]
        if each.type in CHECKS and not CHECKS[each.type](value):
            raise ValueError(f"its {each.name} is {one_line(repr(value))[:60]}")
        taken[each.name] = tuple(value) if isinstance(value, list) else value
    return kind(**taken)


def folder_of(source: str) -> Path | None:
    """The folder of a kept encoder that a source names, by itself or by its card; None where it names none."""
    path = Path(source)
    if path.name == CARD:
        return path.parent
    return path if path.is_dir() else None


def is_whole(folder: Path) -> bool:
    return (folder / CARD).is_file() and (folder / WEIGHTS).is_file()


def same(folder: Path, made: Card) -> bool:
    """Whether the folder has this card, but for its date and the license, which whoever owns it may have filled in."""
    try:
        there = read(folder)
    except UserError:
        return False
    return dataclasses.replace(there, date=made.date, license=made.license) == made


def read(folder: Path) -> Card:
    """The card of a folder. Raises UserError where there is none, or weights are missing, and for what is no card."""
    path = folder / CARD
    try:
        found = Card.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        earlier = folder / "encoder.pt"
        right = f"give NAME={earlier}, as an earlier version trained it" if earlier.exists() else OTHERWISE
        raise UserError(f"{folder} has no {CARD}; {right}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no card of an encoder ({one_line(error)}); {OTHERWISE}") from None
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} has a card and no {WEIGHTS}; copy the whole folder")
    return found


def write(folder: Path, card: Card, weights: bytes, program: Callable[[BinaryIO], None] | None) -> None:
    """Write the folder's files, the card last: there is none meanwhile. `program` fills an open binary file; None where
    the network has none. Raises OSError."""
    (folder / CARD).unlink(missing_ok=True)
    write_atomically(folder / WEIGHTS, weights)
    if program is None:
        (folder / PROGRAM).unlink(missing_ok=True)
    else:
        write_atomically(folder / PROGRAM, program)
    write_atomically(folder / CARD, json.dumps(card.to_json(), indent=1, ensure_ascii=False) + "\n")
