"""One Parquet file: what its columns hold of each image, and reading the images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.data import parquet_cells as cells
from bench.data.parquet_columns import (
    NOT_LABELS,
    class_names,
    damaged,
    first,
    leaves,
    names_files,
    opened,
    partitions,
    schema_of,
)
from bench.data.source import Encoded, Integers
from bench.data.wording import valid
from bench.errors import UserError

Values = TypeVar("Values")
BATCH = 256
"""Most rows that are read at a time; fewer where they are large."""
BATCH_BYTES = 2**24


@dataclass(frozen=True)
class ParquetFile:
    path: Path
    root: Path
    """The folder of the data set; paths of images may begin there."""
    name: str
    """What messages call it: its path within the data set."""
    image: str
    label: str | None
    """None where no label is read."""
    of_training: bool

    @cached_property
    def schema(self) -> pa.Schema:
        return schema_of(self.path)

    @cached_property
    def rows(self) -> int:
        return int(opened(self.path).metadata.num_rows)

    @cached_property
    def partitions(self) -> dict[str, str]:
        return partitions(Path(self.name))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of its classes, where its metadata have them."""
        return class_names(self.schema, self.label) if self.label and self.label in self.schema.names else ()

    def labels(self) -> Integers | NDArray[np.str_] | None:
        """What the label column holds: int64 [N], what is null or negative as -1; or strings [N], null as ''.

        None where a file of test or validation images has no column that could hold labels.
        """
        if self.image not in self.schema.names:
            raise self._lacks(self.image)
        if self.label is None:
            return None
        if self.label in self.schema.names:
            return self._converted(self.label, cells.labels)
        if self.label in self.partitions:
            return np.full(self.rows, self.partitions[self.label])
        others = (field.name for field in self.schema if cells.may_be_labels(field.type))
        if self.of_training or not all(NOT_LABELS.search(name.lower()) for name in others):
            raise self._lacks(self.label)
        return None

    def has_texts(self, column: str) -> bool:
        """Whether there is such a column, of texts or numbers, beside the image."""
        names = self.schema.names
        return column in names and column != self.image and cells.may_be_labels(self.schema.field(column).type)

    def texts(self, column: str) -> list[str] | None:
        """A column, or what its folders say, as text, null as ''. None where there is no such column."""
        if column in self.schema.names:
            return self._converted(column, cells.texts)
        return [self.partitions[column]] * self.rows if column in self.partitions else None

    def paths(self) -> pa.ChunkedArray | None:
        """The paths of the images [N], perhaps null; None where nothing is said of them."""
        kind = cells.storage(self.schema.field(self.image).type)
        if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
            leaf = next(leaf for leaf in leaves(self.path, self.image) if leaf.endswith(".path"))
        elif cells.is_string(kind) and not cells.BASE64.match(first(self.path, self.image) or ""):
            leaf = self.image
        else:
            return None
        parts = [cells.plain(chunk, self._what(self.image)) for chunk in self._column(self.image, leaf).chunks]
        parts = [part.flatten()[0] if pa.types.is_struct(part.type) else part for part in parts]
        return pa.chunked_array([part.cast(pa.large_string()) for part in parts], pa.large_string())

    def stamp(self) -> bytes:
        """Changes whenever the images change: a hash of what is known of the file, and of files that it names."""
        facts = [self.path.stat()]
        if names_files(self.path, self.image) and (paths := self.paths()) is not None:
            folders = (self.path.parent, self.root)
            found = (cells.local_file(text, folders) for text in paths.to_pylist() if text)
            facts += [path.stat() for path in found if path]
        digest = sha256(f"{self.name}\0{self.image}\0".encode())
        for fact in facts:
            digest.update(b"%d %d\n" % (fact.st_size, fact.st_ctime_ns))
        return digest.digest()

    def read(self, rows: Integers) -> Iterator[tuple[str, Encoded]]:
        """The name and the image, or its bytes, in each of these rows (rising)."""
        folders = (self.path.parent, self.root)
        try:
            file = opened(self.path)
            facts = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
            bounds = list(pairwise(np.cumsum([0, *(fact.num_rows for fact in facts)]).tolist()))
            groups = [group for group, bound in enumerate(bounds) if np.less(*np.searchsorted(rows, bound))]
            if not groups:
                return
            numbers = np.concatenate([np.arange(*bounds[group]) for group in groups])
            largest = max(facts[group].total_byte_size / max(1, facts[group].num_rows) for group in groups)
            batch_size = int(min(BATCH, max(1, BATCH_BYTES // max(1, largest))))
            start = 0
            for batch in file.iter_batches(batch_size, row_groups=groups, columns=[self.image]):
                of_batch = numbers[start : start + len(batch)]
                start += len(batch)
                begin, end = np.searchsorted(rows, (of_batch[0], of_batch[-1] + 1))
                if begin == end:
                    continue
                found = cells.plain(batch.column(self.image), self._what(self.image))
                for place in np.searchsorted(of_batch, rows[begin:end]).tolist():
                    yield self._read(found[place].as_py(), int(of_batch[place]), folders)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise damaged(self.path, error) from None

    def _read(self, cell: Any, row: int, folders: tuple[Path, ...]) -> tuple[str, Encoded]:
        name, path = f"{self.name} row {row}", None
        encoded: Encoded = None
        if isinstance(cell, dict):
            encoded, path = cell.get("bytes"), cell.get("path")
            encoded = cells.of_text(path, folders) if encoded is None and path else encoded
        elif isinstance(cell, str):
            encoded = cells.of_text(cell, folders)
            path = None if cells.BASE64.match(cell) else cell
        else:
            encoded = cell
        return (f"{name} ({valid(str(path))})" if path else name), encoded

    def _converted(self, column: str, convert: Callable[[pa.ChunkedArray, str], Values]) -> Values:
        try:
            return convert(self._column(column), self._what(column))
        except (pa.ArrowException, ValueError) as error:
            raise damaged(self.path, error) from None

    def _column(self, name: str, leaf: str | None = None) -> pa.ChunkedArray:
        try:
            return opened(self.path).read(columns=[leaf or name]).column(name)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise damaged(self.path, error) from None

    def _what(self, column: str) -> str:
        return f"the column '{column}' of {self.path}"

    def _lacks(self, column: str) -> UserError:
        return UserError(f"{self.path} has no column '{column}', unlike the data set's other files")


class RowNames(Sequence[str]):
    """What the images in files are called: each one's path where there is one, else its file and row; or what a column
    says (`keyed`). They are read when they are first asked for."""

    def __init__(self, files: list[ParquetFile], column: str | None = None):
        self.files = files
        self.column = column
        self.starts = np.cumsum([0, *(file.rows for file in files)])

    @cached_property
    def _found(self) -> list[pa.ChunkedArray | list[str] | None]:
        return [file.texts(self.column) if self.column else file.paths() for file in self.files]

    def keyed(self, column: str) -> "RowNames":
        """The same images, called as a column of all of their files says; or the names as they are without one."""
        return RowNames(self.files, column) if all(file.has_texts(column) for file in self.files) else self

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __iter__(self) -> Iterator[str]:
        for file, found in zip(self.files, self._found, strict=True):
            texts = [None] * file.rows if found is None else found if isinstance(found, list) else found.to_pylist()
            for row, text in enumerate(texts):
                yield valid(text) if text else f"{file.name} row {row}"

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        number = int(np.searchsorted(self.starts, place, side="right")) - 1
        row = place - int(self.starts[number])
        found = self._found[number]
        text = None if found is None else found[row] if isinstance(found, list) else found[row].as_py()
        return valid(text) if text else f"{self.files[number].name} row {row}"
