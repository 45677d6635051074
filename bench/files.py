"""Files that are either whole or not there, and stay so when the power fails."""

import contextlib
import errno
import io
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

from bench.errors import UserError

RUNS = Path("reports")
"""Where runs lie, below the working directory."""


class _File(io.FileIO):
    """A file that keeps the error of a write: of it, libraries in C++ make a RuntimeError that tells no cause."""

    error: OSError | None = None

    def write(self, content: "ReadableBuffer") -> int:
        try:
            return super().write(content)
        except OSError as error:
            self.error = error
            raise


def write_atomically(path: str | Path, content: bytes | str | Callable[[BinaryIO], None]) -> None:
    """Write `content` (bytes, text, or a function that fills an open binary file) to `path`.

    The file appears whole or not at all: it is written beside its place, synced, then renamed, and the
    folder is synced so that the name survives a power cut. Raises OSError; then `path` is as it was.
    """
    path = Path(path)
    make_folder(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    raw = _File(descriptor, "wb")
    try:
        with io.BufferedWriter(raw) as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # what went wrong first is what is told
            os.unlink(temporary)
        if raw.error is not None and isinstance(error, Exception):
            raise raw.error from None
        raise
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder where there is none, and those above it, so that they survive a power cut. Raises OSError."""
    if not path.exists():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: of files made, renamed or removed. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems sync no folders
            raise
    finally:
        os.close(descriptor)


def expanded(path: str | Path, otherwise: str = "give the whole path") -> Path:
    """`path` with the home folder for `~`. Raises UserError where there is none, with what would be right."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"there is no home folder to find {path} in; {otherwise}") from None


def check_output(path: Path) -> Path:
    """The folder that there is, in or below which a file is to be. Raises UserError where none can be written there:
    asked before the work whose result it holds."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file in it as --output")
    folder = next(each for each in path.absolute().parents if os.path.lexists(each))
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path} cannot be written, for {folder} is no folder that you may write to; give --output")
    return folder


def slug(text: str) -> str:
    """`text` as a part of a file's or a folder's name: lower case, with hyphens for what is no letter or digit."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
