"""The features of images by any encoder, as Parquet, to be searched, clustered or plotted elsewhere.

from bench.execution.embedding import embed

path = embed("torchvision:resnet18", "path/to/images", "features.parquet")
"""

import contextlib
import dataclasses
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from algorithms.encoders.frozen import Frozen
from algorithms.evaluation.features import at_a_time, raw_features
from algorithms.images.statistics import IMAGENET, Statistics
from algorithms.images.store import ResidentImages
from bench.data import images as sets
from bench.data.dataset import Split
from bench.data.source import Asked, EncodedSource, EncodedSplit, PixelSource
from bench.data.stream import Pictures, Pixels, Stream
from bench.data.wording import amount, valid
from bench.data.workers import Pace, blocks, tell_skipped
from bench.errors import UserError, one_line
from bench.execution import networks, sources
from bench.execution.configuration import FITS, WHOLE
from bench.execution.pretrained import Pretrained
from bench.execution.signals import interrupting
from bench.files import check_output, expanded, slug, write_atomically
from bench.machine import cores

METADATA = b"embedding"
"""The key of the file's metadata under which it says, as JSON, what the features are."""
GROUP_BYTES = 2**25
"""Of the features that are written at a time, a row group."""


def embed(
    encoder: str,
    images: str | Path,
    output: str | Path | None = None,
    *,
    image_size: int | None = None,
    fit: str = "crop",
    labels: Path | None = None,
    strict: bool = False,
) -> Path:
    """Write the features of all `images` (what `--dataset` takes, whatever their split) by an `encoder`
    (`bench.execution.sources`); the path of the file, which is `output`, else IMAGES-ENCODER.parquet here.

    A row an image, in the source's order: `path`, or what else the source calls it; `split` and `label`, null where
    nothing says it, absent where nothing says it of any; `features`, float32 [width], as evaluations see them
    (`algorithms.evaluation.features.raw_features`). The encoder sees images at `image_size` px, None is its own size,
    by its own normalisation. `fit`, `labels` and `strict` are those of `bench.data.images.load`. Images are decoded as
    they are needed, so that memory holds a few of them at a time.

    The file appears whole or not at all; an earlier one of the same images and weights is replaced, nothing else.
    Raises UserError.
    """
    size = _checked(encoder, image_size, fit)
    called, source = sets.find(images, Asked(labels=labels, everything=True))
    rows, place = _Rows(source), expanded(images)
    found = Pixels(source) if isinstance(source, PixelSource) else Stream(place, rows.encoded(), fit, strict)
    of, frozen = _network(encoder, found.channels, size)
    path = expanded(output) if output else Path(f"{slug(called) or 'images'}-{slug(of.name)}.parquet")
    _check_output(path, place, 4 * of.width * len(rows), {"images": called, "weights": of.hash})
    _tell(source)
    print(f"{amount(len(rows), 'image')} of {valid(called)} by {of.name}: {of.width} features at {of.image_size} px")
    about = {
        "encoder": of.name,
        "weights": of.hash,
        "trained_on": of.trained_on,
        **{"image_size": of.image_size, "fit": fit, "mean": of.mean, "std": of.std},
        "images": called,
        "versions": {name: version(name) for name in ("torch", "torchvision", "pillow")},
    }
    schema = rows.schema(of.width).with_metadata({METADATA: json.dumps(about)})
    pictures = found.pictures(size, len(of.mean))
    try:
        with interrupting(), contextlib.closing(pictures):
            write_atomically(path, lambda file: _write(file, schema, rows, pictures, frozen))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or one_line(error)}); give --output") from None
    tell_skipped(found.skipped, len(rows))
    return path


class _Rows:
    """All images of a source, split after split: what is known of each row but its pixels."""

    def __init__(self, source: EncodedSource | PixelSource) -> None:
        self.splits: dict[str, EncodedSplit | Split] = {"train": source.train}
        if isinstance(source, PixelSource):
            self.splits["test"] = source.test
        else:
            self.splits |= {source.judging: source.test} if source.test else {}
            self.splits |= source.others
        self.labels = np.concatenate([np.asarray(split.labels) for split in self.splits.values()])
        self.classes = np.array([*source.classes, None], dtype=object)  # so that -1 is null
        self.starts = np.cumsum([0, *(len(split.labels) for split in self.splits.values())])

    def __len__(self) -> int:
        return len(self.labels)

    def encoded(self) -> list[EncodedSplit]:
        return [split for split in self.splits.values() if isinstance(split, EncodedSplit)]

    def schema(self, width: int) -> pa.Schema:
        columns = [("path", pa.string())]
        if self.splits.keys() - {"train", ""}:
            columns.append(("split", pa.string()))
        if (self.labels >= 0).any():
            columns.append(("label", pa.string()))
        return pa.schema([*columns, ("features", pa.list_(pa.float32(), width))])

    def columns(self, rows: list[int]) -> dict[str, list[str | None]]:
        """By name, what the columns of the schema but `features` hold in these rows."""
        names, splits = [*self.splits], np.searchsorted(self.starts, rows, side="right") - 1
        of_rows = [(names[split], row - int(self.starts[split])) for split, row in zip(splits, rows, strict=True)]
        return {
            "path": [self._called(*of_row) for of_row in of_rows],
            "split": [split or None for split, _ in of_rows],
            "label": list(self.classes[self.labels[rows]]),
        }

    def _called(self, split: str, place: int) -> str:
        of = self.splits[split]
        return of.names[place] if isinstance(of, EncodedSplit) else f"{split}/{place}"


def _checked(encoder: str, image_size: int | None, fit: str) -> int:
    """The size at which the encoder is to see images, px. Raises UserError for what is wrong before there are any."""
    least, most = WHOLE["image_size"]
    if image_size is not None and not least <= image_size <= most:
        raise UserError(f"image_size {image_size} is not a whole number from {least:,} to {most:,}")
    if fit not in FITS:
        raise UserError(f"there is no fit {fit!r}; there are {', '.join(FITS)}")
    sources.check(encoder)
    size = image_size or sources.own_image_size(encoder)
    if size is None:
        raise UserError(f"{sources.short(encoder)} does not say at which size it sees images; give --image-size")
    return size


def _network(encoder: str, channels: int, size: int) -> tuple[Pretrained, Frozen]:
    """The encoder at this size, for images of so many channels with values 0 .. 1; grey ones come in as many as it
    takes. Raises UserError."""
    given = IMAGENET if channels == IMAGENET.channels else _as_they_are(channels)  # where nothing says what it wants
    of, state = sources.find(encoder, Path(), given, image_size=size, own_size=True)
    of = dataclasses.replace(of, image_size=size)
    try:
        return of, networks.frozen(of, _as_they_are(len(of.mean) if channels == 1 else channels), state)
    except ValueError as error:
        raise UserError(f"{of.name} at {size} px: {error}") from None


def _as_they_are(channels: int) -> Statistics:
    """Those by which values stay as they are, 0 .. 1."""
    return Statistics((0.0,) * channels, (1.0,) * channels)


def _check_output(path: Path, images: Path, size: int, same: dict[str, str]) -> None:
    """Raises UserError where a file of this size cannot be written there, and where something is there that is no
    earlier file of the same images and weights, by its metadata."""
    folder = check_output(path)
    if os.path.lexists(path) and not same.items() <= _about(path).items():
        raise UserError(f"{path} is there, and not of the same images and encoder; give another --output")
    if images.is_dir() and path.resolve().is_relative_to(images.resolve()):
        raise UserError(
            f"{path} would lie among the images, where a table of paths says which they are; give --output elsewhere"
        )
    if size > (free := shutil.disk_usage(folder).free):
        raise UserError(
            f"the features take {size / 2**30:.1f} GiB, and {folder} has {free / 2**30:.1f} free; give another --output"
        )


def _about(path: Path) -> dict[str, Any]:
    """What the metadata of a file that is there say of its features; nothing where it is of another kind."""
    try:
        said = json.loads((pq.read_schema(path).metadata or {}).get(METADATA, b"{}"))
    except (pa.ArrowException, OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _tell(source: EncodedSource | PixelSource) -> None:
    if not isinstance(source, EncodedSource):
        return
    for remark in source.remarks:
        print(f"note: {one_line(remark)}")
    if count := sum(len(split.labels) for split in source.others.values()):
        print(f"note: {amount(count, 'image')} that would neither train nor test are among them all the same")


def _write(file: BinaryIO, schema: pa.Schema, rows: _Rows, pictures: Pictures, frozen: Frozen) -> None:
    """Encode the pictures, and write a row of each. Raises UserError and OSError."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    pace, group = Pace("embedding", len(rows)), max(1, GROUP_BYTES // (4 * frozen.width))
    waiting: list[pa.RecordBatch] = []
    with pq.ParquetWriter(file, schema, use_dictionary=["split", "label"]) as writer:
        for batch in blocks(pictures, at_a_time(frozen, frozen.image_size)):
            places, pixels = [row for row, _ in batch], np.stack([picture for _, picture in batch])
            packed = torch.from_numpy(pixels.transpose(0, 1, 3, 2).copy())
            images = ResidentImages(packed.to(device), _as_they_are(packed.shape[2]))
            features = raw_features(frozen, images).cpu()
            if not torch.isfinite(features).all():
                raise UserError(f"the encoder {frozen.name} gives features that are not finite; take another one")
            flat = pa.array(features.flatten().numpy(), pa.float32())
            columns = rows.columns(places) | {"features": pa.FixedSizeListArray.from_arrays(flat, frozen.width)}
            waiting.append(pa.record_batch([columns[name] for name in schema.names], schema=schema))
            if sum(map(len, waiting)) >= group:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting.clear()
            pace.tell(places[-1] + 1)
        writer.write_table(pa.Table.from_batches(waiting, schema))
