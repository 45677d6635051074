"""What a run leaves to look at of its encoders, in the folder `inspected`: `images.webp` and `images.json`, the test
images that are looked at, small; `UID.json`, what the encoder of a training makes of them."""

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.errors import UserError
from bench.report.results import Results

FOLDER = "inspected"
SIDE, COLUMNS = 32, 40
"""Of a small image, px, at the most; and how many stand beside each other."""
QUALITY = 90
EXTENT = 1000
"""Places on a map are whole numbers below it."""
MOST_IMAGES, MOST_CLASSES = 10_000, 1_000_000
"""Above which a file is not one of ours."""


@dataclass(frozen=True)
class Images:
    """The test images that are looked at. `image` has all of them, `columns` beside each other, each `side` px wide."""

    labels: list[int]
    """-1 of images without."""
    asked: list[int]
    """The places of those whose neighbours are told."""
    side: int
    columns: int
    image: bytes
    """WebP."""

    def files(self) -> dict[str, bytes]:
        """By their paths in the run's folder."""
        told = asdict(self)
        return {f"{FOLDER}/images.webp": told.pop("image"), f"{FOLDER}/images.json": _text(told)}

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Of a run's folder; None where there are none. Raises UserError where they are damaged."""
        path = folder / FOLDER / "images.json"
        told = _read(path)
        try:
            image = path.with_suffix(".webp").read_bytes()
        except OSError:
            return None
        if told is None:
            return None
        with _Checked(path):
            labels = _wholes(told["labels"], -1, MOST_CLASSES)
            asked = _wholes(told["asked"], 0, len(labels))
            side, columns = _wholes([told["side"], told["columns"]], 1, SIDE + COLUMNS)
            if len(labels) > MOST_IMAGES:
                raise ValueError
            return cls(labels, asked, side, columns, image)


@dataclass(frozen=True)
class Inspected:
    """What an encoder makes of the images."""

    neighbours: list[list[int]]
    """Of each that asks the places of the nearest others, the nearest first."""
    map: list[list[int]]
    """Where each image lies, from 0 to `EXTENT` - 1."""
    confusion: list[list[int]]
    """(class, taken for, how often), on all test images."""
    trustworthiness: float
    """Of the map."""

    def files(self, of: str) -> dict[str, bytes]:
        """By their paths in the run's folder; `of` is the uid of the training that made the encoder."""
        return {f"{FOLDER}/{of}.json": _text(asdict(self))}

    @classmethod
    def read(cls, folder: Path, of: str, images: Images) -> Self | None:
        """Of a run's folder; None where there is nothing. Raises UserError where it is damaged."""
        path = folder / FOLDER / f"{of}.json"
        if path.parent != folder / FOLDER or (told := _read(path)) is None:  # a uid comes from a file, too
            return None
        with _Checked(path):
            count = len(images.labels)
            near = [_wholes(each, 0, count) for each in told["neighbours"]]
            places = [_wholes(each, 0, EXTENT) for each in told["map"]]
            confusion = [_wholes(each, 0, 2**53) for each in told["confusion"]]
            right = len(near) == len(images.asked) and len(places) == count and 0 <= told["trustworthiness"] <= 1
            if not right or {*map(len, places)} - {2} or {*map(len, confusion)} - {3}:
                raise ValueError
            if max((place for each in confusion for place in each[:2]), default=0) >= MOST_CLASSES:
                raise ValueError
            return cls(near, places, confusion, float(told["trustworthiness"]))


@dataclass(frozen=True)
class Inspections:
    """Of a run: the images, and what encoders make of them by the uid of the training."""

    images: Images
    of: Mapping[str, Inspected]


def load(folder: str | Path, results: Results) -> Inspections | None:
    """Of a run's folder, of the encoders that the results say were inspected; None where nothing was. Raises UserError
    for a damaged file."""
    trials = results.trials
    inspected = trials[(trials.protocol == "inspect") & (trials.state == "complete")]
    if inspected.empty or (images := Images.read(Path(folder))) is None:
        return None
    found = {str(of): Inspected.read(Path(folder), str(of), images) for of in inspected.of.dropna()}
    there = {of: each for of, each in found.items() if each is not None}
    return Inspections(images, there) if there else None


def sheet(parts: Iterable[NDArray[np.uint8]]) -> tuple[int, int, bytes]:
    """Images uint8 [N, C, S, S], in parts, as the fields `side`, `columns` and `image` of `Images`. Of one channel, or
    of two the first, they are grey; of more the first three are shown."""
    small = list(_small(parts))
    side = small[0].width
    whole = Image.new("RGB", (COLUMNS * side, math.ceil(len(small) / COLUMNS) * side))
    for place, image in enumerate(small):
        whole.paste(image, (place % COLUMNS * side, place // COLUMNS * side))
    content = io.BytesIO()
    whole.save(content, "WEBP", quality=QUALITY, method=4)
    return side, COLUMNS, content.getvalue()


def _small(parts: Iterable[NDArray[np.uint8]]) -> Iterator[Image.Image]:
    for part in parts:
        for pixels in part:
            image = Image.fromarray(
                pixels[0] if len(pixels) < 3 else np.ascontiguousarray(pixels[:3].transpose(1, 2, 0))
            )
            side = min(SIDE, image.width)
            yield image.resize((side, side), Image.Resampling.BOX).convert("RGB")


def whole(places: NDArray[np.float32]) -> list[list[int]]:
    """A map [N, 2] in whole numbers from 0 to `EXTENT` - 1, at the same scale in both directions."""
    least, extent = places.min(0), max(float(np.ptp(places, axis=0).max()), 1e-12)
    found: list[list[int]] = ((places - least) / extent * (EXTENT - 1)).round().astype(int).tolist()
    return found


def _text(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def _read(path: Path) -> dict[str, Any] | None:
    """What stands in a file; None where it is not there."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    with _Checked(path):
        found = json.loads(content)
        if not isinstance(found, dict):
            raise TypeError
        return found


class _Checked:
    """Whatever is wrong with a file is told in one line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, (ValueError, TypeError, LookupError, RecursionError)):
            raise UserError(f"{self._path} is damaged; remove it, and the page is made without it") from None


def _wholes(values: Any, least: int, beyond: int) -> list[int]:
    """Whole numbers from `least` to below `beyond`. Raises ValueError for anything else."""
    if not isinstance(values, list) or not all(type(each) is int and least <= each < beyond for each in values):
        raise ValueError
    return values
