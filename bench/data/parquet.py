"""Images in Parquet files of the Hugging Face layout: which files are which split, and what their labels mean."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.conventions import joined_names, joining, split_in, split_of
from bench.data.parquet_columns import (
    check_guess,
    image_column,
    label_column,
    names_files,
    no_images,
    opened,
    partitions,
)
from bench.data.parquet_file import ParquetFile, RowNames
from bench.data.source import VALIDATION_UNUSED, Asked, Encoded, EncodedSource, EncodedSplit, Integers
from bench.data.tree import Tree, passed_over, suffix_of
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError

SUFFIXES = {".parquet", ".parq", ".pq"}
Values = NDArray[np.int64 | np.str_]
"""What a label column holds."""


def find(tree: Tree, asked: Asked) -> EncodedSource | None:
    """The images in Parquet files, None where there are no such files, or none with images beside images in folders."""
    root = tree.root
    places = sorted(
        Path(*place, name) for place, names in tree.others.items() for name in names if suffix_of(name) in SUFFIXES
    )
    names_of = {root / place: place for place in places}
    if root.is_file() and suffix_of(root.name) in SUFFIXES:
        names_of = {root: Path(root.name)}
    if not names_of:
        return None
    by_split: dict[str, list[Path]] = {}
    others: list[Path] = []
    for file, name in names_of.items():
        # A file that is given alone is what there is, whatever it is called.
        split = None if root.is_file() else split_of(name)
        (by_split.setdefault(split, []) if split else others).append(file)
    _check_one_set(root, by_split)
    remarks = _missing(names_of.values())
    train = by_split.get("train") or others
    note = f"; {len(others)} other files left out" if others and train is not others else ""
    if not train:
        pool = " and ".join(sorted(by_split))
        remarks.append(
            f"there are no training images: those of {pool} are taken, and some of them held out for testing"
        )
        train, by_split = sorted(file for files in by_split.values() for file in files), {}
    elif train is others:
        remarks += _told_of_folders([names_of[file] for file in others])

    folder = root.parent if root.is_file() else root
    first = next((file for file in train if opened(file).metadata.num_rows), train[0])
    image = image_column(first, folder)
    if image is None:
        if any(tree.images.values()):
            return None  # they are tables that belong to the images
        raise no_images(first)
    reads_labels = not (asked.unlabelled or asked.labels)
    label = None
    if reads_labels:
        label = label_column(first, image, partitions(names_of[first]), asked.group)
        if label is None:
            remarks.append(f"{first} has no column of labels; they are read from one called 'label', or --labels")
    used = {"train": train} | {split: by_split[split] for split in ("test", "validation") if split in by_split}
    tables = {
        file: ParquetFile(file, folder, valid(str(names_of[file])), image, label, split == "train")
        for split, files in used.items()
        for file in files
    }
    # What has no label says nothing of their type: a column of nulls is one of numbers to some writers.
    values = {file: of for file, table in tables.items() if (of := table.labels()) is not None and _any_label(of)}
    labelled = {split: [file for file in files if file in values] for split, files in used.items()}
    labels, classes, joinings = _labels(label or "", labelled, tables, values)
    labels |= {file: np.full(table.rows, -1) for file, table in tables.items() if file not in labels}
    if label:
        check_guess(first, label, np.concatenate([labels[file] for file in train]))

    def encoded(files: list[Path]) -> EncodedSplit:
        of_split = [tables[file] for file in files]
        starts = np.cumsum([0, *(table.rows for table in of_split)])
        stamp = sha256(b"".join(table.stamp() for table in of_split)).hexdigest()

        def read(places: Integers) -> Iterator[tuple[str, Encoded]]:
            for table, start, end in zip(of_split, starts, starts[1:], strict=False):
                yield from table.read(places[(places >= start) & (places < end)] - start)

        groups = _groups(of_split, asked) if asked.group else None
        joined = np.concatenate([labels[file] for file in files])
        return EncodedSplit(joined, read, RowNames(of_split), groups, stamp)

    # Hugging Face keeps the labels of some test splits secret: they are -1 there.
    judged = [
        split
        for split in used
        if split != "train"
        and any((labels[file] >= 0).any() or (not classes and len(labels[file])) for file in used[split])
    ]
    for split in (split for split in used if split not in ("train", *judged)):
        if count := sum(tables[file].rows for file in used[split]):
            remarks.append(f"{amount(count, f'{split} image')} without labels left out")
    images = [] if names_files(first, image) else [*tree.images.values()]
    rest = ([name for name in names if suffix_of(name) not in SUFFIXES] for names in tree.others.values())
    remarks += joinings + passed_over([*images, *rest])
    note += VALIDATION_UNUSED if len(judged) > 1 else ""
    test = encoded(used[judged[0]]) if judged else None
    judging = judged[0] if judged else "test"
    aside = [split for split in used if split not in ("train", *judged[:1])] if asked.everything else []
    others_of = {split: encoded(used[split]) for split in aside}
    return EncodedSource(encoded(train), test, classes, note, tuple(remarks), judging, others_of)


def _any_label(values: Values) -> bool:
    return bool((values != ("" if values.dtype.kind == "U" else -1)).any())


def _groups(files: list[ParquetFile], asked: Asked) -> list[str] | None:
    """What the column of groups says of the images in these files. Raises UserError where training has no such column,
    unless the file of labels may have it."""
    found: list[str] = []
    for file in files:
        if (texts := file.texts(asked.group or "")) is None:
            if asked.labels:
                return None
            if file.of_training:
                raise UserError(
                    f"{file.path} has no column '{asked.group}' to group images by; its columns are "
                    f"{', '.join([*file.schema.names, *file.partitions])}"
                )
            texts = [""] * file.rows
        found += texts
    return found


def _check_one_set(root: Path, by_split: dict[str, list[Path]]) -> None:
    """Refuse several configurations of a data set, or several data sets: their images may be the same."""
    for split, files in by_split.items():
        folders = {
            root.joinpath(*takewhile(lambda part: split_in(part) is None, file.relative_to(root).parent.parts))
            for file in files
        }
        if len(folders) > 1:
            named = enumeration(sorted(str(folder) for folder in folders))
            raise UserError(f"there are {split} images in {named}; give one of them, or leave one below {root}")


def _told_of_folders(names: list[Path]) -> list[str]:
    """A remark where files of no split lie in several folders, which may be configurations of a data set."""
    folders = sorted({part for name in names for part in name.parent.parts[:1] if "=" not in part})
    if len(folders) < 2:
        return []
    return [f"images below {enumeration(map(valid, folders))} are taken together; if those are several sets, give one"]


def _missing(files: Iterable[Path]) -> list[str]:
    """A remark for each set of files such as train-00001-of-00005 that is not complete."""
    found: dict[tuple[str, int], set[str]] = {}
    for file in files:
        if match := re.fullmatch(r"(.+)-(\d+)-of-(\d+)", str(file.with_suffix(""))):
            found.setdefault((match[1], int(match[3])), set()).add(match[2])
    return [
        f"{of - len(numbers)} of the {of} Parquet files of {valid(name)} are missing"
        for (name, of), numbers in found.items()
        if len(numbers) < of
    ]


def _labels(
    label: str, used: dict[str, list[Path]], tables: dict[Path, ParquetFile], values: Mapping[Path, Values]
) -> tuple[dict[Path, Integers], tuple[str, ...], list[str]]:
    """What the values of each file's label column mean: labels as places in one list of classes, that list, remarks."""
    strings = {file: of.astype(np.str_) for file, of in values.items() if of.dtype.kind == "U"}
    numbers = {file: of.astype(np.int64) for file, of in values.items() if file not in strings}
    if strings and numbers:
        raise UserError(f"the column '{label}' holds strings in {[*strings][-1]}, but numbers in {[*numbers][-1]}")
    if any(tables[file].names for file in numbers):
        return _by_name(used, tables, numbers)
    remarks: list[str] = []
    if strings:
        strings, remarks = _spelled_as_in_training(used, strings)
    found: dict[Path, Values] = {**strings, **numbers}
    none = "" if strings else -1
    every = np.unique(np.concatenate([*found.values()] or [np.empty(0, np.int64)]))
    every = every[every != none]
    labels = {file: np.where(of != none, np.searchsorted(every, of), -1) for file, of in found.items()}
    return labels, tuple(str(value) for value in every), remarks


def _spelled_as_in_training(
    used: dict[str, list[Path]], labels: dict[Path, NDArray[np.str_]]
) -> tuple[dict[Path, NDArray[np.str_]], list[str]]:
    """Labels that are strings, spelled as the training files spell them; and remarks."""
    known = {str(name) for file in used["train"] for name in np.unique(labels[file])}
    remarks = []
    for split, files in used.items():
        joined = joined_names((str(name) for file in files for name in np.unique(labels[file])), known)
        if split != "train" and joined:
            remarks += joining(split, joined)
            for file in files:
                values, places = np.unique(labels[file], return_inverse=True)
                spelled = np.array([joined.get(str(value), str(value)) for value in values], dtype=np.str_)
                labels[file] = spelled[places]
    return labels, remarks


def _by_name(
    used: dict[str, list[Path]], tables: dict[Path, ParquetFile], labels: dict[Path, Integers]
) -> tuple[dict[Path, Integers], tuple[str, ...], list[str]]:
    """Labels that are places in each file's own class names, as places in one list of classes; and remarks.

    A file without names has those of the first file that has some.
    """
    classes = list(next(table.names for table in tables.values() if table.names))
    first, remarks = tuple(classes), []
    for split, files in used.items():
        own = {file: tables[file].names or first for file in files}
        joined = {}
        if split != "train":
            joined = joined_names((name for names in own.values() for name in names), set(classes))
        remarks += joining(split, joined)
        for file, names in own.items():
            if (most := labels[file].max(initial=-1)) >= len(names):
                raise UserError(f"{file} has label {most}, but its metadata names only {len(names)} classes")
            if names == first:
                continue  # where two classes have one name, it is no way to tell them apart
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise UserError(f"{file} has two classes called '{twice[0]}', and other names than the other files")
            spelled = [joined.get(name, name) for name in names]
            classes += [name for name in spelled if name not in classes]
            place = np.array([*(classes.index(name) for name in spelled), -1])
            labels[file] = place[labels[file]]
    return labels, tuple(classes), remarks
