"""What a source gives becomes a data set: what is held out and kept, decoding, the note and the remarks."""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from bench.data.checks import check_classes, doubts
from bench.data.dataset import Dataset, Split, fingerprint
from bench.data.decoder import Decoder, check_memory
from bench.data.decoding import DEPTHS, resized
from bench.data.named import NAMED
from bench.data.source import EncodedSource, Integers, PixelSource
from bench.data.splits import HELD_OUT, held_out_split, limited
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError


def of_pixels(
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
            split = Split.of(split.pixels[places], split.labels[places])
        return Split.of(resized(split.pixels, image_size), split.labels)

    return _dataset(name, note, made(train, kept), made(test, kept_test), source.classes, remarks=remarks)


def of_encoded(path: Path, source: EncodedSource, image_size: int | None, strict: bool, limit: int | None) -> Dataset:
    """The data set of images that must be decoded."""
    name = valid(path.resolve().stem if path.is_file() else path.resolve().name)
    title = NAMED[name.lower()].title if name.lower() in NAMED else name or "images"
    train_labels = source.train.labels
    check_classes(path, train_labels, source.remarks)
    if source.test:
        train, test, of_test = np.arange(len(train_labels)), np.flatnonzero(source.test.labels >= 0), source.test
    else:
        kept, held = held_out_split(torch.from_numpy(train_labels))
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
