"""The files in .zip and .tar archives, read without unpacking them: nothing is ever written, so that the names in an
archive are names and lead nowhere.

A .zip and a plain .tar are read at any place. A compressed .tar can only be read from its beginning, in order.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.data.source import Encoded
from bench.data.tree import Progress
from bench.data.wording import amount, enumeration, valid
from bench.errors import UserError, one_line

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST = 2**30
"""Bytes of an image in an archive, at most: an archive may claim any."""
BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(OSError, EOFError, ValueError, OverflowError, NotImplementedError),
)
"""What the readers of archives raise on damaged ones."""


def is_archive(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def stem_of(name: str) -> str:
    """The name of an archive without its suffix."""
    return next((name[: -len(suffix)] for suffix in sorted(SUFFIXES, key=len) if name.lower().endswith(suffix)), name)


class Archive:
    """The files in one archive, numbered from 0 in its order. Raises UserError where it is none, or damaged."""

    def __init__(self, path: Path):
        self.path = path
        self.names: list[str] = []
        self.sizes = array("q")
        self.left: Counter[str] = Counter()
        """How many files cannot be read, by the reason."""
        self.cut_off = False
        """Whether its end is missing."""
        self._list()
        if not self.names and self.left:
            raise UserError(f"{path} holds no file that can be read ({self.told()[0]}); unpack it, and give the folder")

    in_order = False
    """Whether its files can only be read in rising order."""

    def _list(self) -> None:
        raise NotImplementedError

    def content(self, number: int) -> bytes:
        """The bytes of a file. May be called from any thread."""
        raise NotImplementedError

    def read(self, numbers: Iterable[int]) -> Iterator[Encoded]:
        """What the files with these rising numbers are read from."""
        return (partial(self.content, number) for number in numbers)

    def stamp(self) -> bytes:
        """Changes whenever the archive does."""
        found = self.path.stat()
        return b"%s\0%d %d\n" % (os.fsencode(self.path.name), found.st_size, found.st_ctime_ns)

    def told(self) -> list[str]:
        """Remarks on what is not in order."""
        name = valid(self.path.name)
        left = enumeration(f"{count:,} {why}" for why, count in self.left.most_common())
        remarks = [f"{amount(self.left.total(), 'file')} in {name} left out: {left}"] if left else []
        if self.cut_off:
            whole = amount(len(self.names), "file")
            remarks.append(f"{name} is damaged or cut off: what follows its first {whole} is lost; download it again")
        return remarks

    def _at(self, start: int, size: int) -> bytes:
        with open(self.path, "rb", buffering=0) as file:  # each time: threads share no place, and shards are many
            return os.pread(file.fileno(), size, start)


class Zip(Archive):
    def _list(self) -> None:
        self.starts, self.packed, self.checks, self.ways = array("q"), array("q"), array("L"), array("H")
        with zipfile.ZipFile(self.path) as file:
            for member in file.infolist():
                if member.is_dir() or member.filename.endswith("\\"):
                    continue
                if why := _why_not(member):
                    self.left[why] += 1
                    continue
                self.names.append(_name_in_zip(member))
                self.sizes.append(member.file_size)
                self.starts.append(member.header_offset)
                self.packed.append(member.compress_size)
                self.checks.append(member.CRC)
                self.ways.append(member.compress_type)

    def content(self, number: int) -> bytes:
        header = self._at(self.starts[number], 30)
        if header[:4] != b"PK\3\4" or len(header) < 30:
            raise ValueError("the archive is damaged here")
        name, extra = struct.unpack("<HH", header[26:])
        packed = self._at(self.starts[number] + 30 + name + extra, self.packed[number])
        size = self.sizes[number]
        match self.ways[number]:
            case zipfile.ZIP_STORED:
                content = packed
            case zipfile.ZIP_DEFLATED:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
            case _:
                content = bz2.BZ2Decompressor().decompress(packed, size + 1)
        if len(content) != size or zlib.crc32(content) != self.checks[number]:
            raise ValueError("the archive is damaged here: its checksum is not right")
        return content


def _why_not(member: zipfile.ZipInfo) -> str:
    if member.flag_bits & 1:
        return "encrypted"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "links"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        return "compressed in an unknown way"
    return "larger than 1 GiB" if max(member.file_size, member.compress_size) > MOST else ""


def _name_in_zip(member: zipfile.ZipInfo) -> str:
    """The name, which some programs write as UTF-8 without saying so, and some with backslashes."""
    name = member.filename
    if not member.flag_bits & 0x800 and not name.isascii():
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")


class Tar(Archive):
    def _list(self) -> None:
        self.starts = array("q")
        self.opener = _opener(self.path)
        self.in_order = self.opener is not open
        progress = Progress(f"listing {self.path}")
        there = self.path.stat().st_size
        try:
            for _, member in self._members():
                progress.tell(1)
                if why := _why_left(member):
                    self.left[why] += 1
                elif not self.in_order and member.offset_data + member.size > there:
                    self.cut_off = True
                else:
                    self.names.append(member.name)
                    self.sizes.append(member.size)
                    self.starts.append(member.offset_data)
        except BROKEN as error:
            if self.in_order and self.names:  # of the last one, which was being read
                self.names.pop(), self.sizes.pop(), self.starts.pop()
            if not self.names:
                raise UserError(
                    f"{self.path} cannot be read as an archive ({one_line(error)}); download it again"
                ) from None
            self.cut_off = True

    def _members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        with self.opener(self.path, "rb") as stream, tarfile.open(fileobj=stream, mode="r:") as file:
            while (member := file.next()) is not None:
                file.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if not member.isdir():
                    yield file, member
            if self.in_order:
                while stream.read(2**20):  # whose end says whether it is whole
                    pass
            else:
                stream.seek(file.offset)
                self.cut_off |= stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE

    def content(self, number: int) -> bytes:
        if self.in_order:
            return next(content for content in self.read([number]) if isinstance(content, bytes))
        content = self._at(self.starts[number], self.sizes[number])
        if len(content) != self.sizes[number]:
            raise ValueError("the archive is cut off here")
        return content

    def read(self, numbers: Iterable[int]) -> Iterator[Encoded]:
        return self._stream(numbers) if self.in_order else super().read(numbers)

    def _stream(self, numbers: Iterable[int]) -> Iterator[bytes]:
        wanted = iter(numbers)
        if (number := next(wanted, None)) is None:
            return
        files = (each for each in self._members() if not _why_left(each[1]))
        try:
            for place, (file, member) in enumerate(files):
                if place == number:
                    content = file.extractfile(member)
                    assert content is not None, "it is a file"
                    yield content.read()
                    if (number := next(wanted, None)) is None:
                        return
            raise EOFError("it is shorter")
        except BROKEN as error:
            raise UserError(f"{self.path} has changed and cannot be read any more ({one_line(error)})") from None


def _why_left(member: tarfile.TarInfo) -> str:
    if member.islnk() or member.issym():
        return "links"
    if not member.isreg() or member.issparse():
        return "special files"
    return "larger than 1 GiB" if member.size > MOST else ""


def _opener(path: Path) -> Callable[..., Any]:
    """What opens a file that may be compressed."""
    with open(path, "rb") as file:
        start = file.read(6)
    compressed: dict[bytes, Callable[..., Any]] = {
        b"\x1f\x8b": gzip.open,
        b"BZh": bz2.open,
        b"\xfd7zXZ\0": lzma.open,
    }
    return next((opener for begin, opener in compressed.items() if start.startswith(begin)), open)


def opened(path: Path) -> Archive:
    """The archive at `path`, by its content. Raises UserError, and OSError where it cannot be opened."""
    try:
        with open(path, "rb") as file:
            start = file.read(4)
        return (Zip if start in (b"PK\3\4", b"PK\5\6") or path.suffix.lower() == ".zip" else Tar)(path)
    except (PermissionError, FileNotFoundError):
        raise
    except BROKEN as error:
        raise UserError(f"{path} cannot be read as an archive ({one_line(error)}); download it again") from None
