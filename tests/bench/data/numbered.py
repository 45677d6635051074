"""Images that tell their own number, and what a source says of each: the truth to which labels are compared."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bench.data import images
from bench.data.source import Asked, Encoded, EncodedSource, EncodedSplit


def numbered(number: int) -> bytes:
    """A PNG of 8 px whose colour is a number from 0 to 65,535."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number // 256, number % 256, 7)).save(file, "PNG")
    return file.getvalue()


def written(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(numbered(number))


def cells(numbers, kind: pa.DataType | None = None) -> pa.Array:
    """An image column as Hugging Face writes it."""
    kind = kind or pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": numbered(number), "path": f"{number}.png"} for number in numbers], kind)


def table(path: Path, columns: dict, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def number_of(encoded: Encoded) -> int:
    content = encoded() if callable(encoded) else encoded
    with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
        red, green, blue = image.convert("RGB").getpixel((4, 4))
    assert blue == 7
    return red * 256 + green


def found(path: Path, **asked) -> EncodedSource:
    return images._find(path, Asked(**asked))


def numbers_in(split: EncodedSplit) -> list[int]:
    return [number_of(encoded) for _, encoded in split.read(np.arange(len(split.labels)))]


def labels_of(source: EncodedSource, which: str = "train") -> dict[int, str | None]:
    """The class of each image, by its number."""
    split = getattr(source, which)
    names = [source.classes[label] if label >= 0 else None for label in split.labels.tolist()]
    return dict(zip(numbers_in(split), names, strict=True))
