"""What a source gives becomes a data set: what is held out and kept, decoding, the note and the remarks."""

import sys
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.data import duplicates, groups
from bench.data.checks import doubts, why_unlabelled
from bench.data.dataset import Dataset, Split, fingerprint
from bench.data.decoder import Decoder, check_memory
from bench.data.decoding import DEPTHS, resized
from bench.data.named import NAMED
from bench.data.source import AS_IT_IS, Asked, EncodedSource, EncodedSplit, Integers, PixelSource
from bench.data.splits import held_out_note, held_out_split, limited
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError

WITHOUT_LABELS = "without labels left out"


def of_pixels(
    name: str,
    source: PixelSource,
    image_size: int | None,
    limit: int | None,
    remarks: Iterable[str] = (),
    drop_duplicates: bool = False,
) -> Dataset:
    """The data set of images that are pixels already."""
    train, test, note, told = source.train, source.test, source.title, list(remarks)
    if source.classes and (unlabelled := int((test.labels < 0).sum())):
        told.append(f"{amount(unlabelled, 'test image')} {WITHOUT_LABELS}")
        test = test.taken((test.labels >= 0).nonzero()[:, 0])
    if not len(test):
        kept, held = held_out_split(train.labels)
        note += held_out_note(train.labels.numpy(), held)
        train, test = train.taken(kept), train.taken(held)
    few, few_test = limited(train.labels.numpy(), test.labels.numpy(), limit)
    if len(few) < len(train):
        note += f"; {len(few):,} of {len(train):,} training images"
    if image_size not in (None, train.size):
        note += f"; resized to {image_size} px"
    check_memory(len(few) + len(few_test), image_size or train.size)

    def made(split: Split, places: Integers) -> Split:
        split = split.taken(torch.from_numpy(places))
        if image_size in (None, split.size):
            return split
        return Split.of(resized(split.pixels, image_size), split.labels, split.groups)

    splits = made(train, few), made(test, few_test)
    return _dataset(name, note, *splits, source.classes, told, drop_duplicates=drop_duplicates)


def of_encoded(
    path: Path,
    source: EncodedSource,
    image_size: int | None,
    strict: bool,
    limit: int | None,
    asked: Asked = AS_IT_IS,
    drop_duplicates: bool = False,
) -> Dataset:
    """The data set of images that must be decoded."""
    name = valid(path.resolve().stem if path.is_file() else path.resolve().name)
    title = NAMED[name.lower()].title if name.lower() in NAMED else name or "images"
    source = _with_labels_that_count(groups.by_expression(source, asked.group_by) if asked.group_by else source)
    train_labels, note, remarks = source.train.labels, source.note, list(source.remarks)
    remarks += groups.told(source.train, source.test)
    train_groups, test_groups = groups.numbered(source.train, source.test)
    if source.test:
        train, of_test = np.arange(len(train_labels)), source.test
        test = np.flatnonzero(of_test.labels >= 0) if source.classes else np.arange(len(of_test.labels))
        if unlabelled := len(of_test.labels) - len(test):
            remarks.append(f"{amount(unlabelled, 'test image')} {WITHOUT_LABELS}")
    else:
        kept, held = held_out_split(torch.from_numpy(train_labels), groups=train_groups)
        train, test, of_test, test_groups = kept.numpy(), held.numpy(), source.train, train_groups
        note += held_out_note(train_labels, held, train_groups)
        if train_groups is not None:
            remarks += groups.told_of_held_out(train_labels, train, test, source.classes)
    if not len(test):
        of = "images" if train_groups is None else "groups"
        raise UserError(f"{path} has too few {of} to hold out some of them for testing")
    few, few_test = limited(train_labels[train], of_test.labels[test], limit)

    if len(few) < len(train):
        note += f"; {len(few):,} of {len(train):,} training images"
    if image_size:
        note += f"; resized to {image_size} px"

    def decoded(depth: int) -> tuple[Decoder, tuple[Split, Integers], tuple[Split, Integers]]:
        decoder = Decoder(image_size, strict, len(few) + len(few_test), depth)
        of_train = decoder.decode("training", source.train, train[few], train_groups)
        return decoder, of_train, decoder.decode("test", of_test, test[few_test], test_groups)

    decoder, (train_split, left), (test_split, left_test) = decoded(max(DEPTHS))
    if decoder.brightest and (depth := decoder.fitting_depth()) != decoder.depth:
        # All grey images of a data set are shown alike, and what their range is only all of them tell.
        remarks.append(
            f"grey images have values up to {decoder.brightest:,}: 0 is taken as black and {2**depth - 1:,} as white"
        )
        del train_split, test_split
        decoder, (train_split, left), (test_split, left_test) = decoded(depth)
    if skipped := decoder.skipped:
        every = len(few) + len(few_test)
        warning = f"{len(skipped):,} of {every:,} images could not be read and are left out: {enumeration(skipped)}"
        print(f"warning: {warning}", file=sys.stderr)
    for what, split in (("training", train_split), ("test", test_split)):
        if not len(split.labels):
            raise UserError(f"none of the {what} images in {path} could be read; the first: {skipped[0]}")
    note = f"{title} ({decoder.stored_as()})" + note
    names = duplicates.names_of((source.train, left), (of_test, left_test))
    splits = train_split, test_split
    return _dataset(name or "images", note, *splits, source.classes, remarks, skipped, names, drop_duplicates)


def _with_labels_that_count(source: EncodedSource) -> EncodedSource:
    """The source without labels where those of its training images count as none, else without a test split that has
    none."""
    if why := why_unlabelled(source.train.labels, source.classes):

        def without(split: EncodedSplit) -> EncodedSplit:
            return replace(split, labels=np.full_like(split.labels, -1))

        test = without(source.test) if source.test else None
        source = replace(source, train=without(source.train), test=test, classes=(), remarks=(*source.remarks, why))
    if source.test and source.classes and not (source.test.labels >= 0).any():
        left_out = f"{amount(len(source.test.labels), 'test image')} {WITHOUT_LABELS}"
        source = replace(source, test=None, remarks=(*source.remarks, left_out))
    return source


def _dataset(
    name: str,
    note: str,
    train: Split,
    test: Split,
    classes: tuple[str, ...],
    remarks: Iterable[str] = (),
    skipped: Collection[str] = (),
    names: duplicates.Names | None = None,
    drop_duplicates: bool = False,
) -> Dataset:
    found = duplicates.find(train, test, classes, names)
    remarks = [*remarks, *found.remarks]
    if count := len(found.dropped):
        images = amount(count, "training image")
        if drop_duplicates:
            left_out = f"{images} left out as duplicates"
            train, note, remarks = found.without(train), f"{note}; {left_out}", [*remarks, left_out]
        else:
            remarks.append(f"{images} {'are' if count > 1 else 'is'} such; --drop-duplicates leaves them out")
    if why := why_unlabelled(train.labels.numpy(), classes, [*skipped][:3]):  # of those that could be read and are left
        train, test = (replace(split, labels=torch.full_like(split.labels, -1)) for split in (train, test))
        classes, remarks = (), [*remarks, why]
    remarks = (*remarks, *doubts(train, test, classes))
    return Dataset(name, train, test, classes, fingerprint(train, test), note, tuple(skipped), remarks=remarks)
