"""Images whose pixels say what they are, and what a source makes of them.

The red of an image is its class, the green the split that it was made for, the blue its number.
"""

import io
import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data import images
from bench.data.source import AS_IT_IS, Asked, EncodedSource, EncodedSplit

CLASSES = ("cat", "dog", "owl", "cow", "fox", "bee", "ant", "elk", "none")
SPLITS = ("train", "test", "val", "other")
Truth = tuple[str, str, int]
"""The class, split and number of an image."""


def image(of: str, split: str = "train", number: int = 0, side: int = 8) -> np.ndarray:
    pixels = np.empty((side, side, 3), np.uint8)
    pixels[:] = 20 * CLASSES.index(of) + 10, 50 * SPLITS.index(split) + 10, number
    return pixels


def png(of: str, split: str = "train", number: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image(of, split, number)).save(file, "PNG")
    return file.getvalue()


def put(folder: Path, of: str, split: str = "train", count: int = 3, start: int = 0, suffix: str = ".png") -> None:
    """`count` images of a class and split in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        (folder / f"{number:03}{suffix}").write_bytes(png(of, split, number))


def found(path: Path, asked: Asked = AS_IT_IS) -> EncodedSource:
    return images._find(path, asked)


def seen(split: EncodedSplit, classes: tuple[str, ...]) -> list[tuple[Truth, str | None]]:
    """What each image is by its pixels, and by its label, in the order of the split."""
    places = np.arange(len(split.labels))
    rows = []
    assert len(split.names) == len(places)
    for (name, encoded), path, label in zip(split.read(places), split.names, split.labels, strict=True):
        assert name == path
        content = encoded() if callable(encoded) else encoded
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as file:
            red, green, blue = (int(each) for each in np.asarray(file.convert("RGB"))[0, 0])
        truth = CLASSES[(red - 10) // 20], SPLITS[(green - 10) // 50], blue
        rows.append((truth, classes[label] if label >= 0 else None))
    return rows


def counted(source: EncodedSource) -> dict[str, dict[tuple[str, str, str | None], int]]:
    """By split: how many images of each true class and true split have which label. No image is there twice."""
    result, every = {}, []
    for name, split in (("train", source.train), ("test", source.test)):
        if split is not None:
            rows = seen(split, source.classes)
            every += [truth for truth, _ in rows]
            result[name] = dict(Counter((of, made_for, label) for (of, made_for, _), label in rows))
    assert len(set(every)) == len(every), "an image is there twice"
    return result


def remark(source: EncodedSource, *words: str) -> str:
    """The only remark that has all these words."""
    (line,) = (line for line in source.remarks if all(word in line for word in words))
    return line


def files_below(root: Path) -> list[tuple[str, bytes]]:
    """The path below the root and the content of every file."""
    return [
        (path.relative_to(root).as_posix(), path.read_bytes()) for path in sorted(root.rglob("*")) if path.is_file()
    ]


def zipped(path: Path, files: list[tuple[str, bytes]], way: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", way) as file:
        for name, content in files:
            file.writestr(name, content)
    return path


def tarred(path: Path, files: list[tuple[str, bytes]], compression: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, f"w:{compression}") as file:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def samples(classes: list[str], split: str = "train", start: int = 0, label: str = "cls") -> list[tuple[str, bytes]]:
    """The files of a WebDataset shard: a sample for each of these classes, with such a label, or a caption."""
    files = []
    for number, of in enumerate(classes, start):
        beside = {"cls": str(CLASSES.index(of)), "json": json.dumps({"label": of, "width": 8}), "txt": f"a {of}"}
        files.append((f"{number:06}.png", png(of, split, number)))
        if label in beside:
            files.append((f"{number:06}.{label}", beside[label].encode()))
    return files


def shard(path: Path, classes: list[str], split: str = "train", start: int = 0, label: str = "cls") -> Path:
    return tarred(path, samples(classes, split, start, label))
