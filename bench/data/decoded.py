"""Decoded images on disk: a file of pixels, and beside it a byte of each row that says what became of it.

A byte says that a row is decoded only after its pixels are synced, so a decoding that was broken at any instant goes on
where it was. A row never changes once it is decoded: a run may have the file mapped.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.source import Integers
from bench.errors import UserError, one_line
from bench.files import make_folder, write_atomically

NOT_YET, UNREADABLE, DEEP, DECODED = range(4)
"""What a row's byte says; from `DECODED` on, in which of the formats of `about.json` it was stored. `DEEP`: of more
than 8 bits, so that pixels need a scale that only all of them tell."""
HEADER = 128
"""Bytes before the pixels."""
Marks = NDArray[np.uint8]


class DecodedFile:
    """uint8 [images, size, channels, size] in `folder`, of which any part of the rows is decoded. Raises UserError
    where it cannot be kept."""

    def __init__(self, folder: Path, images: int, size: int, channels: int) -> None:
        self.folder, self.path = folder, folder / "images.npy"
        self.shape = (images, size, channels, size)
        self.row_bytes = size * channels * size
        self.kinds: list[str] = []
        """The formats in which images were stored."""
        self.why: dict[int, str] = {}
        """Of each row that cannot be read, its name and the reason."""
        self.ranges: dict[int, tuple[list[list[float]], bool]] = {}
        """Of each deep row the least and greatest value of each channel, and whether they are whole numbers."""
        with self._told():
            make_folder(folder)
        self.marks: Marks = self._read()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"the decoded images cannot be kept in {self.folder} ({error.strerror or one_line(error)}); free some "
                "space and run the same command again, it continues, or set SSL_BENCH_CACHE to another folder"
            ) from None

    def _read(self) -> Marks:
        """What is there, where it is whole; else nothing is taken to be decoded."""
        nothing = np.zeros(self.shape[0], dtype=np.uint8)
        try:
            marks = np.fromfile(self.folder / "marks", dtype=np.uint8)
            whole = self.path.stat().st_size == HEADER + self.shape[0] * self.row_bytes
            with self.path.open("rb") as file:
                whole = whole and file.read(HEADER) == self._header()
            kinds = json.loads((self.folder / "about.json").read_text())["kinds"]
            whole = whole and all(isinstance(kind, str) for kind in kinds)
            rows = list(_said(self.folder / "rows.jsonl", len(nothing)))
        except (OSError, ValueError, KeyError, TypeError):
            return nothing
        if not whole or len(marks) != len(nothing) or marks.max(initial=0) >= DECODED + len(kinds):
            return nothing
        self.kinds = kinds
        for row in rows:
            if "why" in row:
                self.why[row["row"]] = row["why"]
            elif "values" in row:
                self.ranges[row["row"]] = row["values"], row["whole"]
        known = np.zeros(len(marks), dtype=bool)
        known[[*self.why, *self.ranges]] = True
        return np.where(((marks == UNREADABLE) | (marks == DEEP)) & ~known, NOT_YET, marks).astype(np.uint8)

    def _header(self) -> bytes:
        described = repr({"descr": "|u1", "fortran_order": False, "shape": self.shape})
        return (
            b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + described.ljust(HEADER - 11).encode() + b"\n"
        )

    def decoded(self, rows: Integers) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.marks[rows] >= DECODED
        return found

    def kinds_of(self, rows: Integers) -> set[str]:
        counts = np.bincount(self.marks[rows], minlength=DECODED + len(self.kinds))[DECODED:]
        return {kind for kind, count in zip(self.kinds, counts, strict=True) if count}

    @contextlib.contextmanager
    def writing(self, rows: int) -> Iterator["Writer"]:
        """What writes so many rows more; one process at a time. Raises UserError where the disk has no room."""
        with self._told():
            lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            with self._told():
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    print("waiting for another command that decodes the same images", file=sys.stderr)
                    fcntl.flock(lock, fcntl.LOCK_EX)
                self.marks = self._read()  # of whoever held the lock
                if not self.marks.any():
                    self._begin()
            needed, free = rows * self.row_bytes, shutil.disk_usage(self.folder).free
            if needed > free:
                raise UserError(
                    f"{rows:,} decoded images take {needed / 2**30:.1f} GiB, and {self.folder} has {free / 2**30:.1f} "
                    "free; set SSL_BENCH_CACHE to a folder with more, or give a smaller --image-size, or --limit"
                )
            with self._told(), Writer(self) as writer:
                yield writer
        finally:
            os.close(lock)

    def _begin(self) -> None:
        """An empty file of the right length, of which nothing is decoded."""
        for name in ("marks", "rows.jsonl", "about.json"):
            (self.folder / name).unlink(missing_ok=True)
        self.kinds, self.why, self.ranges = [], {}, {}
        self.path.unlink(missing_ok=True)  # and not changed: a run may have it mapped
        with self.path.open("wb") as file:
            file.write(self._header())
            file.truncate(HEADER + self.shape[0] * self.row_bytes)
        write_atomically(self.folder / "about.json", json.dumps({"kinds": []}))
        write_atomically(self.folder / "marks", bytes(self.shape[0]))

    def opened(self) -> Tensor:
        """The rows, memory-mapped."""
        with self._told():
            return mapped(self.path)


class Writer:
    """Writes rows, from any thread, and says of them what became of them once that is durable."""

    def __init__(self, of: DecodedFile) -> None:
        self._of, self._pending = of, list[tuple[int, int, dict[str, Any] | None]]()
        self._pixels = os.open(of.path, os.O_WRONLY)
        self._marks = os.open(of.folder / "marks", os.O_WRONLY)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if not isinstance(error, OSError):
                self.commit()
        finally:
            os.close(self._pixels)
            os.close(self._marks)

    def pixels(self, row: int, pixels: NDArray[np.uint8]) -> None:
        """[S, S, C] of a row, in the caller's thread."""
        packed = np.ascontiguousarray(pixels.transpose(0, 2, 1)).data.cast("B")
        offset = HEADER + row * self._of.row_bytes
        written = os.pwrite(self._pixels, packed, offset)  # not into a map, which a full disk makes a signal
        while written < len(packed):
            written += os.pwrite(self._pixels, packed[written:], offset + written)

    def decoded(self, row: int, kind: str) -> None:
        kinds = self._of.kinds
        if kind not in kinds:
            kinds.append(kind)
            write_atomically(self._of.folder / "about.json", json.dumps({"kinds": kinds}))
        self._pending.append((row, DECODED + kinds.index(kind), None))

    def unreadable(self, row: int, why: str, passing: bool = False) -> None:
        """With `passing` it may be readable the next time: nothing is made durable."""
        if passing:
            self._of.marks[row], self._of.why[row] = UNREADABLE, why
            return
        self._pending.append((row, UNREADABLE, {"why": why}))

    def deep(self, row: int, values: NDArray[np.float64], whole: bool) -> None:
        self._pending.append((row, DEEP, {"values": values.tolist(), "whole": whole}))

    def commit(self) -> None:
        """Make durable what was written so far."""
        if not self._pending:
            return
        os.fdatasync(self._pixels)
        told = [json.dumps({"row": row} | more) for row, _, more in self._pending if more is not None]
        if told:
            with (self._of.folder / "rows.jsonl").open("a") as file:
                file.write("\n".join(["", *told, ""]))  # a line of its own, though a power cut tore the last one
                file.flush()
                os.fsync(file.fileno())
        for row, mark, more in self._pending:
            self._of.marks[row] = mark
            if more is not None and mark == UNREADABLE:
                self._of.why[row] = more["why"]
            elif more is not None:
                self._of.ranges[row] = more["values"], more["whole"]
        rows = np.sort(np.array([row for row, _, _ in self._pending]))
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
            os.pwrite(self._marks, self._of.marks[run].tobytes(), int(run[0]))
        os.fdatasync(self._marks)
        self._pending.clear()


class Facts:
    """What was once found out of decoded images, at some cost: kept in a file beside them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            found = {}
        self._known: dict[str, Any] = found if isinstance(found, dict) else {}

    def recall(self, name: str, find: Callable[[], Any]) -> Any:
        """What `find` gives, as JSON holds it; it is called once for each name."""
        if name not in self._known:
            self.keep(name, find())
        return self._known[name]

    def known(self, name: str, otherwise: Any) -> Any:
        return self._known.get(name, otherwise)

    def keep(self, name: str, value: Any) -> None:
        """In place of what was known under this name."""
        self._known[name] = json.loads(json.dumps(value))
        with contextlib.suppress(OSError):  # on a full disk it is found again
            write_atomically(self._path, json.dumps(self._known))


def mapped(path: Path) -> Tensor:
    """The NumPy array in this file, memory-mapped. It must not be written to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch knows no tensor that is read-only
        # A private map could be written to, but the kernel refuses one that is larger than all memory.
        return torch.from_numpy(np.lib.format.open_memmap(path, mode="r"))


def _said(path: Path, images: int) -> Iterator[dict[str, Any]]:
    """What is said of rows, less what a power cut tore."""
    for line in path.read_text(errors="replace").split("\n") if path.exists() else ():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and said.get("row") in range(images) and said.keys() & {"why", "whole"}:
            yield said
