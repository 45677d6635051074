"""One Parquet file: which columns hold its images and labels, the names of its classes, and reading them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.data.source import Encoded, Integers
from bench.data.wording import valid
from bench.errors import UserError, one_line

NAMED_LABELS = ("label", "labels", "class", "category", "target")
NOT_LABELS = re.compile(r"(^|[_-])(id|ids|idx|index|row|width|height|size)([_-]|$)")
"""Columns of integers with such names are no labels, even where there is no other."""


@dataclass(frozen=True)
class ParquetFile:
    path: Path
    name: str
    """What messages call it: its path within the data set."""
    image: str
    label: str
    of_training: bool

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of its classes, where its metadata have them."""
        schema = _schema(self.path)
        return _class_names(schema, self.label) if self.label in schema.names else ()

    def labels(self) -> Integers | NDArray[np.str_] | None:
        """What the label column holds: int64 [N], what is null or negative as -1; or strings [N], null as ''.

        None where a file of test or validation images has no column that could hold labels.
        """
        schema = _schema(self.path)
        if self.image not in schema.names:
            raise UserError(f"{self.path} has no column '{self.image}', unlike the data set's other files")
        if self.label not in schema.names:
            others = (field.name for field in schema if _may_be_labels(field.type))
            if self.of_training or not all(NOT_LABELS.search(name.lower()) for name in others):
                raise UserError(f"{self.path} has no column '{self.label}', unlike the data set's other files")
            return None
        try:
            column = pq.read_table(self.path, columns=[self.label], partitioning=None).column(0)
            if _is_text(column.type):
                strings: NDArray[np.str_] = column.cast(pa.string()).fill_null("").to_numpy().astype(np.str_)
                return strings
            if pa.types.is_floating(column.type):
                values = np.nan_to_num(column.to_numpy().astype(np.float64), nan=-1)
                if not ((np.floor(values) == values) & (np.abs(values) < 2**53)).all():
                    raise UserError(f"the column '{self.label}' of {self.path} holds fractions, which are no labels")
                numbers: Integers = values.astype(np.int64)
            else:
                numbers = column.cast(pa.int64()).fill_null(-1).to_numpy()
            return numbers.clip(-1)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f"{self.path} cannot be read as Parquet ({one_line(error)})") from None

    def read(self, rows: Integers) -> Iterator[tuple[str, Encoded]]:
        """The name and the bytes of the images in these rows (rising)."""
        start = 0
        try:
            for batch in pq.ParquetFile(self.path).iter_batches(256, columns=[self.image]):
                wanted = rows[(rows >= start) & (rows < start + len(batch))]
                for row in wanted:
                    cell = batch.column(0)[row - start].as_py() or {}
                    place = f"{self.name} row {row}"
                    yield (f"{place} ({valid(str(cell['path']))})" if cell.get("path") else place), cell.get("bytes")
                start += len(batch)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.path} cannot be read as Parquet ({one_line(error)})") from None


def columns_of(file: Path) -> tuple[str, str]:
    """The names of the image column and of the label column."""
    schema = _schema(file)
    images = [field.name for field in schema if _is_image(field.type)]
    if not images:
        raise UserError(f"{file} has no image column (struct<bytes, path>); its columns are {', '.join(schema.names)}")
    images = [name for name in ("image", "img") if name in images][:1] or images
    if len(images) > 1:
        raise UserError(f"{file} has several image columns ({', '.join(images)}); call the right one 'image'")

    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    usable = [field.name for field in schema if _may_be_labels(field.type)]
    called = [name for known in NAMED_LABELS for name in schema.names if name.lower() == known]
    exact = [name for name in NAMED_LABELS[:2] if name in usable]
    # CIFAR-100 has two kinds of labels; its fine ones come first.
    with_names = [name for name in integers if _class_names(schema, name)]
    if certain := exact or with_names or [name for name in called if name in usable]:
        return images[0], certain[0]
    if called:
        kind = schema.field(called[0]).type
        raise UserError(f"the column '{called[0]}' of {file} is of type {kind}; labels are integers or strings")
    candidates = [name for name in integers if not NOT_LABELS.search(name.lower())]
    if len(candidates) != 1:
        ids = [name for name in integers if name not in candidates]
        but = f" but {', '.join(ids)}, which does not look like labels" if ids and not candidates else ""
        raise UserError(
            f"{file} has {'several columns' if candidates else 'no column'} of integers{but}; labels are integers or "
            f"strings, in a column called 'label' (its columns are {', '.join(schema.names)})"
        )
    return images[0], candidates[0]


def check_guess(file: Path, label: str, labels: Integers) -> None:
    """Refuse a column that was taken for want of another where most of its values are there once: it numbers rows."""
    labels = labels[labels >= 0]
    if label.lower() in NAMED_LABELS or _class_names(_schema(file), label):
        return
    if len(labels) and 2 * len(np.unique(labels)) > len(labels):
        raise UserError(
            f"the column '{label}' of {file}, its only one of integers, has {len(np.unique(labels)):,} values in "
            f"{len(labels):,} rows; if they are labels, call it 'label'"
        )


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as Parquet ({one_line(error)})") from None


def _features(schema: pa.Schema) -> dict[str, object]:
    """What Hugging Face's metadata say of the columns."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """The names of the classes of a column of integers, where the metadata have them."""
    feature = _features(schema).get(label)
    names = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(names, list | dict) or not pa.types.is_integer(schema.field(label).type):
        return ()
    return tuple(valid(str(name)) for name in names)


def _is_image(kind: pa.DataType) -> bool:
    bytes_types = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return pa.types.is_struct(kind) and any(
        part.name == "bytes" and any(is_type(part.type) for is_type in bytes_types) for part in kind
    )


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings, or booleans, which have names as well."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    text_types = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_boolean)
    return any(is_type(kind) for is_type in text_types)


def _may_be_labels(kind: pa.DataType) -> bool:
    """Whether a column of this type that is called a label can be one; floating-point numbers must be whole."""
    return _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
