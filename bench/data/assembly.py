"""What a source gives becomes a data set: what is held out and kept, decoding, the note and the remarks."""

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from algorithms.images.statistics import Statistics, measure
from bench.data import duplicates, groups
from bench.data.archives import is_archive, stem_of
from bench.data.checks import doubts, why_unlabelled
from bench.data.dataset import Dataset, Split, fingerprint
from bench.data.decoded import Facts
from bench.data.decoder import Decoder
from bench.data.decoding import resized
from bench.data.named import NAMED
from bench.data.source import AS_IT_IS, Asked, EncodedSource, EncodedSplit, Integers, PixelSource
from bench.data.splits import held_out_note, held_out_split, limited
from bench.data.wording import amount, valid
from bench.data.workers import tell_skipped
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
    fit: str,
    strict: bool,
    limit: int | None,
    asked: Asked = AS_IT_IS,
    drop_duplicates: bool = False,
) -> Dataset:
    """The data set of images that must be decoded."""
    name = name_of(path)
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
        how = {"pad": " on black", "squash": " by stretching"}.get(fit, "")
        note += f"; resized to {image_size} px{how}"

    both = [source.train, source.test] if source.test else [source.train]
    start = len(train_labels) if source.test else 0
    asked_for = train[few], test[few_test] + start
    decoder = Decoder(path, both, image_size, fit, strict)
    rows = np.sort(np.concatenate(asked_for))
    found = decoder.decode(rows)
    remarks += found.remarks
    skipped = found.skipped
    tell_skipped(skipped, len(rows))

    def split(rows_of: Integers, of: EncodedSplit, offset: int, of_groups: Integers | None) -> tuple[Split, Integers]:
        """The images that can be read, and their places in the source's split."""
        left = rows_of[found.readable[np.searchsorted(rows, rows_of)]]
        places = left - offset
        belonging = None if of_groups is None else torch.from_numpy(of_groups[places])
        labels = torch.from_numpy(of.labels[places])
        return Split(found.packed, torch.from_numpy(left), labels, belonging, found.file), places

    train_split, left = split(asked_for[0], source.train, 0, train_groups)
    test_split, left_test = split(asked_for[1], of_test, start, test_groups)
    for what, each in (("training", train_split), ("test", test_split)):
        if not len(each):
            raise UserError(f"none of the {what} images in {path} could be read; the first: {skipped[0]}")
    note = f"{title} ({found.stored_as})" + note
    names = duplicates.names_of((source.train, left), (of_test, left_test))
    splits = train_split, test_split
    return _dataset(
        name or "images", note, *splits, source.classes, remarks, skipped, names, drop_duplicates, found.facts
    )


def name_of(path: Path) -> str:
    """What the images at a path are called: by their folder, or their file without its suffix."""
    name = path.resolve().name
    if path.is_file():
        name = stem_of(name) if is_archive(name) else Path(name).stem
    return valid(name)


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
    facts: Facts | None = None,
) -> Dataset:
    def once(what: str, find: Callable[[], Any]) -> Any:
        """What is found, as JSON holds it: of images that are kept decoded once, as their pixels take a while."""
        return find() if facts is None else facts.recall(f"{what} {_named(train, test)}", find)

    in_words = hashlib.sha256(repr(classes).encode()).hexdigest()[:16]
    told, dropped = once(f"duplicates {in_words}", lambda: duplicates.find(train, test, classes, names).plain())
    remarks = [*remarks, *told]
    if dropped:
        images = amount(len(dropped), "training image")
        if drop_duplicates:
            left_out = f"{images} left out as duplicates"
            train = duplicates.without(train, dropped)
            note, remarks = f"{note}; {left_out}", [*remarks, left_out]
        else:
            remarks.append(f"{images} {'are' if len(dropped) > 1 else 'is'} such; --drop-duplicates leaves them out")
    if why := why_unlabelled(train.labels.numpy(), classes, [*skipped][:3]):  # of those that could be read and are left
        train, test = (replace(split, labels=torch.full_like(split.labels, -1)) for split in (train, test))
        classes, remarks = (), [*remarks, why]
    remarks = (*remarks, *doubts(train, test, classes))
    identity = once("fingerprint", lambda: fingerprint(train, test))
    statistics = Statistics(*map(tuple, once("statistics", lambda: measure(train.parts()))))
    return Dataset(name, train, test, classes, identity, statistics, note, tuple(skipped), remarks=remarks)


def _named(*splits: Split) -> str:
    """Which images these are, of those in their file, and how they are labelled."""
    digest = hashlib.sha256()
    for split in splits:
        for part in (split.rows, split.labels, split.groups):
            digest.update(b"none" if part is None else part.numpy().tobytes())
    return digest.hexdigest()[:16]
