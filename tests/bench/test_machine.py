"""How much of the machine a process may use, in control groups of both versions as containers have them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import machine

ROOT = Path(__file__).resolve().parent.parent.parent
GIB = 2**30


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch):
    """Of 64 cores and 512 GiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    sizes = {"SC_PHYS_PAGES": 512 * GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)


def machine_with(root: Path, own: str, mounts: list[str], files: dict[str, str]) -> Path:
    """A root folder whose process is in the groups `own`; `mounts` are "ROOT POINT - KIND SOURCE OPTIONS"."""
    lines = [f"{30 + number} 25 0:26 {mount}" for number, mount in enumerate(mounts)]
    lines = [line.replace(" - ", " rw,nosuid shared:9 - ") for line in lines]
    others = ["22 1 8:1 / / rw - ext4 /dev/sda1 rw", "29 22 0:40 / /home rw - fuse.x rw"]
    proc = {"proc/self/cgroup": own, "proc/self/mountinfo": "\n".join([*others, *lines]) + "\n"}
    for name, content in (proc | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def version_2(root: Path, quotas: dict[str, str], memory: dict[str, str]) -> Path:
    files = {f"sys/fs/cgroup{group}/cpu.max": f"{quota}\n" for group, quota in quotas.items()}
    files |= {f"sys/fs/cgroup{group}/memory.max": f"{limit}\n" for group, limit in memory.items()}
    return machine_with(root, "0::/pod/box\n", ["/ /sys/fs/cgroup - cgroup2 cgroup rw"], files)


@pytest.mark.parametrize(
    ("quotas", "cores"),
    [
        ({"/pod/box": "max 100000"}, 64),
        ({"/pod/box": "800000 100000"}, 8),
        ({"/pod/box": "150000 100000"}, 1),
        ({"/pod/box": "50000 100000"}, 1),
        ({"/pod/box": "400000 100000", "/pod": "200000 100000"}, 2),
        ({"/pod/box": "max 100000", "/pod": "300000 100000"}, 3),
        ({"/other": "100000 100000"}, 64),
        ({"/pod/box": "9900000 100000"}, 64),
        ({}, 64),
    ],
)
def test_a_quota_of_a_group_or_of_one_above_it_limits_the_cores(tmp_path, quotas, cores):
    assert machine.cores(version_2(tmp_path, quotas, {})) == cores


def test_a_memory_limit_of_a_group_or_of_one_above_it_counts_where_it_is_less_than_the_machine_has(tmp_path):
    for number, (limits, expected) in enumerate(
        [
            ({"/pod/box": "max"}, 512),
            ({"/pod/box": str(16 * GIB)}, 16),
            ({"/pod/box": str(16 * GIB), "/pod": str(8 * GIB)}, 8),
            ({"/pod/box": str(900 * GIB)}, 512),
        ]
    ):
        assert machine.memory_bytes(version_2(tmp_path / str(number), {}, limits)) == expected * GIB


V1 = "5:memory:/docker/a:b\n4:cpu,cpuacct:/docker/a:b\n3:cpuset:/docker/a:b\n0::/docker/a:b\n"


@pytest.mark.parametrize(
    ("top", "group"),
    [
        ("/", "/docker/a:b"),  # seen from outside the container
        ("/docker/a:b", ""),  # from inside: the mount begins at the own group
        ("/docker/elsewhere", ""),  # moved since: only what is mounted can be seen
    ],
)
def test_version_1_has_its_limits_where_the_controller_is_mounted(tmp_path, top, group):
    mounts = [
        f"{top} /sys/fs/cgroup/cpu,cpuacct - cgroup cgroup rw,cpu,cpuacct",
        f"{top} /sys/fs/cgroup/cpuset - cgroup cgroup rw,cpuset",
        f"{top} /sys/fs/cgroup/memory - cgroup cgroup rw,memory",
        "/ /sys/fs/cgroup/unified - cgroup2 cgroup rw",
    ]
    files = {
        f"sys/fs/cgroup/cpu,cpuacct{group}/cpu.cfs_quota_us": "400000",
        f"sys/fs/cgroup/cpu,cpuacct{group}/cpu.cfs_period_us": "100000",
        f"sys/fs/cgroup/cpuset{group}/cpu.cfs_quota_us": "100000",
        f"sys/fs/cgroup/memory{group}/memory.limit_in_bytes": str(4 * GIB),
    }
    root = machine_with(tmp_path, V1, mounts, files)
    assert machine.cores(root) == 4
    assert machine.memory_bytes(root) == 4 * GIB
    (root / f"sys/fs/cgroup/cpu,cpuacct{group}/cpu.cfs_quota_us").write_text("-1")
    (root / f"sys/fs/cgroup/memory{group}/memory.limit_in_bytes").write_text("9223372036854771712")
    assert machine.cores(root) == 64
    assert machine.memory_bytes(root) == 512 * GIB


def test_a_machine_without_control_groups_is_used_whole(tmp_path):
    assert machine.cores(tmp_path) == 64
    assert machine.memory_bytes(tmp_path) == 512 * GIB


def limit_to(cores: float) -> Path | None:
    """A real group with a CPU quota; None where this user may make none."""
    for top in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")):
        group = top / f"ssl-bench-{os.getpid()}"
        quota = round(100_000 * cores)
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / "cpu.max").exists():
                (group / "cpu.max").write_text(f"{quota} 100000")
                return group
            if (group / "cpu.cfs_quota_us").exists():
                (group / "cpu.cfs_period_us").write_text("100000")
                (group / "cpu.cfs_quota_us").write_text(str(quota))
                return group
        except OSError:
            pass
        group.rmdir()
    return None


@pytest.mark.slow
def test_half_a_core_of_a_real_group_is_one_slot():
    group = limit_to(0.5)
    if group is None:
        pytest.skip("this user may make no control group with a CPU quota")
    code = "from bench.execution.benchmark import count_slots; print(count_slots('cpu', 1.0, None))"
    try:
        told = subprocess.run(
            ["sh", "-c", f'echo $$ > "{group}/cgroup.procs" && exec "{sys.executable}" -c "{code}"'],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    finally:
        group.rmdir()
    assert told.strip() == "1"
