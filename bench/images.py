"""Data sets, by name or by path: images as uint8 tensors, with labels, class names and a fingerprint."""

import difflib
import functools
import hashlib
import io
import json
import os
import re
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torchvision
from numpy.random import RandomState
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from algorithms.augment import pack, unpack
from bench import shapes
from bench.errors import UserError
from bench.files import write_atomically

HELD_OUT = 0.2
"""Share of the labelled images that is held out for testing where a data set has no test images."""
SMALLEST = 8
"""Least side of an image, pixels: the encoders halve it three times."""
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # Pillow would run Ghostscript for some others
SPLITS = {
    "train": {"train", "training"},
    "test": {"test", "testing"},
    "validation": {"validation", "valid", "val", "dev"},
}
UNLABELLED = {"unlabelled", "unlabeled"}
SILENCE = 30
"""Seconds after which a download that brings nothing is given up."""
UNUSED = "; its validation images left out"
SAVED = "images.pt"


@dataclass(frozen=True)
class Split:
    pixels: Tensor
    """uint8 [N, 3, S, S], red, green, blue."""
    labels: Tensor
    """int64 [N], places in the data set's `classes`; -1 = unlabelled (training images only)."""


@dataclass(frozen=True)
class Dataset:
    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    fingerprint: str
    """SHA-256 of the pixels and labels of both splits, hexadecimal."""
    note: str
    """What tables call it, with the format in which lossy images were stored and what was done to it."""
    skipped: tuple[str, ...]
    """The images that could not be read."""
    validation: int = 0
    """How many of the last training images `save` put there as the validation split."""


@dataclass(frozen=True)
class _Named:
    """A data set that torchvision downloads and verifies."""

    constructor: str
    title: str
    files: str
    """What to put into the cache by hand where there is no network."""
    train_split: str | None = None
    """What its constructor calls the training images, where it takes a `split` instead of `train`."""

    def open(self, cache: Path, train: bool) -> torchvision.datasets.VisionDataset:
        which = {"split": self.train_split if train else "test"} if self.train_split else {"train": train}
        return getattr(torchvision.datasets, self.constructor)(cache, download=True, **which)


NAMED = {
    "cifar10": _Named("CIFAR10", "CIFAR-10", "cifar-10-python.tar.gz"),
    "cifar100": _Named("CIFAR100", "CIFAR-100", "cifar-100-python.tar.gz"),
    "stl10": _Named("STL10", "STL-10", "stl10_binary.tar.gz", "train+unlabeled"),
    "svhn": _Named("SVHN", "SVHN", "train_32x32.mat and test_32x32.mat", "train"),
    "fashionmnist": _Named("FashionMNIST", "Fashion-MNIST", "FashionMNIST/raw/*-ubyte.gz (four files)"),
}
"""The data sets that are known by name, beside `shapes`."""


def load(
    name_or_path: str | Path, *, image_size: int | None = None, strict: bool = False, limit: int | None = None
) -> Dataset:
    """The data set with this name or at this path, decoded into memory.

    A name is one of `NAMED`, which torchvision downloads once into `cache_folder()` and verifies, or `shapes`, the
    embedded set. A path is a folder of Parquet files in the Hugging Face layout (or one such file): an image column
    of struct<bytes, path>, a label column of integers or strings, `train`, `test` or `validation` in the file names.
    Or it is a folder with a folder of images for each class, perhaps below `train` and `test` (or `val`); a class
    folder `unlabelled` holds images without a label. The test images are `test`, else `validation`, else a fixed
    stratified 20 % of the labelled images. Grey images get three equal channels.

    `image_size` resizes: the central square, antialiased, to that side in pixels. An image that cannot be read is
    left out, counted and named in `skipped` and in a line on stderr; with `strict` it is an error. `limit` keeps a
    fixed stratified subset of that many training images, and the same share of the test images.

    Raises UserError where there is no such data set, where it cannot be downloaded or has no images, labels or two
    classes, and where its images differ in size or are not square and no `image_size` is given.
    """
    if image_size is not None and image_size < SMALLEST:
        raise UserError(f"an image size of {image_size} px is too small; {SMALLEST} px is the least")
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} images leaves none; give the number of training images to keep")
    known = str(name_or_path)
    if known == "shapes":
        train, test = shapes.generate()
        return _from_memory(known, "generated textures", train, test, shapes.CLASSES, image_size, limit)
    if known in NAMED:
        train, test, classes = _download(known)
        return _from_memory(known, NAMED[known].title, train, test, classes, image_size, limit)

    path = Path(name_or_path).expanduser()
    if not path.exists():
        names = ["shapes", *NAMED]
        near = difflib.get_close_matches(known.lower(), names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"give a path, or one of {', '.join(names)}"
        raise UserError(f"there is no data set and no path '{name_or_path}'; {hint}")
    try:
        found = _list_parquet(path) or _list_folders(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({_one_line(error)})") from None
    return _from_listings(path, found, image_size, strict, limit)


def cache_folder() -> Path:
    """Where downloads are kept: $SSL_BENCH_CACHE, else ~/.cache/ssl-bench. A torchvision root can serve as well."""
    return Path(os.environ.get("SSL_BENCH_CACHE") or "~/.cache/ssl-bench").expanduser()


# ------------------------------------------------------------------------------------------- which images go where


def validation_split(labels: Tensor, fraction: float = 0.1) -> tuple[Tensor, Tensor]:
    """(training, validation) places, int64 and rising, of images with `labels` int64 [N].

    The validation images are `fraction` of the labelled ones, stratified. They depend on the labels alone, so that
    they are the same in every run and for every method. Unlabelled images (-1) are for training, and so is the only
    image of a class.
    """
    found = labels.numpy()
    held = _stratified(found, round(fraction * int((found >= 0).sum())), leave=1)
    keep = np.ones(len(found), dtype=bool)
    keep[held] = False
    return torch.from_numpy(np.flatnonzero(keep)), torch.from_numpy(held)


def _stratified(labels: np.ndarray, total: int, leave: int) -> np.ndarray:
    """Rising places of `total` labelled images, of each class its share, chosen by a fixed order; at least one of
    each class, but never the last `leave` of it."""
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    # RandomState's stream is frozen (NEP 19): the same images on every machine and with every version.
    order = RandomState(0).permutation(len(labels))
    ordered = labels[order]
    quotas = _quotas(counts, total, np.maximum(counts - leave, 0))
    chosen = [order[ordered == label][:quota] for label, quota in zip(classes, quotas, strict=True)]
    return np.sort(np.concatenate([*chosen, np.empty(0, dtype=np.int64)])).astype(np.int64)


def _quotas(counts: np.ndarray, total: int, most: np.ndarray) -> np.ndarray:
    """How many of each class make `total`: in proportion to `counts` (largest remainders), at least 1 and at most
    `most` of each where that can be."""
    share = counts * total / max(counts.sum(), 1)
    quotas = np.clip(np.floor(share), np.minimum(1, most), most).astype(np.int64)
    while quotas.sum() < min(total, most.sum()):
        quotas[np.argmax(np.where(quotas < most, share - quotas, -np.inf))] += 1
    while quotas.sum() > total and (quotas > 1).any():
        quotas[np.argmax(np.where(quotas > 1, quotas - share, -np.inf))] -= 1
    return quotas


def _limited(train: np.ndarray, test: np.ndarray, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The places of the training and test images (by their labels) that a limit keeps."""
    if limit is None or limit >= len(train):
        return np.arange(len(train)), np.arange(len(test))
    strata = np.where(train < 0, train.max() + 1, train)  # here the unlabelled images are one more class
    if limit < len(np.unique(strata)):
        raise UserError(f"a limit of {limit} images is less than one of each of {len(np.unique(strata))} classes")
    return _stratified(strata, limit, leave=0), _stratified(
        test, max(1, round(len(test) * limit / len(train))), leave=0
    )


# ------------------------------------------------------------------------------------------------- images by name

Arrays = tuple[Tensor, Tensor]
"""Pixels uint8 [N, 3, S, S] and labels int64 [N]."""


def _download(name: str) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    named, cache = NAMED[name], cache_folder()
    timeout = socket.getdefaulttimeout()
    # torchvision sets none: a network that swallows packets would hang it for ever.
    socket.setdefaulttimeout(SILENCE)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        train, test = named.open(cache, True), named.open(cache, False)
    except ModuleNotFoundError as error:
        raise UserError(f"{name} needs the package {error.name}; install it with pip") from None
    except Exception as error:  # of the network, the archive, the checksum or the disk
        raise UserError(
            f"{named.title} could not be downloaded ({_one_line(error)}); put {named.files} into {cache}, or name a "
            "folder of images instead (--dataset PATH)"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
    classes = tuple(getattr(train, "classes", None) or (str(digit) for digit in range(10)))
    return _arrays(train), _arrays(test), classes


def _arrays(split: torchvision.datasets.VisionDataset) -> Arrays:
    """The pixels and labels that a torchvision data set holds, in one layout."""
    pixels = torch.as_tensor(split.data)
    if pixels.ndim == 3:
        pixels = pixels[:, None].expand(-1, 3, -1, -1)
    elif pixels.shape[1] != 3:
        pixels = pixels.permute(0, 3, 1, 2)
    labels = split.targets if hasattr(split, "targets") else split.labels
    return pixels, torch.as_tensor(np.asarray(labels, dtype=np.int64))


def _from_memory(
    name: str,
    note: str,
    train: Arrays,
    test: Arrays,
    classes: tuple[str, ...],
    image_size: int | None,
    limit: int | None,
) -> Dataset:
    kept = _limited(train[1].numpy(), test[1].numpy(), limit)
    if len(kept[0]) < len(train[1]):
        note += f"; {len(kept[0]):,} of {len(train[1]):,} training images"
    if image_size not in (None, train[0].shape[-1]):
        note += f"; resized to {image_size} px"
    splits = []
    for (pixels, labels), places in zip((train, test), kept, strict=True):
        _check_memory(len(places), image_size or pixels.shape[-1])
        if len(places) < len(labels):
            pixels, labels = pixels[places], labels[places]
        splits.append(Split(_resize(pixels, image_size), labels))
    return _dataset(name, note, *splits, classes)


def _resize(pixels: Tensor, size: int | None) -> Tensor:
    if size in (None, pixels.shape[-1]):
        return pixels.contiguous()
    resized = torch.empty(len(pixels), 3, size, size, dtype=torch.uint8)
    for part, of in zip(resized.split(1024), pixels.split(1024), strict=True):
        part.copy_(resize(of, [size, size], antialias=True))
    return resized


# ------------------------------------------------------------------------------------------------- images by path

Encoded = bytes | Path | None


@dataclass(frozen=True)
class _Listing:
    """Encoded images, and how to get at them."""

    labels: np.ndarray
    """int64 [N]; -1 = unlabelled."""
    read: Callable[[np.ndarray], Iterator[tuple[str, Encoded]]]
    """Rising places -> the name and the encoded image of each."""


@dataclass(frozen=True)
class _Found:
    train: _Listing
    test: _Listing | None
    classes: tuple[str, ...]
    note: str = ""


def _list_folders(root: Path) -> _Found:
    """The images below a folder of class folders."""
    if not root.is_dir():
        raise UserError(
            f"{root} is neither a folder nor a Parquet file; give a folder of Parquet files or class folders"
        )
    parts: dict[str, dict[str, list[Path]]] = {}
    for split, child in _split_folders(root):
        if split in parts:
            raise UserError(f"{root} has two folders of {split} images; leave one of them")
        parts[split] = _class_folders(child)
    if parts.get("train"):
        train = parts["train"]
        judged = [parts[split] for split in ("test", "validation") if parts.get(split, {}).keys() - UNLABELLED]
    else:
        train, judged = _class_folders(root), []
        splits = {name: split for name in train if (split := _split_of(Path(name)))}
        if len(set(splits.values())) > 1:
            raise UserError(
                f"{root} has the folders {', '.join(sorted(splits))}, which look like parts of a data set and not like "
                "classes; name them train and test"
            )
    test = judged[0] if judged else None
    if not train:
        loose = any(child.suffix.lower() in SUFFIXES for child in root.iterdir())
        what = "holds images but no class folders" if loose else "holds no images"
        raise UserError(f"{root} {what}; it should hold Parquet files, or a folder of images for each class")
    classes = tuple(sorted({*train, *(test or {})} - UNLABELLED))

    def listing(folders: dict[str, list[Path]]) -> _Listing:
        paths = [path for folder in sorted(folders) for path in folders[folder]]
        place = {name: number for number, name in enumerate(classes)}
        labels = [place.get(folder, -1) for folder in sorted(folders) for _ in folders[folder]]

        def read(places: np.ndarray) -> Iterator[tuple[str, Encoded]]:
            return ((str(paths[i].relative_to(root)), paths[i]) for i in places)

        return _Listing(np.array(labels, dtype=np.int64), read)

    return _Found(listing(train), listing(test) if test else None, classes, UNUSED if len(judged) > 1 else "")


def _split_folders(root: Path) -> Iterator[tuple[str, Path]]:
    for child in sorted(root.iterdir()):
        for split, words in SPLITS.items():
            if child.is_dir() and child.name.lower() in words:
                yield split, child


def _class_folders(root: Path) -> dict[str, list[Path]]:
    """The images below each folder in `root`, by its name; folders without images and hidden ones are passed over."""
    folders = {}
    for child in sorted(root.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            paths = [path for path in _files(child) if path.suffix.lower() in SUFFIXES]
            if paths:
                name = "unlabelled" if child.name.lower() in UNLABELLED else child.name
                folders[name] = sorted(folders.get(name, []) + paths)
    return folders


def _files(root: Path) -> Iterator[Path]:
    """The files below `root` that are not hidden, each once: a folder to which several links lead is looked into once,
    or the same image would be in training and in test."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real not in seen:
            yield from (Path(folder) / file for file in files if not file.startswith("."))
        seen.add(real)


def _list_parquet(root: Path) -> _Found | None:
    """The images in Parquet files, None where there are no such files."""
    if root.is_dir():
        files = sorted(path for path in _files(root) if path.suffix == ".parquet")
    else:
        files = [root] if root.suffix == ".parquet" else []
    if not files:
        return None
    names_of = {file: file.relative_to(root.parent if root.is_file() else root) for file in files}
    by_split: dict[str | None, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(names_of[file]), []).append(file)
    others = by_split.pop(None, [])
    train = by_split.get("train") or others
    if not train:
        raise UserError(f"{root} has no training images; the name of a Parquet file of them should contain 'train'")
    note = f"; {len(others)} other files left out" if others and train is not others else ""

    image, label, names = _columns(train[0])
    tables = {
        file: _ParquetFile(file, str(names_of[file]), image, label)
        for file in files
        if file in train or file not in others
    }
    labels = {file: table.labels() for file, table in tables.items()}
    kinds = {of.dtype.kind: file for file, of in labels.items()}
    if len(kinds) > 1:
        raise UserError(f"the column '{label}' holds strings in {kinds['U']}, but numbers in {kinds['i']}")
    if names is None:
        none = "" if "U" in kinds else -1
        values = np.unique(np.concatenate(list(labels.values())))
        values = values[values != none]
        labels = {file: np.where(of != none, np.searchsorted(values, of), -1) for file, of in labels.items()}
        names = tuple(str(value) for value in values)
    for file, of in labels.items():
        if of.max(initial=-1) >= len(names):
            raise UserError(f"{file} has label {of.max()}, but its metadata names only {len(names)} classes")

    def listing(files: list[Path]) -> _Listing:
        starts = np.cumsum([0, *(len(labels[file]) for file in files)])

        def read(places: np.ndarray) -> Iterator[tuple[str, Encoded]]:
            for file, start, end in zip(files, starts, starts[1:], strict=False):
                yield from tables[file].read(places[(places >= start) & (places < end)] - start)

        return _Listing(np.concatenate([labels[file] for file in files]), read)

    judged = [
        by_split[split]
        for split in ("test", "validation")
        # Hugging Face keeps the labels of some test splits secret: they are -1 there.
        if any((labels[file] >= 0).any() for file in by_split.get(split, []))
    ]
    note += UNUSED if len(judged) > 1 else ""
    return _Found(listing(train), listing(judged[0]) if judged else None, names, note)


def _split_of(file: Path) -> str | None:
    """The split that a file's name, or else the nearest folder's, speaks of."""
    for part in reversed([*file.parent.parts, file.stem]):
        for word in re.split("[^a-z]+", part.lower()):
            for split, words in SPLITS.items():
                if word in words:
                    return split
    return None


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} cannot be read as Parquet ({_one_line(error)})") from None


def _columns(file: Path) -> tuple[str, str, tuple[str, ...] | None]:
    """The names of the image column and the label column, and those of the classes where the metadata have them."""
    schema = _schema(file)
    features = {}
    if b"huggingface" in (schema.metadata or {}):
        try:
            features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        except (ValueError, KeyError, TypeError):
            features = {}
    images = [
        field.name
        for field in schema
        if pa.types.is_struct(field.type)
        and any(
            part.name == "bytes" and (pa.types.is_binary(part.type) or pa.types.is_large_binary(part.type))
            for part in field.type
        )
    ]
    if not images:
        raise UserError(f"{file} has no image column (struct<bytes, path>); its columns are {', '.join(schema.names)}")

    images = [name for name in ("image", "img") if name in images][:1] or images
    if len(images) > 1:
        raise UserError(f"{file} has several image columns ({', '.join(images)}); call the right one 'image'")
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    classes = {
        name: tuple(str(item) for item in features[name]["names"])
        for name in integers
        if isinstance(features.get(name), dict) and features[name].get("names")
    }
    texts = [field.name for field in schema if _is_text(field.type)]
    called = [name for name in ("label", "labels") if name in integers + texts]
    # CIFAR-100 has two kinds of labels; its fine ones come first.
    candidates = called[:1] or list(classes)[:1] or integers
    if len(candidates) != 1:
        raise UserError(
            f"{file} has {'several columns' if candidates else 'no column'} of integers; labels are integers or "
            f"strings, in a column called 'label' (its columns are {', '.join(schema.names)})"
        )
    return images[0], candidates[0], classes.get(candidates[0])


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings, or booleans, which have names as well."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind)


@dataclass(frozen=True)
class _ParquetFile:
    path: Path
    name: str
    """What messages call it: its path within the data set."""
    image: str
    label: str

    def labels(self) -> np.ndarray:
        """What the label column holds: int64 [N], what is null or negative as -1; or strings [N], null as ''."""
        for name in (self.image, self.label):
            if name not in _schema(self.path).names:
                raise UserError(f"{self.path} has no column '{name}', unlike the data set's other files")
        try:
            column = pq.read_table(self.path, columns=[self.label], partitioning=None).column(0)
            if _is_text(column.type):
                return column.cast(pa.string()).fill_null("").to_numpy().astype(np.str_)
            values = column.cast(pa.int64()).fill_null(-1).to_numpy()
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self.path} cannot be read as Parquet ({_one_line(error)})") from None
        return np.maximum(values, -1)

    def read(self, rows: np.ndarray) -> Iterator[tuple[str, Encoded]]:
        """The name and the bytes of the images in these rows (rising)."""
        start = 0
        try:
            for batch in pq.ParquetFile(self.path).iter_batches(256, columns=[self.image]):
                wanted = rows[(rows >= start) & (rows < start + len(batch))]
                cells = batch.column(0).take(pa.array(wanted - start)).to_pylist() if len(wanted) else []
                for row, cell in zip(wanted, cells, strict=True):
                    cell = cell or {}
                    place = f"{self.name} row {row}"
                    yield (f"{place} ({cell['path']})" if cell.get("path") else place), cell.get("bytes")
                start += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self.path} cannot be read as Parquet ({_one_line(error)})") from None


def _from_listings(path: Path, found: _Found, image_size: int | None, strict: bool, limit: int | None) -> Dataset:
    name = path.resolve().stem if path.is_file() else path.resolve().name
    title = NAMED[name.lower()].title if name.lower() in NAMED else name or "images"
    train_labels = found.train.labels
    _check_classes(path, train_labels)
    if found.test:
        train, test, of_test = np.arange(len(train_labels)), np.flatnonzero(found.test.labels >= 0), found.test
    else:
        kept, held = validation_split(torch.from_numpy(train_labels), HELD_OUT)
        train, test, of_test = kept.numpy(), held.numpy(), found.train
    if not len(test):
        raise UserError(f"{path} has too few images to hold out some of them for testing")
    few, few_test = _limited(train_labels[train], of_test.labels[test], limit)

    note = found.note
    if not found.test:
        note += f"; no test images: a fixed {HELD_OUT:.0%} held out"
    if len(few) < len(train):
        note += f"; {len(few):,} of {len(train):,} training images"
    if image_size:
        note += f"; resized to {image_size} px"
    decoder = _Decoder(image_size, strict)
    train_split = decoder.decode("training", found.train, train[few])
    test_split = decoder.decode("test", of_test, test[few_test])
    if decoder.skipped:
        _warn(decoder.skipped, len(few) + len(few_test))
    for what, split in (("training", train_split), ("test", test_split)):
        if not len(split.labels):
            raise UserError(f"none of the {what} images in {path} could be read; the first: {decoder.skipped[0]}")
    _check_classes(path, train_split.labels.numpy())
    note = f"{title} ({decoder.stored_as()})" + note
    return _dataset(name or "images", note, train_split, test_split, found.classes, tuple(decoder.skipped))


def _check_classes(path: Path, labels: np.ndarray) -> None:
    classes = len(np.unique(labels[labels >= 0]))
    if classes < 2:
        raise UserError(f"{path} has labelled images of {classes} classes; nearest neighbours need two at least")


def _warn(skipped: list[str], of: int) -> None:
    named = ", ".join(skipped[:5]) + (f" and {len(skipped) - 5:,} more" if len(skipped) > 5 else "")
    print(f"warning: {len(skipped):,} of {of:,} images could not be read and are left out: {named}", file=sys.stderr)


# ------------------------------------------------------------------------------------------------------- decoding


class _Decoder:
    """Decodes all images of a data set to one size, and remembers which it could not."""

    def __init__(self, image_size: int | None, strict: bool):
        self.wanted = image_size
        self.strict = strict
        self.first: tuple[str, tuple[int, int]] | None = None
        """Name and (width, height) of the first image, where all must be as large as it."""
        self.skipped: list[str] = []
        self.kinds: set[str] = set()

    def stored_as(self) -> str:
        """The formats in which the images were stored; a JPEG's with its quality where all have the same."""
        kinds = self.kinds
        if sum(kind.startswith("JPEG") for kind in kinds) > 1:
            kinds = {kind.split("-")[0] for kind in kinds}
        return ", ".join(sorted(kinds))

    def decode(self, what: str, listing: _Listing, places: np.ndarray) -> Split:
        """The images of `listing` at `places`, less those that cannot be read."""
        if self.wanted:
            _check_memory(len(places), self.wanted)
        pixels: np.ndarray | None = None
        kept: list[int] = []
        began = told = time.monotonic()
        items = zip(places, listing.read(places), strict=True)
        with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as pool, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            done = 0
            while block := list(islice(items, 512)):
                parts = [block[i : i + 32] for i in range(0, len(block), 32)]
                for place, name, result in (row for rows in pool.map(self._part, parts) for row in rows):
                    if isinstance(result, MemoryError):
                        raise UserError(f"{name} does not fit into this machine's memory; leave it out")
                    if isinstance(result, Exception):
                        self._skip(f"{name}: {_one_line(result)}")
                        continue
                    image, kind = result
                    self._check_size(name, image.shape[1], image.shape[0])
                    if pixels is None:
                        side = image.shape[0]
                        _check_memory(len(places), side)
                        pixels = np.empty((len(places), 3, side, side), dtype=np.uint8)
                    pixels[len(kept)] = image.transpose(2, 0, 1)
                    kept.append(place)
                    self.kinds.add(kind)
                done += len(block)
                if time.monotonic() - told > 3:
                    told = time.monotonic()
                    print(f"decoding {what} images: {done:,} of {len(places):,}, {told - began:.0f} s", file=sys.stderr)
        if pixels is None:
            pixels = np.empty((0, 3, 0, 0), dtype=np.uint8)
        return Split(torch.from_numpy(pixels[: len(kept)]), torch.from_numpy(listing.labels[kept]))

    def _part(self, items: Iterable[tuple[int, tuple[str, Encoded]]]) -> list:
        """(place, name, (pixels, kind) or what was raised) of a few images."""
        results = []
        for place, (name, encoded) in items:
            try:
                results.append((place, name, _decode(encoded, self.wanted)))
            except Exception as error:  # a decoder may raise anything on a damaged file
                results.append((place, name, error))
        return results

    def _skip(self, what: str) -> None:
        if self.strict:
            raise UserError(f"an image could not be read: {what}")
        self.skipped.append(what)

    def _check_size(self, name: str, width: int, height: int) -> None:
        if self.wanted:
            return
        if self.first is None:
            if width != height:
                raise UserError(f"{name} is {width}x{height} px, not square; give --image-size to make it so")
            if width < SMALLEST:
                raise UserError(f"{name} is {width}x{height} px; {SMALLEST} px is the least, so give --image-size")
            self.first = name, (width, height)
        first, size = self.first
        if size != (width, height):
            raise UserError(
                f"the images differ in size ({first} is {size[0]}x{size[1]} px, {name} is {width}x{height} px); "
                "give --image-size to resize them"
            )


def _decode(encoded: Encoded, size: int | None) -> tuple[np.ndarray, str]:
    """uint8 [H, W, 3] and the format, such as JPEG-75. Raises whatever Pillow raises on a damaged or huge image."""
    if encoded is None:
        raise ValueError("no bytes are stored")
    with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=FORMATS) as image:
        kind = "JPEG" if image.format == "MPO" else image.format
        if kind == "JPEG" and (quality := _qualities().get(tuple(image.quantization.get(0, ())))):
            kind = f"JPEG-{quality}"
        image.load()
        if "exif" in image.info:
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):  # 16 bits, which Pillow's conversion would clip
            image = Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
        if image.mode == "F":
            raise ValueError("pixels are floating-point numbers")
        image = image.convert("RGB")
        if size:
            side = min(image.size)
            left, top = (image.width - side) / 2, (image.height - side) / 2
            # Crop and resize in one: to resize a long, thin image first could take any amount of memory.
            image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        return np.asarray(image), kind


@functools.cache
def _qualities() -> dict[tuple[int, ...], int]:
    """The quality in libjpeg's terms by the luminance quantization table."""
    tables = {}
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
        tables[tuple(Image.open(file).quantization[0])] = quality
    return tables


def _check_memory(images: int, side: int) -> None:
    needed = images * 3 * side * side
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > 0.8 * there:
        raise UserError(
            f"{images:,} images of {side} px take {needed / 2**30:.0f} GiB of memory, and this machine has "
            f"{there / 2**30:.0f}; give a smaller --image-size, or --limit"
        )


def _one_line(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(error, URLError):
        error = error.reason
    return " ".join(str(error).split()) or type(error).__name__


# -------------------------------------------------------------------------------------------- the decoded data set


def _dataset(
    name: str, note: str, train: Split, test: Split, classes: Iterable[str], skipped: tuple[str, ...] = ()
) -> Dataset:
    digest = hashlib.sha256()
    for split in (train, test):
        digest.update(repr(tuple(split.pixels.shape)).encode())
        digest.update(split.pixels.contiguous().numpy())
        digest.update(split.labels.numpy().astype("<i8"))
    return Dataset(name, train, test, tuple(classes), digest.hexdigest(), note, skipped)


def save(dataset: Dataset, folder: str | Path) -> None:
    """Write `dataset` into `folder`, for `open_saved`; nothing is written where the same one is there already.

    The images of the validation split come last, and all lie in memory as `pack` wants them: so what a stage of a run
    trains on is a part of the mapped file, not a copy in every worker. Raises UserError where it cannot be written.
    """
    folder = Path(folder)
    try:
        there = open_saved(folder)
        if (there.fingerprint, there.name, there.note) == (dataset.fingerprint, dataset.name, dataset.note):
            return
    except UserError:
        pass
    kept, held = validation_split(dataset.train.labels)
    order = torch.cat([kept, held])
    content = {
        "name": dataset.name,
        "train": [unpack(pack(dataset.train.pixels[order])), dataset.train.labels[order]],
        "test": [unpack(pack(dataset.test.pixels)), dataset.test.labels],
        "validation": len(held),
        "classes": list(dataset.classes),
        "fingerprint": dataset.fingerprint,
        "note": dataset.note,
        "skipped": list(dataset.skipped),
    }
    try:
        write_atomically(folder / SAVED, lambda file: torch.save(content, file))
    except OSError as error:
        raise UserError(f"the decoded images cannot be written to {folder} ({_one_line(error)})") from None


def open_saved(folder: str | Path) -> Dataset:
    """The data set that `save` wrote into `folder`, memory-mapped: however many processes of a machine open it, it is
    in memory once. Raises UserError where there is none."""
    try:
        content = torch.load(Path(folder) / SAVED, mmap=True, weights_only=True)
        return Dataset(
            content["name"],
            Split(*content["train"]),
            Split(*content["test"]),
            tuple(content["classes"]),
            content["fingerprint"],
            content["note"],
            tuple(content["skipped"]),
            content["validation"],
        )
    except Exception as error:  # of the disk, of the file's format or of what is in it
        raise UserError(f"{Path(folder) / SAVED} is no saved data set ({_one_line(error)})") from None
