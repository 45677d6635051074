"""Images get the labels that files of labels give them."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from bench.data.conventions import SPLITS
from bench.data.labels_file import LabelsFile, normal
from bench.data.parquet_file import RowNames
from bench.data.source import VALIDATION_UNUSED, Encoded, EncodedSource, EncodedSplit, Integers
from bench.data.tree import SUFFIXES, suffix_of
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError

ROWS = {"row", "rows", "row_number", "index", "idx"}
"""Columns of these names number the rows of training images in Parquet files, from 0."""
MANY = 500_000
"""So many rows and images take seconds to find each other, which is said."""
SEVERAL = -2
"""The place of an image where several may be meant."""


class Said:
    """What files say of images, by their places; '' where they say nothing."""

    def __init__(self, images: int):
        self.named = np.zeros(images, dtype=np.bool_)
        self.labels = [""] * images
        self.splits = [""] * images
        self.groups = [""] * images


def labelled(
    path: Path, source: EncodedSource, files: Sequence[tuple[str, LabelsFile]], group: str | None
) -> EncodedSource:
    """The source with the labels, and the groups and splits, that `files` give its images, and no others. Each file
    goes with the folder in which its paths begin.

    A row names the image whose path it is, with or without a suffix; or whose path ends like it; or with whose path it
    ends. Raises UserError where it may be several, where an image gets two labels, and where no row names one.
    """
    splits = [source.train, *([source.test] if source.test else [])]
    names = list(chain.from_iterable(_names(split, files, split is source.train) for split in splits))
    said = Said(len(names))
    remarks = [
        told for folder, file in files for told in (*file.remarks, *_read(path, file, folder, names, group, said))
    ]
    classes, none = _in_order(said.labels)
    number = {label: place for place, label in enumerate(classes)}
    labels = np.fromiter((number.get(label, -1) for label in said.labels), np.int64, len(names))
    called = enumeration(valid(file.path.name) for _, file in files)
    remarks = [f"{called} labels {int((labels >= 0).sum()):,} of {amount(len(labels), 'image')}", *remarks, *none]
    grouped = group and any(group in file.columns for _, file in files)
    bounds = (0, len(source.train.labels), len(names))
    train, *test = (
        replace(split, labels=labels[start:end], groups=said.groups[start:end] if grouped else split.groups)
        for split, (start, end) in zip(splits, pairwise(bounds), strict=False)
    )
    of_labels = replace(
        source, train=train, test=test[0] if test else None, classes=classes, remarks=(*source.remarks, *remarks)
    )
    return _split_as_said(of_labels, said.splits, called)


def _names(split: EncodedSplit, files: Sequence[tuple[str, LabelsFile]], is_training: bool) -> Iterable[str]:
    """By what the files call the images of a split."""
    key = files[0][1].key
    if not isinstance(split.names, RowNames):
        return split.names
    keyed = split.names.keyed(key)
    if keyed is split.names and is_training and key.lower() in ROWS:
        return map(str, range(len(split.labels)))
    return keyed


def places_of(texts: list[str], names: Sequence[str]) -> list[int]:
    """The place of the image that each text means; -1 for none, `SEVERAL` where it may be any of several.

    Images and texts may be millions: they find each other by hashing, by one rule after the other.
    """
    found = [-1] * len(texts)
    wanted = [plain_path(text) for text in texts]
    paths = [plain_path(name) for name in names]
    for stems in (False, True):
        if stems:
            paths = [path[: path.rindex(".")] if suffix_of(path) in SUFFIXES else path for path in paths]
        whole = _table(paths)
        missing = [i for i, place in enumerate(found) if place == -1 and wanted[i]]
        for i in missing:
            found[i] = whole.get(wanted[i], -1)
        for depth in sorted({wanted[i].count("/") + 1 for i in missing if found[i] == -1}):
            tails = _table("/".join(path.split("/")[-depth:]) for path in paths)
            for i in missing:
                if found[i] == -1 and wanted[i].count("/") + 1 == depth:
                    found[i] = tails.get(wanted[i], -1)
        for i in missing:
            rest = wanted[i]
            while found[i] == -1 and "/" in rest:
                rest = rest.split("/", 1)[1]
                found[i] = whole.get(rest, -1)
    return found


def _table(paths: Iterable[str]) -> dict[str, int]:
    table: dict[str, int] = {}
    for place, path in enumerate(paths):
        table[path] = SEVERAL if path in table else place
    return table


def plain_path(text: str) -> str:
    """A path in one form: / between its parts, none of which are empty or dots."""
    text = normal(text).replace("\\", "/")
    if not text.startswith((".", "/")) and "/." not in text and "//" not in text:
        return text  # most are
    return "/".join(part for part in text.split("/") if part not in ("", ".", ".."))


def _read(
    path: Path, file: LabelsFile, folder: str, names: Sequence[str], group: str | None, said: Said
) -> Iterator[str]:
    """Add what a file says of images to what is `said`; and remarks."""
    keys = file.columns[file.key]
    if len(keys) + len(names) > MANY:
        print(f"finding the images of {len(keys):,} rows of {file.path} among {len(names):,}", file=sys.stderr)
    nothing = [""] * len(keys)
    labels, *others = (file.columns.get(name or "", nothing) for name in (file.label, file.split, group))
    places = places_of([f"{folder}/{key}" if folder and key else key for key in keys], names)
    without: list[str] = []
    for number, (place, key) in enumerate(zip(places, keys, strict=True)):
        if place == SEVERAL:
            meant = (name for name in names if Path(plain_path(name)).stem == Path(plain_path(key)).stem)
            raise UserError(
                f"{file.path} names {valid(key)}, which may be {enumeration(map(valid, meant), 2)}; give the path of "
                "each image below the folder that is given"
            )
        if place < 0:
            if number or file.has_header:
                without.append(key)
            continue
        label, before = labels[number], said.labels[place]
        if before and label and before != label:
            raise UserError(f"{file.path} gives {valid(names[place])} two labels: {before!r} and {label!r}")
        if label or not said.named[place]:
            said.labels[place], said.splits[place], said.groups[place] = label, *(column[number] for column in others)
        said.named[place] = True
    if len(without) == len(keys) - (not file.has_header and places[0] < 0):
        raise UserError(
            f"no row of {file.path} names an image of {path}: its column '{file.key}' has such as "
            f"{enumeration(map(valid, keys), 2)}, and the images are such as {enumeration(map(valid, names), 2)}"
        )
    if without:
        names_no = "names no image" if len(without) == 1 else "name no image"
        such = ", ".join(map(valid, without[:2]))
        yield f"{amount(len(without), 'row')} of {valid(file.path.name)} {names_no} here, such as {such}"


def _in_order(labels: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """The classes, in order; and a remark where a number stands for no label."""
    classes = set(labels) - {""}
    if not all(re.fullmatch(r"-?\d{1,18}", label, re.ASCII) for label in classes):
        return tuple(sorted(classes)), []
    missing = {label for label in classes if int(label) == -1}
    count = sum(label in missing for label in labels)
    remarks = [f"{amount(count, 'label')} of -1 count as none"] if count else []
    return tuple(sorted(classes - missing, key=lambda label: (int(label), label))), remarks


def _split_as_said(source: EncodedSource, said: list[str], names: str) -> EncodedSource:
    """The source with its images in the splits that a file of labels says, where its images have none of their own."""
    split_of = {word: split for split, words in SPLITS.items() for word in words}
    meant = {word: split_of.get(word.lower()) for word in set(said) - {""}}
    if not meant:
        return source
    if source.test or None in meant.values() or "train" not in meant.values():
        why = "the images have splits of their own" if source.test else "it should say train, test or validation"
        return replace(source, remarks=(*source.remarks, f"the splits in {names} are not followed: {why}"))
    of_image = np.array([meant.get(word, "train") for word in said])
    places = {split: np.flatnonzero(of_image == split) for split in SPLITS}
    judging = [split for split in ("test", "validation") if len(places[split])]
    judging.sort(key=lambda split: not (source.train.labels[places[split]] >= 0).any())
    test = taken(source.train, places[judging[0]]) if judging else None
    note = source.note + (VALIDATION_UNUSED if len(judging) > 1 and judging[0] == "test" else "")
    return replace(source, train=taken(source.train, places["train"]), test=test, note=note)


def taken(split: EncodedSplit, places: Integers) -> EncodedSplit:
    """The images at these rising places alone."""

    def read(of_places: Integers) -> Iterator[tuple[str, Encoded]]:
        return split.read(places[of_places])

    return EncodedSplit(
        split.labels[places],
        read,
        [split.names[i] for i in places] if split.names else (),
        None if split.groups is None else [split.groups[i] for i in places],
        sha256(split.stamp.encode() + places.tobytes()).hexdigest(),
    )
