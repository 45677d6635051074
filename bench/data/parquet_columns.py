"""Which columns of a Parquet file hold its images and its labels."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.data.formats import SUFFIXES
from bench.data.parquet_cells import (
    ADDRESS,
    BASE64,
    MAGIC,
    is_binary,
    is_string,
    local_file,
    looks_like_text,
    may_be_labels,
    plain,
    storage,
)
from bench.data.source import Integers
from bench.data.tree import suffix_of
from bench.data.wording import enumeration, valid
from bench.errors import UserError, one_line

NAMED_IMAGES = ("image", "img", "images", "image_bytes", "jpg", "jpeg", "png")
NAMED_PATHS = ("image_path", "img_path", "path", "file_path", "filepath", "file_name", "filename", "file")
NAMED_LABELS = ("label", "labels", "class", "category", "target")
NOT_LABELS = re.compile(r"(^|[_-])(id|ids|idx|index|row|width|height|size)([_-]|$)")
"""Columns of integers with such names are no labels, even where there is no other."""
IMAGES_ARE = "images are a column of struct<bytes, path>, of bytes, or of paths of files"
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
LOOKED_AT = 1024
"""Rows in which something is looked for that is not null."""


def opened(file: Path) -> pq.ParquetFile:
    """The file, read piece by piece. Raises UserError where it is none."""
    try:
        return pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False)  # which would load whole row groups
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(file, error) from None


def damaged(file: Path, error: Exception) -> UserError:
    why = f"{file} cannot be read as Parquet ({one_line(error)})"
    may_be_damaged = not isinstance(error, FileNotFoundError | PermissionError)
    return UserError(f"{why}; it may be cut off: download it again, or move it away" if may_be_damaged else why)


def schema_of(file: Path) -> pa.Schema:
    return opened(file).schema_arrow


def partitions(name: Path) -> dict[str, str]:
    """What the folders of a file say of all of its rows, as Hive writes it: of label=cat/0.parquet, that label is
    cat."""
    pairs = (part.split("=", 1) for part in name.parent.parts if "=" in part)
    return {unquote(key): "" if value == NULL_PARTITION else valid(unquote(value)) for key, value in pairs}


def image_column(file: Path, root: Path) -> str | None:
    """The name of the column of images; None where there is no such column.

    Raises UserError where it may be several, or where images are what cannot be read.
    """
    schema = schema_of(file)
    if twice := [name for name, count in Counter(schema.names).items() if count > 1]:
        raise UserError(f"{file} has several columns called '{twice[0]}'; give each a name of its own")
    certain: list[str] = [field.name for field in schema if holds_bytes(field.type)]
    certain += [
        field.name
        for field in schema
        if is_binary(storage(field.type))
        and (field.name.lower() in NAMED_IMAGES or MAGIC.match(first(file, field.name) or b""))
    ]
    if not certain:
        certain = [field.name for field in schema if _is_path(file, field)]
        preferred = [name for known in (*NAMED_IMAGES, *NAMED_PATHS) for name in certain if name.lower() == known]
    else:
        preferred = [name for known in NAMED_IMAGES[:2] for name in certain if name == known]
    if not certain:
        return None
    images = preferred[:1] or certain
    if len(images) > 1:
        raise UserError(f"{file} has several image columns ({', '.join(images)}); call the right one 'image'")
    _check_paths(file, images[0], root)
    return images[0]


def no_images(file: Path) -> UserError:
    columns = enumeration((f"{field.name} ({field.type})" for field in schema_of(file)), 12)
    return UserError(f"{file} has no image column; {IMAGES_ARE}, and its columns are {columns}")


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column is of structures with bytes in them, or with the path of an image."""
    kind = storage(kind)
    if not pa.types.is_struct(kind):
        return False
    names = {part.name: storage(part.type) for part in kind}
    if "bytes" in names:
        return is_binary(names["bytes"])
    return len(names) == 1 and is_string(names.get("path", pa.null()))


def _is_path(file: Path, field: pa.Field) -> bool:
    """Whether a column of texts is one of paths of images, of addresses of images or of images in base64."""
    if not is_string(storage(field.type)) or field.name.lower() in NAMED_LABELS:
        return False
    text = first(file, field.name) or ""
    called_so = field.name.lower() in NAMED_IMAGES and ADDRESS.match(text)
    return bool(BASE64.match(text) or called_so or suffix_of(re.split("[?#]", text)[0]) in SUFFIXES)


def first(file: Path, column: str) -> Any:
    """The first thing in a column that is not null, None where there is none in the first rows."""
    looked_at = 0
    try:
        for batch in opened(file).iter_batches(16, columns=[column]):
            for cell in plain(batch.column(column), f"the column '{column}' of {file}"):
                if cell.is_valid:
                    return cell.as_py()
            looked_at += len(batch)
            if looked_at >= LOOKED_AT:
                break
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise damaged(file, error) from None
    return None


def leaves(file: Path, column: str) -> dict[str, bool]:
    """The parts of a column of structures, as Parquet calls them; and whether some of them may be null."""
    found: dict[str, bool] = {}
    metadata = opened(file).metadata
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(metadata.num_columns)):
            if chunk.path_in_schema.startswith(f"{column}."):
                of = chunk.statistics
                nulls = of is None or not of.has_null_count or of.null_count > 0
                found[chunk.path_in_schema] = nulls or found.get(chunk.path_in_schema, False)
    return found


def names_files(file: Path, column: str) -> bool:
    """Whether some images in a column may be files whose paths are given."""
    kind = storage(schema_of(file).field(column).type)
    if not pa.types.is_struct(kind):
        return is_string(kind)
    if kind.get_field_index("bytes") < 0:
        return True
    return any(nulls for leaf, nulls in leaves(file, column).items() if leaf.endswith(".bytes"))


def _check_paths(file: Path, column: str, root: Path) -> None:
    """Refuse images that are addresses, or paths where there is no file."""
    if not names_files(file, column):
        return
    path = first(file, column)
    if isinstance(path, dict):
        path = path.get("path") if path.get("bytes") is None else None
    if not isinstance(path, str) or BASE64.match(path):
        return
    said = f"the images in the column '{column}' of {file} are"
    address = ADDRESS.match(path)
    if address and address[1].lower() != "file":
        raise UserError(
            f"{said} addresses ({valid(path[:80])}), which are not fetched; download them and give their folder, or "
            "Parquet with their bytes"
        )
    if not local_file(path, (file.parent, root)):
        raise UserError(
            f"{said} paths such as {valid(path[:80])}, and there is no such file below {file.parent}; put the images "
            "there, or give Parquet with their bytes"
        )


def label_column(file: Path, image: str, of_folders: dict[str, str], apart: str | None) -> str | None:
    """The name of the label column, or of a partition (`partitions`) that is it; None where no column could be one.

    `apart` is a column that is something else. Raises UserError where it may be several, or is of a strange type.
    """
    schema = schema_of(file)
    fields = [field for field in schema if field.name not in (image, apart)]
    names: list[str] = [field.name for field in fields]
    integers: list[str] = [field.name for field in fields if pa.types.is_integer(field.type)]
    usable: list[str] = [field.name for field in fields if may_be_labels(field.type)]
    called = [name for known in NAMED_LABELS for name in (*names, *of_folders) if name.lower() == known]
    exact = [name for name in NAMED_LABELS[:2] if name in usable]
    # CIFAR-100 has two kinds of labels; its fine ones come first.
    with_names = [name for name in integers if class_names(schema, name)]
    if certain := exact or with_names or [name for name in called if name in usable or name in of_folders]:
        return certain[0]
    if called:
        kind = schema.field(called[0]).type
        raise UserError(f"the column '{called[0]}' of {file} is of type {kind}; labels are integers or strings")
    candidates = [name for name in integers if not NOT_LABELS.search(name.lower())]
    if len(candidates) == 1:
        return candidates[0]
    texts = [field.name for field in fields if looks_like_text(field.type)]
    if not candidates and not texts:
        return None
    what = f"several columns of integers ({', '.join(candidates)})" if candidates else "no column of integers"
    but = f" but {', '.join(integers)}, which does not look like labels" if integers and not candidates else ""
    raise UserError(
        f"{file} has {what}{but}; labels are integers or strings, in a column called 'label' (its columns are "
        f"{', '.join(schema.names)}); without labels, give --unlabelled"
    )


def check_guess(file: Path, label: str, labels: Integers) -> None:
    """Refuse a column that was taken for want of another where most of its values are there once: it numbers rows."""
    labels = labels[labels >= 0]
    schema = schema_of(file)
    if label.lower() in NAMED_LABELS or label not in schema.names or class_names(schema, label):
        return
    if len(labels) and 2 * len(np.unique(labels)) > len(labels):
        raise UserError(
            f"the column '{label}' of {file}, its only one of integers, has {len(np.unique(labels)):,} values in "
            f"{len(labels):,} rows; if they are labels, call it 'label', and else give --unlabelled"
        )


def class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """The names of the classes of a column of integers, where Hugging Face's metadata have them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (ValueError, KeyError, TypeError, IndexError):
        return ()
    kind = storage(schema.field(label).type)
    if not isinstance(names, list | dict) or not pa.types.is_integer(kind):
        return ()
    return tuple(valid(str(name)) for name in names)
