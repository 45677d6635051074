"""What stands in the columns of a Parquet file: plain arrays of cells, and the images, labels and names in them."""

import base64
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bench.data.source import Encoded, Integers
from bench.errors import UserError

BASE64 = re.compile(r"data:[^,]*;base64,|/9j/|iVBORw0KGgo|R0lGOD|UklGR")
"""How a text begins that is an image: a data: URL, or base64 of JPEG, PNG, GIF and WebP."""
ADDRESS = re.compile(r"(\w[\w+.-]+)://", re.ASCII)
MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|BM.{4}\0{4}|II[*+]\0|MM\0[*+]|RIFF.{4}WEBP|P[1-6]\s|\x93NUMPY|\0\0\0\x0cjP  "
    rb"|\xff\x4f\xff\x51|.{4}ftyp",
    re.DOTALL,
)
"""How bytes begin that are an image."""


def storage(kind: pa.DataType) -> pa.DataType:
    """The type of the single cells of a column: what is in its lists, its dictionary or its extension type."""
    if isinstance(kind, pa.BaseExtensionType):
        return storage(kind.storage_type)
    return storage(kind.value_type) if pa.types.is_dictionary(kind) or is_list(kind) else kind


def is_list(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    return any(test(kind) for test in tests)


def is_binary(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def is_string(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def plain(array: pa.Array, what: str) -> pa.Array:
    """The single cells of a column, of the type `storage`. Raises UserError where a cell is a list of several."""
    if isinstance(array, pa.ExtensionArray):
        return plain(array.storage, what)
    if pa.types.is_dictionary(array.type):
        return plain(array.dictionary.take(array.indices), what)
    if not is_list(array.type):
        return array
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    if len(lengths) and lengths.max() > 1:
        raise UserError(f"{what} has lists, of {lengths.max()} things in one row; one in each row is right")
    places = pa.array(np.cumsum(lengths) - 1, mask=lengths == 0)
    return plain(array.flatten().take(places), what)


def labels(column: pa.ChunkedArray, what: str) -> Integers | NDArray[np.str_]:
    """Labels as int64 [N], what is null or negative as -1; or strings [N], null as ''. Raises UserError where they can
    be neither, and ArrowException for damaged ones."""
    array = _whole(column, what)
    if pa.types.is_null(array.type):
        return np.full(len(array), -1)
    if _is_text(array.type) or is_binary(array.type):
        strings: NDArray[np.str_] = _strings(array, what).to_numpy(zero_copy_only=False).astype(np.str_)
        return strings
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    if pa.types.is_floating(array.type):
        values = np.nan_to_num(array.to_numpy(zero_copy_only=False).astype(np.float64), nan=-1)
        if not ((np.floor(values) == values) & (np.abs(values) < 2**53)).all():
            raise UserError(f"{what} holds fractions, which are no labels")
        numbers: Integers = values.astype(np.int64)
        return numbers.clip(-1)
    if pa.types.is_uint64(array.type) and (pc.max(array).as_py() or 0) >= 2**63:
        raise UserError(f"{what} holds numbers of {2**63:,} and more, which are no labels")
    numbers = array.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return numbers.clip(-1)


def texts(column: pa.ChunkedArray, what: str) -> list[str]:
    """The cells as text, null as ''; equal ones are one string. Raises UserError where they are no text or numbers."""
    array = _whole(column, what)
    if pa.types.is_nested(array.type):
        raise UserError(f"{what} is of type {array.type}; text or numbers are right")
    if pa.types.is_floating(array.type):
        whole = labels(column, what)
        array = pa.array(whole, mask=array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False))
    encoded = _strings(array, what).dictionary_encode()
    values = encoded.dictionary.to_pylist()
    return [values[place] for place in encoded.indices.to_numpy(zero_copy_only=False).tolist()]


def _whole(column: pa.ChunkedArray, what: str) -> pa.Array:
    parts = [plain(chunk, what) for chunk in column.chunks]
    return pa.concat_arrays(parts) if parts else pa.array([], storage(column.type))


def _strings(array: pa.Array, what: str) -> pa.Array:
    try:
        return array.cast(pa.large_string()).fill_null("")
    except pa.ArrowInvalid:
        raise UserError(f"{what} holds bytes that are no text") from None


def _is_text(kind: pa.DataType) -> bool:
    """Whether cells are strings, or booleans, which have names as well."""
    return is_string(kind) or pa.types.is_boolean(kind)


def may_be_labels(kind: pa.DataType) -> bool:
    """Whether a column of this type that is called a label can be one; numbers must be whole and bytes text."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null, _is_text, is_binary)
    return any(test(storage(kind)) for test in tests)


def looks_like_text(kind: pa.DataType) -> bool:
    """Whether a column is of single strings or booleans."""
    return not is_list(kind) and _is_text(storage(kind))


def of_text(text: str, folders: tuple[Path, ...]) -> Encoded:
    """The image that a text is, or of which it is the path."""
    if match := BASE64.match(text):
        start = match.end() if match[0].startswith("data:") else 0
        return partial(base64.b64decode, text[start:], validate=True)
    if path := local_file(text, folders):
        return path
    return _missing(text)


def local_file(text: str, folders: tuple[Path, ...]) -> Path | None:
    """The file that a path or a file: URL names, as it is or below one of the folders; None where there is none."""
    if text.startswith("file:"):
        text = unquote(urlsplit(text).path)
    candidates = (folder / each for each in dict.fromkeys((text, text.replace("\\", "/"))) for folder in folders)
    try:
        return next((path for path in candidates if path.is_file()), None)
    except (OSError, ValueError):  # no name that a file can have
        return None


def _missing(text: str) -> Callable[[], bytes]:
    def read() -> bytes:
        raise FileNotFoundError(f"there is no file {text}")

    return read
