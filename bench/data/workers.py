"""Threads that decode images, some ahead of whoever takes them; and what is told of it."""

import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from PIL import Image

from bench import machine
from bench.data.decoding import why_unreadable
from bench.data.source import Item
from bench.data.wording import enumeration
from bench.errors import UserError

TOGETHER = 32
"""Images that a thread decodes at a time."""
PART_BYTES = 2**22
"""Encoded bytes from which a thread has enough of them."""
AHEAD = 4
"""Parts of so many images that are in work at a time, for each thread."""
COPIES = 4
"""Of a picture that are in memory while it is decoded, about."""
TOLD_EVERY = 3.0
"""Seconds between two lines on the progress."""
T = TypeVar("T")
Made = TypeVar("Made")


class Pool(ThreadPoolExecutor):
    """A thread for each core, up to eight."""

    def __init__(self) -> None:
        self.size = min(8, machine.cores())
        super().__init__(self.size)

    def __exit__(self, *error: object) -> None:
        """What is not begun is not done any more."""
        self.shutdown(cancel_futures=True)


def blocks(items: Iterator[T], each: int) -> Iterator[list[T]]:
    while block := list(islice(items, each)):
        yield block


def parts(items: Iterator[Item], most: int = TOGETHER) -> Iterator[list[Item]]:
    """What threads decode at a time: at most so many images, and fewer where their bytes are in memory and many."""
    part: list[Item] = []
    held = 0
    for item in items:
        part.append(item)
        held += len(item[2]) if isinstance(item[2], bytes) else 0
        if len(part) >= most or held >= PART_BYTES:
            yield part
            part, held = [], 0
    if part:
        yield part


def in_turn(pool: Pool, work: Callable[[list[T]], Made], parts: Iterator[list[T]]) -> Iterator[Made]:
    """What `work` makes of each part, in their order: `AHEAD` parts for each thread before they are asked for."""
    waiting = deque(pool.submit(work, part) for part in islice(parts, AHEAD * pool.size))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(work, part) for part in islice(parts, 1))


def strictly() -> None:
    """Within `warnings.catch_warnings`: a picture that is too large is an error, and nothing else is told."""
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def check_memory(size: int) -> None:
    """Raises UserError where the pictures of side `size` that are in work at a time do not fit into memory."""
    needed = COPIES * 3 * size * size * min(8, machine.cores())
    if needed > 0.8 * machine.memory_bytes():
        raise UserError(
            f"images of {size:,} px take {needed / 2**30:.1f} GiB of memory while they are decoded, and there are "
            f"{machine.memory_bytes() / 2**30:.1f}; give a smaller --image-size"
        )


def unreadable(name: str, error: Exception, strict: bool) -> str:
    """What is told of an image that cannot be read. Raises UserError where that is not to be, and where memory does not
    hold it."""
    if isinstance(error, MemoryError):
        raise UserError(f"{name} does not fit into this machine's memory; leave it out")
    why = f"{name}: {why_unreadable(error)}"
    if strict:
        raise UserError(f"an image could not be read: {why}")
    return why


def tell_skipped(skipped: list[str], of: int) -> None:
    """A line on the images that could not be read, if there are some."""
    if skipped:
        warning = f"{len(skipped):,} of {of:,} images could not be read and are left out: {enumeration(skipped)}"
        print(f"warning: {warning}", file=sys.stderr)


class Pace:
    """Lines on how many of the images are done, how fast, and when the rest will be."""

    def __init__(self, what: str, of: int) -> None:
        self.what, self.of = what, of
        self.began = self.told = time.monotonic()

    def tell(self, done: int) -> None:
        if (now := time.monotonic()) - self.told > TOLD_EVERY:
            self.told = now
            print(
                f"{self.what} images: {done:,} of {self.of:,}, {done / (now - self.began):,.0f} images/s, "
                f"{(self.of - done) * (now - self.began) / max(1, done):.0f} s left",
                file=sys.stderr,
            )
