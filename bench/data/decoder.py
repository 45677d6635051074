"""All images of a source become pixels: workers, one size and number of channels, what cannot be read, progress.

They are decoded into a file of the data cache (`bench.data.decoded`), so that each is decoded once for all runs.
"""

import hashlib
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.data.dataset import SMALLEST
from bench.data.decoded import DEEP, NOT_YET, UNREADABLE, DecodedFile, Facts, Writer
from bench.data.decoding import Picture, channels_of, decode, why_unreadable
from bench.data.depth import Scale, scale_of
from bench.data.limits import MOST_CHANNELS
from bench.data.named import cache_folder
from bench.data.source import Encoded, EncodedSplit, Integers, Item, items
from bench.data.workers import (
    TOGETHER,
    TOLD_EVERY,
    Pace,
    Pool,
    blocks,
    check_memory,
    in_turn,
    parts,
    strictly,
    unreadable,
)
from bench.errors import UserError

VERSION = 1
"""Of how images are decoded: with another one all are decoded anew."""
DURABLE_EVERY = 2.0
"""Seconds after which what was decoded is made durable."""
MUCH_LOST = 1 / 3
"""The part of the images' area from which it is told that it is cropped away."""
NOTHING_LOST = (0.0, 0)
"""The sum of the parts, and of how many images."""


@dataclass(frozen=True)
class Result:
    """What became of the rows that were asked for."""

    packed: Tensor
    """uint8 [M, S, C, S], mapped."""
    file: Path
    """That file, a NumPy array."""
    readable: NDArray[np.bool_]
    """Of each row that was asked for."""
    skipped: list[str]
    """Of each that cannot be read, its name and why."""
    stored_as: str
    """The formats in which the images were stored; a JPEG's with its quality where all have the same."""
    remarks: list[str]
    facts: Facts


class Decoder:
    """Decodes rows of the splits of a source, the training images first, to one size.

    `of` names the source; `splits` are what is stored. With `strict` an image that cannot be read is an error.
    """

    def __init__(self, of: Path, splits: Sequence[EncodedSplit], size: int | None, fit: str, strict: bool) -> None:
        self.of, self.splits, self.wanted, self.fit, self.strict = of, splits, size, fit, strict
        self.images = sum(len(split.labels) for split in splits)
        asked = [VERSION, str(of.resolve()), [split.stamp for split in splits], size, fit]
        self.key = hashlib.sha256(repr(asked).encode()).hexdigest()[:20]
        self.folder = cache_folder() / "decoded" / self.key
        self.facts = Facts(self.folder / "facts.json")

    def decode(self, rows: Integers) -> Result:
        """The images in these rows (rising). Raises UserError."""
        if self.wanted:
            check_memory(self.wanted)
        named = hashlib.sha256(rows.tobytes()).hexdigest()[:16]
        channels, side, first = self.facts.known(f"shape {named}", None) or self._shape(rows, f"shape {named}")
        if not channels:
            raise UserError(f"none of the images in {self.of} could be read; the first: {first}")
        file = DecodedFile(self.folder / f"{channels}x{side}", self.images, side, channels)
        self._fill(file, rows, side, channels, None, first)
        remarks, scale = [], None
        deep = rows[file.marks[rows] == DEEP]
        if len(deep):
            values, whole = zip(*(file.ranges[row] for row in deep.tolist()), strict=True)
            scale, told = scale_of(np.array(values), np.array(whole))
            remarks.append(f"images of more than 8 bits: {told}")
            shown = hashlib.sha256(scale.tobytes()).hexdigest()[:12]
            file = DecodedFile(self.folder / f"{channels}x{side}-{shown}", self.images, side, channels)
            self._fill(file, rows, side, channels, scale, first)
        lost, of = self.facts.known("lost", NOTHING_LOST)
        if lost >= MUCH_LOST * max(1, of):
            remarks.append(
                f"{lost / of:.0%} of the images' area is cropped away, as they are not square; --fit pad or --fit "
                "squash keeps all of it"
            )
        unreadable = rows[file.marks[rows] == UNREADABLE].tolist()
        skipped = [file.why[row] for row in unreadable]
        if skipped and self.strict:
            raise UserError(f"an image could not be read: {skipped[0]}")
        stored = _stored_as(file.kinds_of(rows))
        return Result(file.opened(), file.path, file.decoded(rows), skipped, stored, remarks, self.facts)

    def _shape(self, rows: Integers, fact: str) -> tuple[int, int, str]:
        """(channels, side, what is said of the size of the first image that can be read): the most channels that any
        image has, found in their headers, up to the first that is in colour; 0, 0 and why where none can be read. Kept
        as `fact`, unless the disk gave no answer of some."""
        channels = side = seen = 0
        first, settled = "", True
        told = time.monotonic()
        with Pool() as pool, warnings.catch_warnings():
            strictly()
            for block in blocks(items(self.splits, rows), 8 * TOGETHER):
                for (_, name, encoded), each in zip(block, pool.map(lambda item: _header(item[2]), block), strict=True):
                    if isinstance(each, Exception):
                        first = first if channels else first or f"{name}: {why_unreadable(each)}"
                        settled &= not _passing(each)
                        continue
                    if each > MOST_CHANNELS:
                        raise UserError(f"{name} has {each} channels; {MOST_CHANNELS} are the most")
                    if not channels:
                        try:
                            picture = decode(encoded, self.wanted, fit=self.fit, channels=each, scale=_any_scale(each))
                        except Exception as error:  # its header alone can be read
                            first = first or f"{name}: {why_unreadable(error)}"
                            settled &= not _passing(error)
                            continue
                        assert picture.pixels is not None
                        height, width = picture.pixels.shape[:2]
                        _check_square(name, width, height)
                        side, first = height, f"{name} is {width}x{height} px"
                    channels = max(channels, each)
                if channels > 1:
                    break
                seen += len(block)
                if time.monotonic() - told > TOLD_EVERY:
                    told = time.monotonic()
                    print(f"looking for images in colour: {seen:,} of {len(rows):,}", file=sys.stderr)
        if channels and settled:
            self.facts.keep(fact, [channels, side, first])
        return channels, side, first

    def _fill(
        self, file: DecodedFile, rows: Integers, side: int, channels: int, scale: Scale | None, first: str
    ) -> None:
        """Decode what is not decoded yet."""
        left = rows[file.marks[rows] == NOT_YET]
        if not len(left):
            return
        durable = time.monotonic()
        lost, done = 0.0, 0
        with file.writing(len(left)) as writer:
            left = rows[file.marks[rows] == NOT_YET]
            size = len(left) * file.row_bytes / 2**30
            if size > 0.5:
                print(f"decoding {len(left):,} images to {size:.1f} GiB in {file.folder}", file=sys.stderr)
            with Pool() as pool, warnings.catch_warnings():
                strictly()
                pace = Pace("decoding", len(left))

                def work(part: list[Item]) -> list[tuple[int, str, Picture | Exception]]:
                    return self._part(part, channels, scale, writer, side)

                for part in in_turn(pool, work, parts(items(self.splits, left))):
                    for row, name, result in part:
                        done += 1
                        lost += self._keep(writer, row, name, result, side, first)
                    if time.monotonic() - durable > DURABLE_EVERY:
                        writer.commit()
                        durable = time.monotonic()
                    pace.tell(done)
        before, of = self.facts.known("lost", NOTHING_LOST)
        self.facts.keep("lost", [before + lost, of + done])

    def _keep(self, writer: Writer, row: int, name: str, result: Picture | Exception, side: int, first: str) -> float:
        """Note what became of an image; the part of its area that is lost. Raises UserError and OSError."""
        if isinstance(result, _Unwritable):
            raise result.args[0]
        if isinstance(result, Exception):
            writer.unreadable(row, unreadable(name, result, self.strict), _passing(result))
            return 0.0
        if result.pixels is None:
            assert result.values is not None
            writer.deep(row, result.values, result.whole)
            return result.lost
        height, width = result.pixels.shape[:2]
        if (height, width) != (side, side):
            raise UserError(
                f"the images differ in size ({first}, {name} is {width}x{height} px); give --image-size to resize them"
            )
        writer.decoded(row, result.kind)
        return result.lost

    def _part(
        self, part: Sequence[Item], channels: int, scale: Scale | None, writer: Writer, side: int
    ) -> list[tuple[int, str, Picture | Exception]]:
        """(row, name, what `decode` returned or raised) of a few images, whose pixels are written."""
        results: list[tuple[int, str, Picture | Exception]] = []
        for row, name, encoded in part:
            try:
                picture = decode(encoded, self.wanted, fit=self.fit, channels=channels, scale=scale)
            except Exception as error:  # a decoder may raise anything on a damaged file
                results.append((row, name, error))
                continue
            if picture.pixels is not None and picture.pixels.shape[:2] == (side, side):
                try:
                    writer.pixels(row, picture.pixels)
                except OSError as error:
                    results.append((row, name, _Unwritable(error)))
                    continue
                # What is left of it is its shape.
                picture = picture._replace(pixels=np.broadcast_to(np.uint8(0), picture.pixels.shape))
            results.append((row, name, picture))
        return results


class _Unwritable(Exception):
    """The disk did not take an image: the error that it made."""


def _header(encoded: Encoded) -> int | Exception:
    try:
        return channels_of(encoded)
    except Exception as error:  # a reader may raise anything on a damaged file
        return error


def _passing(error: Exception) -> bool:
    """Whether it is of the disk, the network or the machine, and not of what is stored: Pillow's own have no number."""
    return isinstance(error, OSError) and error.errno is not None


def _any_scale(channels: int) -> Scale:
    """To learn the size of an image alone."""
    return np.stack([np.zeros(channels), np.ones(channels)])


def _check_square(name: str, width: int, height: int) -> None:
    if width != height:
        raise UserError(f"{name} is {width}x{height} px, not square; give --image-size to make it so")
    if width < SMALLEST:
        raise UserError(f"{name} is {width}x{height} px; {SMALLEST} px is the least, so give --image-size")


def _stored_as(kinds: set[str]) -> str:
    if sum(kind.startswith("JPEG") and kind != "JPEG2000" for kind in kinds) > 1:
        kinds = {"JPEG" if kind.startswith("JPEG-") else kind for kind in kinds}
    return ", ".join(sorted(kinds))
