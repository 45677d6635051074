"""What a process that trains on a CPU may do once, where it begins; it holds for all that runs there."""

import ctypes
import functools


@functools.cache
def keep_freed_memory() -> None:
    """Have the C library (glibc) keep the memory that is freed in this process, for good.

    A step frees what the next one asks for again; given back to the system in between, it comes in new pages, which
    takes a quarter of a small network's step on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((-1, 2**31 - 1), (-3, 2**30), (-8, 1)):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX
            mallopt(option, value)
