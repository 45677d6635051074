"""A file of labels: a table, as CSV, JSON lines or Parquet, of which image has which label."""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from bench.data import parquet_cells
from bench.data.formats import SUFFIXES
from bench.data.parquet_columns import class_names, damaged, opened
from bench.data.tree import Tree, suffix_of
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError, one_line

KEYS = (
    *("path", "file_path", "filepath", "image_path", "img_path", "file_name", "filename", "file"),
    *("image_name", "image_file", "image", "img", "image_id", "img_id", "id", "id_code", "row", "index"),
)
"""What columns that name images are called, the first first."""
LABELS = (
    *("label", "labels", "class", "class_name", "classname", "category", "target", "species", "breed", "diagnosis"),
    *("class_id", "label_name"),
)
SPLITS = ("split", "subset", "partition")
PARQUET = {".parquet", ".parq", ".pq"}
DELIMITERS = ",\t;|"
MOST_KNOWN = 2**16
RIGHT = "a CSV or Parquet file with a column of paths or ids of images and one of labels is right"


@dataclass(frozen=True)
class LabelsFile:
    path: Path
    columns: dict[str, list[str]]
    """All columns by name, as text; empty where nothing is said."""
    key: str
    """The name of the column that names images."""
    label: str
    has_header: bool = True
    """Otherwise the first of the rows may be one."""
    remarks: tuple[str, ...] = ()

    @property
    def split(self) -> str | None:
        """The name of the column that says of which split an image is."""
        return next((name for known in SPLITS for name in self.columns if _plain(name) == known), None)


def read(path: Path) -> LabelsFile:
    """The labels in a file. Raises UserError where it cannot be read, or it is not clear what its columns are."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"the file of labels {path} {what}; {RIGHT}")
    if suffix_of(path.name) in PARQUET:
        return _with_columns(path, _of_parquet(path), True, ())
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({one_line(error)})") from None
    text, remarks = _decoded(path, content)
    if suffix_of(path.name) in (".jsonl", ".ndjson"):
        return _with_columns(path, _of_json(path, text), True, remarks)
    return _of_rows(path, text, remarks)


def _decoded(path: Path, content: bytes) -> tuple[str, tuple[str, ...]]:
    """The text of a file, in the encodings that spreadsheets write; and a remark where it was guessed."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace"), ()
    if b"\0" in content:
        raise UserError(f"{path} is no text; {RIGHT}")
    try:
        return content.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        return content.decode("latin-1"), (f"{valid(path.name)} is not UTF-8, and was read as Latin-1",)


def _of_parquet(path: Path) -> dict[str, list[str]]:
    """The columns that are single texts or numbers; of classes that metadata name, the names."""
    file = opened(path)
    columns = {}
    try:
        for field in file.schema_arrow:
            if not parquet_cells.may_be_labels(field.type) or parquet_cells.is_list(field.type):
                continue
            column = file.read(columns=[field.name]).column(field.name)
            what = f"the column '{field.name}' of {path}"
            try:
                texts = parquet_cells.texts(column, what)
            except UserError:
                continue  # bytes that are no text, fractions
            names = class_names(file.schema_arrow, field.name)
            if names and all(0 <= int(text) < len(names) for text in texts if text):
                texts = [names[int(text)] if text else "" for text in texts]
            columns[field.name] = texts
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise damaged(path, error) from None
    return columns


def _of_json(path: Path, text: str) -> dict[str, list[str]]:
    """Of JSON lines, the fields that are texts or numbers, one in each."""
    columns: dict[str, list[str]] = {}
    several: set[str] = set()
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    for row, (number, line) in enumerate(lines):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UserError(f"line {number} of {path} is no JSON object")
        for name, value in found.items():
            if isinstance(value, list) and len(value) == 1:
                value = value[0]
            if isinstance(value, list | dict):
                several.add(name)
            said = value if isinstance(value, str) else json.dumps(value)
            columns.setdefault(name, [""] * len(lines))[row] = "" if value is None else said.strip()
    return {name: column for name, column in columns.items() if name not in several}


def _of_rows(path: Path, text: str, remarks: tuple[str, ...]) -> LabelsFile:
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    names: list[str] = []
    cells: list[list[str]] = []
    known: dict[str, str] = {}  # of a million labels a few differ
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
        for row in reader:
            row = [cell.strip() for cell in row]
            if not any(row):
                continue
            if not names:
                names, cells = row, [[] for _ in row]
            elif len(row) < len(names) or any(row[len(names) :]):
                raise UserError(
                    f"line {reader.line_num} of {path} has {amount(len(row), 'column')}, and the first {len(names)}; "
                    f"labels with a '{delimiter}' in them must be in quotes"
                )
            for column, cell in zip(cells, row, strict=False):
                column.append(known.setdefault(cell, cell) if len(known) < MOST_KNOWN else known.get(cell, cell))
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as CSV ({one_line(error)})") from None
    if not names:
        raise UserError(f"{path} is empty; {RIGHT}")
    has_header = any(_plain(name) in (*KEYS, *LABELS) for name in names)
    has_header = has_header and not any(suffix_of(name) in SUFFIXES for name in names)
    if not has_header:
        if len(names) != 2:
            raise UserError(
                f"the first line of {path} ({enumeration(names)}) does not say which columns are images and labels; "
                "call them path and label"
            )
        return _with_columns(path, {"1": cells[0], "2": cells[1]}, has_header, remarks)
    if twice := {name for name in names if name and names.count(name) > 1}:
        raise UserError(f"{path} has several columns called '{min(twice)}'; give each a name of its own")
    columns = {name: column[1:] for name, column in zip(names, cells, strict=True)}
    columns = {name: column for name, column in columns.items() if not re.match("$|Unnamed: ", name)}  # pandas' index
    return _with_columns(path, columns, has_header, remarks)


def _with_columns(path: Path, columns: dict[str, list[str]], has_header: bool, remarks: tuple[str, ...]) -> LabelsFile:
    """Find which of the columns are which."""
    if not any(columns.values()):
        raise UserError(f"{path} has no rows; {RIGHT}")
    key, label = _named(columns, KEYS), _named(columns, LABELS)
    others = columns.keys() - {key, label}
    if len(columns) == 2 and (key is None or label is None) and not _named(others, KEYS):
        key = key or next(iter(sorted(columns.keys() - {label}, key=lambda name: _names_images(columns[name]))))
        label = next(iter(columns.keys() - {key}))
    if key is None or label is None:
        lacks = " and ".join(
            what for what, name in (("images, such as 'path'", key), ("labels, such as 'label'", label)) if not name
        )
        raise UserError(
            f"{path} has no column with the name of one of {lacks}; its columns are {', '.join(columns) or 'none'}"
        )
    columns = {name: cells if name == key else list(map(_valid, cells)) for name, cells in columns.items()}
    return LabelsFile(path, columns, key, label, has_header, remarks)


def _named(columns: Collection[str], known: tuple[str, ...]) -> str | None:
    return next((name for each in known for name in columns if _plain(name) == each), None)


def _plain(name: str) -> str:
    return "_".join(name.lower().replace("-", " ").split())


def _names_images(cells: list[str]) -> tuple[bool, int]:
    """Less for what names images: cells with the suffix of one, and of which many differ."""
    return not any(suffix_of(cell) in SUFFIXES for cell in cells[:10]), -len(set(cells))


def beside(tree: Tree) -> Iterator[tuple[tuple[str, ...], LabelsFile]]:
    """The files of labels that Hugging Face puts beside images: metadata.csv, .jsonl or .parquet with a column
    `file_name` and one of labels. Each with its folder."""
    for folder, names in tree.others.items():
        for name in names if any(tree.images.values()) else ():
            if Path(name).stem == "metadata" and suffix_of(name) in (".csv", ".jsonl", *PARQUET):
                found = _read_if_clear(tree.root.joinpath(*folder, name))
                if found and "file_name" in found.columns:
                    yield folder, replace(found, key="file_name")


def told_beside(tree: Tree) -> Iterator[str]:
    """A remark where a file beside images without labels looks like one of labels."""
    for folder, names in tree.others.items():
        for name in names:
            path = tree.root.joinpath(*folder, name)
            if suffix_of(name) in (".csv", ".tsv") and _read_if_clear(path):
                yield f"{path} looks like a file of labels; to use it, give it as --labels"
                return


def _read_if_clear(path: Path) -> LabelsFile | None:
    try:
        return read(path)
    except UserError:
        return None


def normal(text: str) -> str:
    """Text in Unicode's normal form: names of files may be in another one."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _valid(text: str) -> str:
    """Text as it can stand in a table."""
    if not text.isprintable():
        text = " ".join("".join(each if each.isprintable() else " " for each in valid(text)).split())
    return normal(text)
