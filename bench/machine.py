"""What this process may use of the machine: a container or a batch system often gives it a part only."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path


def cores(root: str | Path = "/") -> int:
    """The processor cores that this process may keep busy, at least 1: those that it may run on, or the CPU quota of
    its control groups where that is less; a quota of 1.5 gives 1.

    `root` is where `proc` and `sys` lie.
    """
    most = [len(os.sched_getaffinity(0))]
    for group in _groups(Path(root), "cpu"):
        limit = _numbers(group / "cpu.max")
        limit = limit or _numbers(group / "cpu.cfs_quota_us") + _numbers(group / "cpu.cfs_period_us")
        if len(limit) == 2 and min(limit) > 0:  # a quota of -1 is none
            most.append(limit[0] // limit[1])
    return max(1, min(most))


def memory_bytes(root: str | Path = "/") -> int:
    """The bytes of memory that this process may have: the machine's, or the limit of its control groups where that is
    less. `root` is where `proc` and `sys` lie."""
    most = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for group in _groups(Path(root), "memory"):
        most += _numbers(group / "memory.max") or _numbers(group / "memory.limit_in_bytes")
    return min(most)


def name() -> str:
    """What tells this machine, since it was started, from all others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process' control groups that may limit what `controller` names, and of all groups above them
    that can be seen. Version 1 has a tree for each controller, version 2 one for all; a machine may have both."""
    try:
        own = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return
    for line in own:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for mount in mounts:
            before, _, after = mount.partition(" - ")
            _, _, _, top, point, *_ = before.split()
            kind, *_, options = after.split()
            if kind != ("cgroup" if controllers else "cgroup2") or (
                controllers and controller not in options.split(",")
            ):
                continue
            folder = mounted = root / point.lstrip("/")
            if Path(path).is_relative_to(top) and ".." not in Path(path).parts:  # else only its root can be seen
                folder = mounted / Path(path).relative_to(top)
            yield from (each for each in (folder, *folder.parents) if each.is_relative_to(mounted))


def _numbers(path: Path) -> tuple[int, ...]:
    """The numbers in a file; none where there is no such file, or it says "max"."""
    try:
        return tuple(int(word) for word in path.read_text().split())
    except (OSError, ValueError):
        return ()
