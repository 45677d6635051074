"""Data sets, by name or by path: images as uint8 tensors, with labels, class names and a fingerprint."""

import difflib
import functools
import hashlib
import io
import json
import os
import socket
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from numpy.random import RandomState
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from algorithms.images.store import pack, unpack
from bench import machine
from bench.data import shapes
from bench.data.listings import FORMATS, Encoded, Found, Listing, amount, enumeration, find, valid
from bench.errors import UserError, one_line
from bench.files import write_atomically

HELD_OUT = 0.2
"""Share of the labelled images that is held out for testing where a data set has no test images."""
SMALLEST = 8
"""Least side of an image, pixels: the encoders halve it three times."""
SILENCE = 30
"""Seconds after which a download that brings nothing is given up."""
FEW = 50
"""Of so many images that judge, one more or less is worth 2 points: said where there are fewer."""
LEAST_TO_SEARCH = 2
"""Images of which the validation split must have as many; one alone says yes or no."""
IMBALANCE = 10
"""How many times as many images the largest class has as the smallest where this is said."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation that EXIF knows."""
DEPTHS = (8, 10, 12, 14, 16)
"""Bits of a grey pixel that cameras and scanners have."""
CHUNK = 2**23
"""Bytes of images that are written at a time."""
SAVED = "images.npy"
DESCRIPTION = ("name", "note", "skipped", "remarks")
"""The fields of a data set that describe it in words."""


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
    remarks: tuple[str, ...] = ()
    """What a user should know before believing a result, a sentence each."""


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
    Or it is a folder with a folder of images for each class, perhaps below `train` and `test` (or `val`); a folder
    `unlabelled` beside them or beside `train` holds images without a label. The test images are `test`, else
    `validation`, else a fixed stratified 20 % of the labelled images; a test or validation split without labels is
    left out. Grey images get three equal channels, and what is transparent shows white.

    What was passed over and what gives reason to doubt a result is in `remarks`.

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
    if not known.strip():
        raise UserError("the data set has no name; give a path, or one of " + ", ".join(["shapes", *NAMED]))
    if known == "shapes":
        train, test = shapes.generate()
        return _from_memory(known, "generated textures", train, test, shapes.CLASSES, image_size, limit)
    if known in NAMED:
        train, test, classes = _download(known)
        return _from_memory(known, NAMED[known].title, train, test, classes, image_size, limit)

    path = _expanded(name_or_path)
    try:
        exists = path.exists()
    except OSError as error:  # such as of a name that is too long
        raise UserError(f"there is no data set and no path '{known[:60]}' ({error.strerror})") from None
    if not exists:
        names = ["shapes", *NAMED]
        near = difflib.get_close_matches(known.lower(), names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"give a path, or one of {', '.join(names)}"
        raise UserError(f"there is no data set and no path '{name_or_path}'; {hint}")
    try:
        found = find(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({_one_line(error)})") from None
    return _from_listings(path, found, image_size, strict, limit)


def cache_folder() -> Path:
    """Where downloads are kept: $SSL_BENCH_CACHE, else ~/.cache/ssl-bench. A torchvision root can serve as well."""
    return _expanded(os.environ.get("SSL_BENCH_CACHE") or "~/.cache/ssl-bench", "set SSL_BENCH_CACHE to another folder")


def _expanded(path: str | Path, otherwise: str = "give the whole path") -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"there is no home folder to find {path} in; {otherwise}") from None


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
            f"folder of images instead (--dataset {f'./{name}' if Path(name).exists() else 'PATH'})"
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
    _check_memory(sum(map(len, kept)), image_size or train[0].shape[-1])
    for (pixels, labels), places in zip((train, test), kept, strict=True):
        if len(places) < len(labels):
            pixels, labels = pixels[places], labels[places]
        splits.append(Split(_resize(pixels, image_size), labels))
    remarks = []
    if Path(name).exists():
        remarks.append(f"{name} is the name of a data set; the folder that is called so here is ./{name}")
    return _dataset(name, note, *splits, classes, remarks=remarks)


def _resize(pixels: Tensor, size: int | None) -> Tensor:
    if size in (None, pixels.shape[-1]):
        return pixels.contiguous()
    resized = torch.empty(len(pixels), 3, size, size, dtype=torch.uint8)
    for part, of in zip(resized.split(1024), pixels.split(1024), strict=True):
        part.copy_(resize(of, [size, size], antialias=True))
    return resized


# ------------------------------------------------------------------------------------------------- images by path


def _from_listings(path: Path, found: Found, image_size: int | None, strict: bool, limit: int | None) -> Dataset:
    name = valid(path.resolve().stem if path.is_file() else path.resolve().name)
    title = NAMED[name.lower()].title if name.lower() in NAMED else name or "images"
    train_labels = found.train.labels
    _check_classes(path, train_labels, found.remarks)
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
    remarks = list(found.remarks)
    if unlabelled := len(of_test.labels) - len(test) if found.test else 0:
        remarks.append(f"{amount(unlabelled, 'test image')} without labels left out")

    def decoded(depth: int) -> tuple[_Decoder, Split, Split]:
        decoder = _Decoder(image_size, strict, len(few) + len(few_test), depth)
        train_split = decoder.decode("training", found.train, train[few])
        return decoder, train_split, decoder.decode("test", of_test, test[few_test])

    decoder, train_split, test_split = decoded(max(DEPTHS))
    if decoder.brightest and (depth := decoder.fitting_depth()) != decoder.depth:
        # All grey images of a data set are shown alike, and what their range is only all of them tell.
        remarks.append(
            f"grey images have values up to {decoder.brightest:,}: 0 is taken as black and {2**depth - 1:,} as white"
        )
        del train_split, test_split
        decoder, train_split, test_split = decoded(depth)
    if decoder.skipped:
        _warn(decoder.skipped, len(few) + len(few_test))
    for what, split in (("training", train_split), ("test", test_split)):
        if not len(split.labels):
            raise UserError(f"none of the {what} images in {path} could be read; the first: {decoder.skipped[0]}")
    _check_classes(path, train_split.labels.numpy(), decoder.skipped[:3])
    note = f"{title} ({decoder.stored_as()})" + note
    skipped = tuple(decoder.skipped)
    return _dataset(name or "images", note, train_split, test_split, found.classes, skipped, remarks)


def _check_classes(path: Path, labels: np.ndarray, reasons: Iterable[str]) -> None:
    """Refuse fewer than two classes; `reasons` may be why there are no more."""
    classes = len(np.unique(labels[labels >= 0]))
    if classes < 2:
        why = f" ({'; '.join(reasons)})" if reasons else ""
        raise UserError(f"{path} has labelled images of {classes} classes; nearest neighbours need two at least{why}")


def _warn(skipped: list[str], of: int) -> None:
    named = ", ".join(skipped[:5]) + (f" and {len(skipped) - 5:,} more" if len(skipped) > 5 else "")
    print(f"warning: {len(skipped):,} of {of:,} images could not be read and are left out: {named}", file=sys.stderr)


# ------------------------------------------------------------------------------------------------------- decoding


class _Decoder:
    """Decodes all of a data set's `images` to one size, and remembers which it could not.

    The largest value of a grey image of more than 8 bits is 2^`depth` - 1.
    """

    def __init__(self, image_size: int | None, strict: bool, images: int, depth: int):
        self.wanted = image_size
        self.strict = strict
        self.images = images
        self.depth = depth
        self.brightest = 0
        """The largest value in the grey images of more than 8 bits, 0 where there are none."""
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

    def fitting_depth(self) -> int:
        """The least depth that holds the brightest value."""
        bits = self.brightest.bit_length()
        return next((depth for depth in DEPTHS if depth >= bits), bits)

    def decode(self, what: str, listing: Listing, places: np.ndarray) -> Split:
        """The images of `listing` at `places`, less those that cannot be read."""
        if self.wanted:
            _check_memory(self.images, self.wanted)
        pixels: np.ndarray | None = None
        kept: list[int] = []
        began = told = time.monotonic()
        items = zip(places, listing.read(places), strict=True)
        with ThreadPoolExecutor(min(8, machine.cores())) as pool, warnings.catch_warnings():
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
                    image, kind, brightest = result
                    self.brightest = max(self.brightest, brightest)
                    self._check_size(name, image.shape[1], image.shape[0])
                    if pixels is None:
                        side = image.shape[0]
                        _check_memory(self.images, side)
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
        """(place, name, what `_decode` returned or raised) of a few images."""
        results = []
        for place, (name, encoded) in items:
            try:
                results.append((place, name, _decode(encoded, self.wanted, self.depth)))
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


def _decode(encoded: Encoded, size: int | None, depth: int = max(DEPTHS)) -> tuple[np.ndarray, str, int]:
    """uint8 [H, W, 3]; the format, such as JPEG-75; and the largest value of a grey image of more than 8 bits, else 0.

    Such an image's values from 0 to 2^`depth` - 1 become those from 0 to 255. What is transparent shows white behind
    it. Raises whatever Pillow raises on a damaged or huge image.
    """
    if encoded is None:
        raise ValueError("no bytes are stored")
    with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=FORMATS) as image:
        kind = "JPEG" if image.format == "MPO" else image.format
        if kind == "JPEG" and (quality := _qualities().get(tuple(image.quantization.get(0, ())))):
            kind = f"JPEG-{quality}"
        image.load()
        if (turn := _turn(image)) is not None:
            image = image.transpose(turn)
        brightest = 0
        if image.mode.startswith("I"):  # more than 8 bits, which Pillow's conversion would clip
            values = np.asarray(image, dtype=np.int32).clip(0)
            brightest = int(values.max())
            image = Image.fromarray((values.clip(None, 2**depth - 1) // 2 ** (depth - 8)).astype(np.uint8))
        if image.mode == "F":
            raise ValueError("pixels are floating-point numbers")
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB")
        if size:
            side = min(image.size)
            left, top = (image.width - side) / 2, (image.height - side) / 2
            # Crop and resize in one: to resize a long, thin image first could take any amount of memory.
            image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        return np.asarray(image), kind, brightest


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns a photograph the way its camera was held. Of EXIF only this is read: its other tags may be broken."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation)) if "exif" in image.info else None
    except Exception:  # a reader may raise anything on damaged tags
        return None


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
    there = machine.memory_bytes()
    if needed > 0.8 * there:
        raise UserError(
            f"{images:,} images of {side} px take {needed / 2**30:.1f} GiB of memory, and there are "
            f"{there / 2**30:.1f}; give a smaller --image-size, or --limit"
        )


def _one_line(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known kind"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(error, URLError):
        error = error.reason
    return one_line(error)


# -------------------------------------------------------------------------------------------- the decoded data set


def _dataset(
    name: str,
    note: str,
    train: Split,
    test: Split,
    classes: Iterable[str],
    skipped: tuple[str, ...] = (),
    remarks: Iterable[str] = (),
) -> Dataset:
    digest = hashlib.sha256()
    for split in (train, test):
        digest.update(repr(tuple(split.pixels.shape)).encode())
        digest.update(split.pixels.contiguous().numpy())
        digest.update(split.labels.numpy().astype("<i8"))
    remarks = (*remarks, *_doubts(train, test, tuple(classes)))
    return Dataset(name, train, test, tuple(classes), digest.hexdigest(), note, skipped, remarks=remarks)


def _doubts(train: Split, test: Split, classes: tuple[str, ...]) -> Iterator[str]:
    """What the images and labels themselves give reason to doubt, a sentence each."""
    counts, of_test = (
        split.labels[split.labels >= 0].bincount(minlength=len(classes)).numpy() for split in (train, test)
    )
    labelled, present = int(counts.sum()), np.flatnonzero(counts)

    def named(places: np.ndarray) -> str:
        return enumeration(classes[place] for place in places)

    if 2 * len(present) > labelled:
        yield (
            f"{labelled:,} labelled training images have {len(present):,} different labels: are these classes, or "
            "numbers of images?"
        )
    elif len(single := np.flatnonzero(counts == 1)):
        yield f"only one training image in {named(single)}"
    if counts.max() >= IMBALANCE * (least := counts[present].min()):
        yield (
            f"the largest class ({classes[counts.argmax()]}) has {counts.max():,} training images and the smallest "
            f"{least:,}: who always names one class is right for {of_test.max() / of_test.sum():.1%} of the test images"
        )
    if len(unknown := np.flatnonzero((counts == 0) & (of_test > 0))):
        yield (
            f"{amount(int(of_test[unknown].sum()), 'test image')} of classes that training does not have count as "
            f"wrong: {named(unknown)}"
        )
    copies = Counter(_digests(test))
    if twice := sum(copies[digest] for digest in copies.keys() & _digests(train)):
        yield f"{twice:,} of {amount(len(test.labels), 'test image')} are training images too, pixel by pixel"
    for what, images in (("validation", _validation_images(train.labels)), ("test", len(test.labels))):
        if 0 < images < FEW:
            yield f"only {amount(images, f'{what} image')}: each is worth {100 / images:.1f} points of accuracy"


def _digests(split: Split) -> Iterator[bytes]:
    return (hashlib.sha256(image).digest() for image in split.pixels.contiguous().numpy())


def _validation_images(labels: Tensor) -> int:
    return len(validation_split(labels)[1])


def check_enough(dataset: Dataset) -> None:
    """Raises UserError where there are too few images for a search to judge by."""
    validation, test = _validation_images(dataset.train.labels), len(dataset.test.labels)
    if validation < LEAST_TO_SEARCH or test < LEAST_TO_SEARCH:
        labelled = int((dataset.train.labels >= 0).sum())
        raise UserError(
            f"there are too few images to search with: {amount(labelled, 'labelled training image')} leave "
            f"{validation} to judge by, and there are {test} for testing; {LEAST_TO_SEARCH} of each are the least, for "
            f"which {10 * LEAST_TO_SEARCH} labelled training images would do, several of each class"
        )


def save(dataset: Dataset, folder: str | Path) -> None:
    """Write `dataset` into `folder`, for `open_saved`; nothing is written where the same one is there already.

    The file is a NumPy array of all images (training, validation and test split, in this order), followed by an array
    of their labels and by the rest as JSON. The images lie as `pack` wants them: so what a stage of a run trains on is
    a part of the mapped file, not a copy in every worker. They are written a few at a time, without a copy of all.
    Raises UserError where it cannot be written.
    """
    folder = Path(folder)
    try:
        there = open_saved(folder)
        if all(getattr(there, field) == getattr(dataset, field) for field in ("fingerprint", *DESCRIPTION)):
            return
    except UserError:
        pass
    kept, held = validation_split(dataset.train.labels)
    order = torch.cat([kept, held])
    everything = torch.arange(len(dataset.test.labels))
    size = dataset.train.pixels.shape[-1]
    description = {
        "train": len(kept),
        "validation": len(held),
        "fingerprint": dataset.fingerprint,
        "classes": dataset.classes,
    } | {field: getattr(dataset, field) for field in DESCRIPTION}

    def fill(file: BinaryIO) -> None:
        shape = (len(order) + len(everything), size, 3, size)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for split, places in ((dataset.train, order), (dataset.test, everything)):
            for part in places.split(max(1, CHUNK // (3 * size * size))):
                file.write(pack(split.pixels[part]).numpy())
        np.save(file, torch.cat([dataset.train.labels[order], dataset.test.labels]).numpy())
        file.write(json.dumps(description).encode())

    try:
        write_atomically(folder / SAVED, fill)
    except OSError as error:
        raise UserError(f"the decoded images cannot be written to {folder} ({_one_line(error)})") from None


def open_saved(folder: str | Path) -> Dataset:
    """The data set that `save` wrote into `folder`, memory-mapped: however many processes of a machine open it, it is
    in memory once. Raises UserError where there is none."""
    path = Path(folder) / SAVED
    try:
        # Copy-on-write, as PyTorch knows no tensor that is read-only; nothing is ever written.
        mapped = np.lib.format.open_memmap(path, mode="c")
        with path.open("rb") as file:
            file.seek(mapped.offset + mapped.nbytes)
            labels = torch.from_numpy(np.load(file, allow_pickle=False))
            content = json.load(file)
        pixels = unpack(torch.from_numpy(mapped))
        sizes = [content["train"] + content["validation"], len(labels) - content["train"] - content["validation"]]
        train, test = map(Split, pixels.split(sizes), labels.split(sizes))
        return Dataset(
            content["name"],
            train,
            test,
            tuple(content["classes"]),
            content["fingerprint"],
            content["note"],
            tuple(content["skipped"]),
            content["validation"],
            tuple(content["remarks"]),
        )
    except Exception as error:  # of the disk, of the file's format or of what is in it
        raise UserError(f"{path} is no saved data set ({_one_line(error)})") from None
