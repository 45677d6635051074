"""Timing side by side: every contender works once a round, so that a busy machine is busy for all of them."""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable

import torch


def cpu_seconds() -> float:
    """CPU time of this process and its living workers, seconds."""
    tick = os.sysconf("SC_CLK_TCK")
    total = time.process_time()
    for worker in multiprocessing.active_children():
        with open(f"/proc/{worker.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / tick
    return total


def interleave(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of each contender in each round, after one round that is not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, work in contenders.items():
            began, cpu_began = time.perf_counter(), cpu_seconds()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:
                seconds[name].append((time.perf_counter() - began, cpu_seconds() - cpu_began))
    return seconds


def medians(samples: list[tuple[float, float]]) -> tuple[float, float]:
    return tuple(map(statistics.median, zip(*samples, strict=True)))


def ratios(peer: list[tuple[float, float]], ours: list[tuple[float, float]]) -> tuple[float, float]:
    """How many times less (wall, CPU) time ours took: the median over rounds, each round compared with itself."""
    return medians([(a[0] / b[0], a[1] / b[1]) for a, b in zip(peer, ours, strict=True)])


def print_table(title: str, head: list[str], rows: list[list]) -> None:
    cells = [head, *([f"{x:,.3g}" if isinstance(x, float) and abs(x) < 100 else f"{x:,.0f}"
                      if isinstance(x, float) else str(x) for x in row] for row in rows)]  # fmt: skip
    width = [max(len(row[i]) for row in cells) for i in range(len(head))]
    print(f"\n{title}")
    for row in cells:
        print(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, width, strict=True))
            )
        )
    print(flush=True)


def about_this_machine(threads: int) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else torch.backends.cpu.get_cpu_capability()
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return f"torch {torch.__version__}, {device}, {threads} thread(s) on {cores} cores, load {load:.1f} before"
