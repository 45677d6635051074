"""Images by name, by path or through a door: `load` chooses the source and makes a data set of what it gives."""

import functools
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench import doors
from bench.data import door, folders, known, named, parquet, shapes
from bench.data.checks import check_classes, doubts
from bench.data.dataset import SMALLEST, Dataset, Split, fingerprint
from bench.data.decoder import Decoder, check_memory
from bench.data.decoding import DEPTHS, resized
from bench.data.source import EncodedSource, Integers, PixelSource
from bench.data.splits import HELD_OUT, limited, validation_split
from bench.data.tree import Tree, snapshot
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError, one_line
from bench.files import expanded

BY_NAME: dict[str, Callable[[], PixelSource]] = {
    "shapes": shapes.source,
    **{name: functools.partial(named.download, name) for name in named.NAMED},
}
"""The sources of `known.NAMES`."""
BY_PATH: tuple[Callable[[Tree], EncodedSource | None], ...] = (parquet.find, folders.find)
"""The sources of the files at a path. The first that finds images gives them; the last says what would be right."""


def load(
    name_or_path: str | Path, *, image_size: int | None = None, strict: bool = False, limit: int | None = None
) -> Dataset:
    """The data set with this name, at this path or behind this door, decoded into memory.

    A name is one of `BY_NAME`: torchvision downloads it once into `named.cache_folder()` and verifies it, or it is
    `shapes`, the embedded set. A path is a folder of Parquet files in the Hugging Face layout (or one such file): an
    image column of struct<bytes, path>, a label column of integers or strings, `train`, `test` or `validation` in the
    file names. Or it is a folder with a folder of images for each class, perhaps below `train` and `test` (or `val`); a
    folder `unlabelled` beside them or beside `train` holds images without a label. The test images are `test`, else
    `validation`, else a fixed stratified 20 % of the labelled images; a test or validation split without labels is
    left out. Grey images get three equal channels, and what is transparent shows white.

    A door, `package.module:attribute` or `path/to/file.py:attribute`, leads to a function without arguments that
    returns (training images, training labels, test images, test labels, class names): images as uint8 arrays or
    tensors [N, 3, S, S], labels as integers [N], places in the class names, -1 for training images without a label.
    The images are copied. The data set goes by the file's or module's name and the attribute's; by its fingerprint,
    as any other, it is known for what it is.

    What was passed over and what gives reason to doubt a result is in `remarks`.

    `image_size` resizes: the central square, antialiased, to that side in pixels. An image that cannot be read is
    left out, counted and named in `skipped` and in a line on stderr; with `strict` it is an error. `limit` keeps a
    fixed stratified subset of that many training images, and the same share of the test images.

    Raises UserError where there is no such data set, where it cannot be downloaded or has no images, labels or two
    classes, where its images differ in size or are not square and no `image_size` is given, and where what a door
    leads to fails or returns something else.
    """
    if image_size is not None and image_size < SMALLEST:
        raise UserError(f"an image size of {image_size} px is too small; {SMALLEST} px is the least")
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} images leaves none; give the number of training images to keep")
    known.check(name_or_path)
    name = str(name_or_path)
    if name in BY_NAME:
        taken = f"{name} is the name of a data set; the folder that is called so here is ./{name}"
        return _of_pixels(name, BY_NAME[name](), image_size, limit, [taken] if Path(name).exists() else [])
    path = expanded(name_or_path)
    if doors.is_door(name) and not path.exists():
        return _of_pixels(door.name_of(name), door.open(str(path)), image_size, limit)
    try:
        source = _find(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({one_line(error)})") from None
    return _decoded(path, source, image_size, strict, limit)


def _find(path: Path) -> EncodedSource:
    """The images in the Parquet files below `path` (or in that file), else those below its class folders.

    Raises UserError where it is not clear which are meant, and OSError where `path` cannot be read.
    """
    root, remarks = snapshot(path)
    tree = Tree(root)
    found = next(filter(None, (find(tree) for find in BY_PATH)))
    remarks += [f"the folder {name} cannot be read and is left out ({why})" for name, why in tree.unreadable]
    return replace(found, remarks=(*remarks, *found.remarks))


def _of_pixels(
    name: str, source: PixelSource, image_size: int | None, limit: int | None, remarks: Iterable[str] = ()
) -> Dataset:
    """The data set of images that are pixels already."""
    train, test, note = source.train, source.test, source.title
    kept, kept_test = limited(train.labels.numpy(), test.labels.numpy(), limit)
    side = train.pixels.shape[-1]
    if len(kept) < len(train.labels):
        note += f"; {len(kept):,} of {len(train.labels):,} training images"
    if image_size not in (None, side):
        note += f"; resized to {image_size} px"
    check_memory(len(kept) + len(kept_test), image_size or side)

    def made(split: Split, places: Integers) -> Split:
        if len(places) < len(split.labels):
            split = Split(split.pixels[places], split.labels[places])
        return Split(resized(split.pixels, image_size), split.labels)

    return _dataset(name, note, made(train, kept), made(test, kept_test), source.classes, remarks=remarks)


def _decoded(path: Path, source: EncodedSource, image_size: int | None, strict: bool, limit: int | None) -> Dataset:
    """The data set of images that must be decoded."""
    name = valid(path.resolve().stem if path.is_file() else path.resolve().name)
    title = named.NAMED[name.lower()].title if name.lower() in named.NAMED else name or "images"
    train_labels = source.train.labels
    check_classes(path, train_labels, source.remarks)
    if source.test:
        train, test, of_test = np.arange(len(train_labels)), np.flatnonzero(source.test.labels >= 0), source.test
    else:
        kept, held = validation_split(torch.from_numpy(train_labels), HELD_OUT)
        train, test, of_test = kept.numpy(), held.numpy(), source.train
    if not len(test):
        raise UserError(f"{path} has too few images to hold out some of them for testing")
    few, few_test = limited(train_labels[train], of_test.labels[test], limit)

    note = source.note
    if not source.test:
        note += f"; no test images: a fixed {HELD_OUT:.0%} held out"
    if len(few) < len(train):
        note += f"; {len(few):,} of {len(train):,} training images"
    if image_size:
        note += f"; resized to {image_size} px"
    remarks = list(source.remarks)
    if unlabelled := len(of_test.labels) - len(test) if source.test else 0:
        remarks.append(f"{amount(unlabelled, 'test image')} without labels left out")

    def decoded(depth: int) -> tuple[Decoder, Split, Split]:
        decoder = Decoder(image_size, strict, len(few) + len(few_test), depth)
        train_split = decoder.decode("training", source.train, train[few])
        return decoder, train_split, decoder.decode("test", of_test, test[few_test])

    decoder, train_split, test_split = decoded(max(DEPTHS))
    if decoder.brightest and (depth := decoder.fitting_depth()) != decoder.depth:
        # All grey images of a data set are shown alike, and what their range is only all of them tell.
        remarks.append(
            f"grey images have values up to {decoder.brightest:,}: 0 is taken as black and {2**depth - 1:,} as white"
        )
        del train_split, test_split
        decoder, train_split, test_split = decoded(depth)
    if skipped := decoder.skipped:
        of = len(few) + len(few_test)
        told = f"{len(skipped):,} of {of:,} images could not be read and are left out: {enumeration(skipped)}"
        print(f"warning: {told}", file=sys.stderr)
    for what, split in (("training", train_split), ("test", test_split)):
        if not len(split.labels):
            raise UserError(f"none of the {what} images in {path} could be read; the first: {skipped[0]}")
    check_classes(path, train_split.labels.numpy(), skipped[:3])
    note = f"{title} ({decoder.stored_as()})" + note
    return _dataset(name or "images", note, train_split, test_split, source.classes, skipped, remarks)


def _dataset(
    name: str,
    note: str,
    train: Split,
    test: Split,
    classes: tuple[str, ...],
    skipped: Iterable[str] = (),
    remarks: Iterable[str] = (),
) -> Dataset:
    remarks = (*remarks, *doubts(train, test, classes))
    return Dataset(name, train, test, classes, fingerprint(train, test), note, tuple(skipped), remarks=remarks)
