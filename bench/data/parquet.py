"""Images in Parquet files of the Hugging Face layout: which files are which split, and what their labels mean."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.data.conventions import joined_names, joining, split_in, split_of
from bench.data.parquet_file import ParquetFile, check_guess, columns_of
from bench.data.source import VALIDATION_UNUSED, Asked, Encoded, EncodedSource, EncodedSplit, Integers
from bench.data.tree import Tree, passed_over, suffix_of
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError

Values = NDArray[np.int64 | np.str_]
"""What a label column holds."""


def find(tree: Tree, asked: Asked) -> EncodedSource | None:
    """The images in Parquet files, None where there are no such files."""
    root = tree.root
    places = sorted(
        Path(*place, name) for place, names in tree.others.items() for name in names if suffix_of(name) == ".parquet"
    )
    names_of = {root / place: place for place in places}
    if root.is_file() and suffix_of(root.name) == ".parquet":
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
    train = by_split.get("train") or others
    if not train:
        raise UserError(
            f"{root} has no training images; the name of a Parquet file of them should contain 'train' (of a file that "
            "is given alone, a part is held out)"
        )
    note = f"; {len(others)} other files left out" if others and train is not others else ""
    remarks = _missing(names_of.values())

    image, label = columns_of(train[0])
    used = {"train": train} | {split: by_split[split] for split in ("test", "validation") if split in by_split}
    tables = {
        file: ParquetFile(file, valid(str(names_of[file])), image, label, split == "train")
        for split, files in used.items()
        for file in files
    }
    values = {file: of for file, table in tables.items() if (of := table.labels()) is not None and len(of)}
    rows = {file: pq.read_metadata(file).num_rows for file in tables}
    labelled = {split: [file for file in files if file in values] for split, files in used.items()}
    labels, classes, joinings = _labels(label, labelled, tables, values)
    labels |= {file: np.full(count, -1) for file, count in rows.items() if file not in labels}
    check_guess(train[0], label, np.concatenate([labels[file] for file in train]))

    def encoded(files: list[Path]) -> EncodedSplit:
        starts = np.cumsum([0, *(len(labels[file]) for file in files)])

        def read(places: Integers) -> Iterator[tuple[str, Encoded]]:
            for file, start, end in zip(files, starts, starts[1:], strict=False):
                yield from tables[file].read(places[(places >= start) & (places < end)] - start)

        return EncodedSplit(np.concatenate([labels[file] for file in files]), read)

    # Hugging Face keeps the labels of some test splits secret: they are -1 there.
    judged = [split for split in used if split != "train" and any((labels[file] >= 0).any() for file in used[split])]
    for split in (split for split in used if split not in ("train", *judged)):
        if count := sum(rows[file] for file in used[split]):
            remarks.append(f"{amount(count, f'{split} image')} without labels left out")
    rest = ([name for name in names if suffix_of(name) != ".parquet"] for names in tree.others.values())
    remarks += joinings + passed_over([*tree.images.values(), *rest])
    note += VALIDATION_UNUSED if len(judged) > 1 else ""
    test = encoded(used[judged[0]]) if judged else None
    return EncodedSource(encoded(train), test, classes, note, tuple(remarks))


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
