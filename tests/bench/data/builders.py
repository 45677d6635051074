"""Small data sets, as people have them: pictures, class folders, Parquet files."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from bench.data import images
from bench.data.dataset import Dataset

CIFAR10 = Path(__file__).resolve().parents[4] / "shared" / "data" / "cifar10"

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(seed: int, width: int = 16, height: int = 16) -> np.ndarray:
    """uint8 [height, width, 3], smooth enough to be recognised after a lossy format."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR))


def encoded(array: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of this size with next to no pixels in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def class_folders(root: Path, counts: dict[str, int], size: int = 16, kind: str = "png", **options) -> list[np.ndarray]:
    """`counts[name]` images in `root/name`; returns them, by folder and file name."""
    arrays = []
    for name in sorted(counts):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(counts[name]):
            arrays.append(picture(len(arrays), size, size))
            Image.fromarray(arrays[-1]).save(root / name / f"{number:04}.{kind}", **options)
    return arrays


def parquet(path: Path, labels: list, classes: list[str] | None = None, seed: int = 0, **columns) -> list[np.ndarray]:
    """A Parquet file as Hugging Face writes it, of one image for each label; returns the images."""
    arrays = [picture(seed + number) for number in range(len(labels))]
    cells = [{"bytes": encoded(array), "path": f"{number}.png"} for number, array in enumerate(arrays)]
    contents = {"img": pa.array(cells, IMAGE), "label": pa.array(labels, pa.int64())} | columns
    table = pa.table({name: column for name, column in contents.items() if column is not None})
    if classes:
        features = {"img": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)
    return arrays


def remark(dataset: Dataset, *words: str) -> str:
    """The only remark that has all these words."""
    (found,) = (line for line in dataset.remarks if all(word in line for word in words))
    return found


def stacked(arrays: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def stored(tmp_path: Path, content: bytes, suffix: str, **options) -> np.ndarray:
    """What becomes of an image: uint8 [S, S, 3]."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / f"x{suffix}").write_bytes(content)
    return images.load(tmp_path, strict=True, **options).train.pixels[0].permute(1, 2, 0).numpy()


def damage(root: Path, content: bytes) -> str:
    (root / "a" / "0003.png").write_bytes(content)
    return "a/0003.png"


def warnings_in(text: str) -> list[str]:
    """The lines of stderr that do not tell the progress on a slow machine."""
    return [line for line in text.splitlines() if not line.startswith("decoding ")]
