"""The images of a source decoded one after another and kept nowhere, for whoever sees each of them once."""

import warnings
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.decoding import Picture, channels_of, decode
from bench.data.depth import Scale, scale_of
from bench.data.limits import MOST_CHANNELS
from bench.data.source import EncodedSplit, Item, PixelSource, items
from bench.data.workers import AHEAD, TOGETHER, Pace, Pool, check_memory, in_turn, parts, strictly, unreadable
from bench.errors import UserError

MOST_BYTES = 2**28
"""Of pictures that are decoded before they are asked for, about."""
Pictures = Generator[tuple[int, NDArray[np.uint8]], None, None]
"""The row and the pixels [S, S, C] of each image that can be read."""


class Stream:
    """The images of the splits, one after another, in memory as long as whoever takes them has them.

    Of images of more than 8 bits only all of them tell what is black and white: where there are such, they are decoded
    once more before the first of them is given. With `strict` an image that cannot be read is an error. Raises
    UserError where none can be read.
    """

    def __init__(self, of: Path, splits: Sequence[EncodedSplit], fit: str, strict: bool) -> None:
        self.splits, self.fit, self.strict = splits, fit, strict
        self.skipped: list[str] = []
        """Of each image so far that cannot be read, its name and why."""
        self.rows = np.arange(sum(len(split.labels) for split in splits))
        self.channels = self._channels(of)
        """1 where the first image that can be read is grey, 3 where it is in colours, else the number of its bands."""

    def _channels(self, of: Path) -> int:
        first = ""
        with warnings.catch_warnings():
            strictly()
            for _, name, encoded in items(self.splits, self.rows):
                try:
                    found = channels_of(encoded)
                    decode(encoded, 8, channels=found, scale=np.stack([np.zeros(found), np.ones(found)]))
                except Exception as error:  # a reader may raise anything on a damaged file
                    first = first or unreadable(name, error, self.strict)
                    continue
                if found > MOST_CHANNELS:
                    raise UserError(f"{name} has {found} channels; {MOST_CHANNELS} are the most")
                return found
        raise UserError(f"none of the images in {of} could be read; the first: {first}")

    def pictures(self, size: int, channels: int) -> Pictures:
        """All of them, of this size; grey ones are shown in three channels where so many are asked for."""
        check_memory(size)
        scale: Scale | None = None

        def work(part: list[Item]) -> list[tuple[Item, Picture | Exception]]:
            return [(item, self._decoded(item, size, channels, scale)) for item in part]

        with Pool() as pool, warnings.catch_warnings():
            strictly()
            together = min(TOGETHER, max(1, MOST_BYTES // (size * size * channels * AHEAD * pool.size)))
            for part in in_turn(pool, work, parts(items(self.splits, self.rows), together)):
                for item, found in part:
                    if isinstance(found, Picture) and found.pixels is None:
                        if scale is None:
                            scale = self._scale(pool, item[0], size, channels, together)
                        found = self._decoded(item, size, channels, scale)
                    if isinstance(found, Exception):
                        self.skipped.append(unreadable(item[1], found, self.strict))
                        continue
                    assert found.pixels is not None
                    yield item[0], found.pixels

    def _decoded(self, item: Item, size: int, channels: int, scale: Scale | None) -> Picture | Exception:
        try:
            return decode(item[2], size, fit=self.fit, channels=channels, scale=scale)
        except Exception as error:  # a decoder may raise anything on a damaged file
            return error

    def _scale(self, pool: Pool, start: int, size: int, channels: int, together: int) -> Scale:
        """What is black and white in the images of more than 8 bits, of which that in the row `start` is the first."""
        values: list[NDArray[np.float64]] = []
        whole: list[bool] = []
        rows = self.rows[start:]
        pace, done = Pace("looking for the range of values in", len(rows)), 0

        def work(part: list[Item]) -> list[Picture | Exception]:
            return [self._decoded(item, size, channels, None) for item in part]

        for part in in_turn(pool, work, parts(items(self.splits, rows), together)):
            for found in part:
                if isinstance(found, Picture) and found.values is not None:
                    values.append(found.values)
                    whole.append(found.whole)
            done += len(part)
            pace.tell(done)
        scale, told = scale_of(np.array(values), np.array(whole))
        print(f"note: images of more than 8 bits: {told}")
        return scale


class Pixels:
    """The same of images that are pixels already: they come at the size that they have."""

    def __init__(self, source: PixelSource) -> None:
        self.splits = source.train, source.test
        self.channels, self.skipped = source.train.channels, list[str]()

    def pictures(self, size: int, channels: int) -> Pictures:
        row = 0
        for split in self.splits:
            for part in split.parts():
                for image in part:
                    yield row, image.permute(1, 2, 0).expand(-1, -1, channels).numpy()
                    row += 1
