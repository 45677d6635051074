"""All images of a source become pixels: workers, one size for all, what cannot be read, progress."""

import sys
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bench import machine
from bench.data.dataset import SMALLEST, Split
from bench.data.decoding import DEPTHS, Picture, decode, why_unreadable
from bench.data.source import Encoded, EncodedSplit, Integers
from bench.errors import UserError


class Decoder:
    """Decodes all of a data set's `images` to one size, and remembers which it could not.

    The largest value of a grey image of more than 8 bits is 2^`depth` - 1.
    """

    def __init__(self, image_size: int | None, strict: bool, images: int, depth: int):
        self.wanted = image_size
        self.strict = strict
        self.images = images
        self.depth = depth
        self.brightest = 0
        """The largest value in the grey images of more than 8 bits, 0 where there are none."""
        self.first: tuple[str, tuple[int, int]] | None = None
        """Name and (width, height) of the first image, where all must be as large as it."""
        self.skipped: list[str] = []
        self.kinds: set[str] = set()

    def stored_as(self) -> str:
        """The formats in which the images were stored; a JPEG's with its quality where all have the same."""
        kinds = self.kinds
        if sum(kind.startswith("JPEG") for kind in kinds) > 1:
            kinds = {kind.split("-")[0] for kind in kinds}
        return ", ".join(sorted(kinds))

    def fitting_depth(self) -> int:
        """The least depth that holds the brightest value."""
        bits = self.brightest.bit_length()
        return next((depth for depth in DEPTHS if depth >= bits), bits)

    def decode(
        self, what: str, split: EncodedSplit, places: Integers, groups: Integers | None = None
    ) -> tuple[Split, Integers]:
        """The images of `split` at `places`, less those that cannot be read, and the places of what is left; `groups`
        int64 [N] are those of all its images."""
        if self.wanted:
            check_memory(self.images, self.wanted)
        pixels: NDArray[np.uint8] | None = None
        kept: list[int] = []
        began = told = time.monotonic()
        items = zip(places, split.read(places), strict=True)
        with ThreadPoolExecutor(min(8, machine.cores())) as pool, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            done = 0
            while block := list(islice(items, 512)):
                parts = [block[i : i + 32] for i in range(0, len(block), 32)]
                for place, name, result in (row for rows in pool.map(self._part, parts) for row in rows):
                    if isinstance(result, MemoryError):
                        raise UserError(f"{name} does not fit into this machine's memory; leave it out")
                    if isinstance(result, Exception):
                        self._skip(f"{name}: {why_unreadable(result)}")
                        continue
                    height, width, _ = result.pixels.shape
                    self.brightest = max(self.brightest, result.brightest)
                    self._check_size(name, width, height)
                    if pixels is None:
                        side = height
                        check_memory(self.images, side)
                        pixels = np.empty((len(places), 3, side, side), dtype=np.uint8)
                    pixels[len(kept)] = result.pixels.transpose(2, 0, 1)
                    kept.append(place)
                    self.kinds.add(result.kind)
                done += len(block)
                if time.monotonic() - told > 3:
                    told = time.monotonic()
                    print(f"decoding {what} images: {done:,} of {len(places):,}, {told - began:.0f} s", file=sys.stderr)
        if pixels is None:
            pixels = np.empty((0, 3, 0, 0), dtype=np.uint8)
        left = np.array(kept, dtype=np.int64)
        of_groups = None if groups is None else torch.from_numpy(groups[left])
        return Split.of(torch.from_numpy(pixels[: len(kept)]), torch.from_numpy(split.labels[left]), of_groups), left

    def _part(self, items: Iterable[tuple[int, tuple[str, Encoded]]]) -> list[tuple[int, str, Picture | Exception]]:
        """(place, name, what `decode` returned or raised) of a few images."""
        results: list[tuple[int, str, Picture | Exception]] = []
        for place, (name, encoded) in items:
            try:
                results.append((place, name, decode(encoded, self.wanted, self.depth)))
            except Exception as error:  # a decoder may raise anything on a damaged file
                results.append((place, name, error))
        return results

    def _skip(self, what: str) -> None:
        if self.strict:
            raise UserError(f"an image could not be read: {what}")
        self.skipped.append(what)

    def _check_size(self, name: str, width: int, height: int) -> None:
        if self.wanted:
            return
        if self.first is None:
            if width != height:
                raise UserError(f"{name} is {width}x{height} px, not square; give --image-size to make it so")
            if width < SMALLEST:
                raise UserError(f"{name} is {width}x{height} px; {SMALLEST} px is the least, so give --image-size")
            self.first = name, (width, height)
        first, size = self.first
        if size != (width, height):
            raise UserError(
                f"the images differ in size ({first} is {size[0]}x{size[1]} px, {name} is {width}x{height} px); "
                "give --image-size to resize them"
            )


def check_memory(images: int, side: int) -> None:
    needed = images * 3 * side * side
    there = machine.memory_bytes()
    if needed > 0.8 * there:
        raise UserError(
            f"{images:,} images of {side} px take {needed / 2**30:.1f} GiB of memory, and there are "
            f"{there / 2**30:.1f}; give a smaller --image-size, or --limit"
        )
