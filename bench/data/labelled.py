"""Images get the labels that files of labels give them."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import accumulate, chain, pairwise
from pathlib import Path

import numpy as np

from bench.data import labels_file
from bench.data.conventions import SPLITS
from bench.data.labels_file import LabelsFile
from bench.data.matching import SEVERAL, places_of, plain_path
from bench.data.parquet_file import RowNames
from bench.data.source import VALIDATION_UNUSED, Asked, Encoded, EncodedSource, EncodedSplit, Integers
from bench.data.tree import Tree
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError
from bench.files import expanded

Files = list[tuple[str, LabelsFile]]
"""Files of labels, each with the folder in which its paths begin."""
ROWS = {"row", "rows", "row_number", "index", "idx"}
"""Columns of these names number the rows of training images in Parquet files, from 0."""
MANY = 500_000
"""So many rows and images take seconds to find each other, which is said."""


class Said:
    """What files say of images, by their places; '' where they say nothing."""

    def __init__(self, images: int):
        self.named = np.zeros(images, dtype=np.bool_)
        self.labels = [""] * images
        self.splits = [""] * images
        self.groups = [""] * images


def files_of_labels(tree: Tree, asked: Asked) -> Files:
    """The file of labels that is given, or those that lie beside images. They are no longer among the tree's files."""
    if asked.labels:
        path = expanded(asked.labels)
        files: Files = [("", labels_file.read(path))]
        inside = [place for place in tree.others if tree.root.joinpath(*place).resolve() == path.resolve().parent]
        places = [(place, path.name) for place in inside if path.name in tree.others[place]]
    else:
        beside = [] if asked.unlabelled else list(labels_file.beside(tree))
        files = [("/".join(place), file) for place, file in beside]
        places = [(place, file.path.name) for place, file in beside]
    for place, name in places:
        tree.others[place].remove(name)
    return files


def labelled(path: Path, tree: Tree, source: EncodedSource, files: Files, asked: Asked) -> EncodedSource:
    """The source with the labels, and the groups and splits, that `files` give its images, and no others; as it is
    where there are no files.

    A row names the image whose path it is, with or without a suffix; or whose path ends like it; or with whose path it
    ends. Raises UserError where it may be several, where an image gets two labels, where no row names one, and where
    there is no column of the groups that are asked for.
    """
    if files:
        source = _labelled(path, source, files, asked)
    elif not source.classes and not asked.unlabelled:
        source = replace(source, remarks=(*source.remarks, *labels_file.told_beside(tree)))
    if asked.group and source.train.groups is None:
        columns = [column for _, file in files for column in file.columns]
        where = (
            f"has the columns {', '.join(columns)}"
            if files
            else "has no columns; give a table as --labels, or --group-by"
        )
        table = files[0][1].path if files else path
        raise UserError(f"there is no column '{asked.group}' to group images by: {table} {where}")
    return source


def _labelled(path: Path, source: EncodedSource, files: Files, asked: Asked) -> EncodedSource:
    splits = [source.train, *([source.test] if source.test else []), *source.others.values()]
    names = list(chain.from_iterable(_names(split, files, split is source.train) for split in splits))
    said = Said(len(names))
    remarks = [
        told for folder, file in files for told in (*file.remarks, *_read(path, file, folder, names, asked.group, said))
    ]
    classes, none = _in_order(said.labels)
    number = {label: place for place, label in enumerate(classes)}
    labels = np.fromiter((number.get(label, -1) for label in said.labels), np.int64, len(names))
    called = enumeration(valid(file.path.name) for _, file in files)
    remarks = [
        f"{called} labels {int((labels >= 0).sum()):,} of {amount(len(labels), 'image')}, and nothing else does",
        *remarks,
        *none,
    ]
    grouped = asked.group and any(asked.group in file.columns for _, file in files)
    bounds = accumulate((len(split.labels) for split in splits), initial=0)
    told = iter(
        replace(split, labels=labels[start:end], groups=said.groups[start:end] if grouped else split.groups)
        for split, (start, end) in zip(splits, pairwise(bounds), strict=True)
    )
    of_labels = replace(
        source,
        train=next(told),
        test=next(told) if source.test else None,
        classes=classes,
        remarks=(*source.remarks, *remarks),
        others=dict(zip(source.others, told, strict=True)),
    )
    return _split_as_said(of_labels, said.splits[: len(source.train.labels)], called, asked.everything)


def _names(split: EncodedSplit, files: Files, is_training: bool) -> Iterable[str]:
    """By what the files call the images of a split."""
    key = files[0][1].key
    if not isinstance(split.names, RowNames):
        return split.names
    keyed = split.names.keyed(key)
    if keyed is split.names and is_training and key.lower() in ROWS:
        return map(str, range(len(split.labels)))
    return keyed


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


def _split_as_said(source: EncodedSource, said: list[str], names: str, everything: bool) -> EncodedSource:
    """The source with its training images in the splits that a file of labels says, where its images have none of their
    own."""
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
    others = dict(source.others)
    if everything and len(judging) > 1:
        others[judging[1]] = taken(source.train, places[judging[1]])
    train, judge = taken(source.train, places["train"]), judging[0] if judging else "test"
    return replace(source, train=train, test=test, note=note, judging=judge, others=others)


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
