"""Images that are larger than memory: what decoding and training take, and what reading from a mapped file costs.

    python tests/speed/larger_than_memory.py

makes a data set whose decoded pixels take `--times` as much as the memory that a process may have (a control group of
`--limit` MiB, for which it must be root; without the right to make one, memory is told and not limited), decodes it
twice, trains on images from all over it, then compares steps from the mapped file with steps from images in memory. On
a GPU the images are read ahead, pinned and copied while it trains.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from algorithms import method_class
from algorithms.images.store import ImageStore, MappedImages, ResidentImages
from algorithms.training.process import keep_freed_memory
from algorithms.training.trainer import Trainer
from bench.data import images
from bench.search.space import load
from tests.speed.timing import about_this_machine, interleave, medians, print_table, ratios

STORED = 16
"""Side of the images as they are stored, px."""
BATCH = 64
GROUP = Path("/sys/fs/cgroup/memory/ssl-bench-speed")
"""A control group of version 1."""
GROUP_2 = Path("/sys/fs/cgroup/ssl-bench-speed")
"""One of version 2."""


def make(folder: Path, count: int) -> None:
    """Noise of two classes as Parquet of PNG bytes."""
    random = np.random.default_rng(0)
    schema = pa.schema({"image": pa.binary(), "label": pa.int64()})
    with pq.ParquetWriter(folder / "train.parquet", schema) as writer:
        for start in range(0, count, 4096):
            labels = np.arange(start, min(start + 4096, count)) % 2
            cells = []
            for label in labels:
                file = io.BytesIO()
                pixels = random.integers(0, 128, (STORED, STORED, 3), dtype=np.uint8) + np.uint8(100 * label)
                Image.fromarray(pixels).save(file, "PNG", compress_level=1)
                cells.append(file.getvalue())
            writer.write_table(pa.table({"image": cells, "label": labels}, schema=schema))


@contextlib.contextmanager
def limited(mebibytes: int) -> Iterator[Path | None]:
    """A control group with this limit, where one can be made."""
    for group, limit in ((GROUP, "memory.limit_in_bytes"), (GROUP_2, "memory.max")):
        if not (group.parent / limit.replace("max", "stat")).exists() and not (group.parent / limit).exists():
            continue
        try:
            group.mkdir()
            (group / limit).write_text(str(mebibytes * 2**20))
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        try:
            yield group
        finally:
            group.rmdir()
        return
    yield None


def peak(group: Path | None) -> float:
    """MiB of all memory of the group, page cache included."""
    if group is None:
        return float("nan")
    files = (group / "memory.max_usage_in_bytes", group / "memory.peak")
    return next((int(file.read_text()) / 2**20 for file in files if file.exists()), float("nan"))


def child(what: str, data: str, side: int, steps: int) -> dict[str, float]:
    """In a process of its own: decode, or train; seconds, and MiB that are its own (no page cache)."""
    began = time.perf_counter()
    dataset = images.load(data, image_size=side)
    seconds = time.perf_counter() - began
    if what == "train":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        store = MappedImages(dataset.train.packed, dataset.train.rows, dataset.statistics, device)
        trainer = trainer_on(store)
        order = torch.randperm(len(store), device=device)[: steps * trainer.batch_size].view(steps, -1)
        began = time.perf_counter()
        for index, batch in zip(order, store.batches(order), strict=True):
            trainer.step_on(batch, index)
        seconds = trainer.clock() - began
    status = Path("/proc/self/status").read_text()
    own = sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(("RssAnon", "RssShmem")))
    peak_own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"seconds": seconds, "own": own / 2**10, "resident": peak_own, "images": float(len(dataset.train))}


def run(what: str, data: Path, options: argparse.Namespace, group: Path | None) -> dict[str, float]:
    words = [sys.executable, __file__, "--child", what, str(data), "--side", str(options.side)]

    def join() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    done = subprocess.run(
        [*words, "--steps", str(options.steps)], stdout=subprocess.PIPE, text=True, check=True, preexec_fn=join
    )
    return dict(json.loads(done.stdout.splitlines()[-1]), group=peak(group))


def trainer_on(store: ImageStore) -> Trainer:
    torch.set_num_threads(1)
    keep_freed_memory()
    hyperparameters = load("simclr", store.image_size).defaults | {"batch_size": BATCH}
    return Trainer(method_class("simclr"), store, hyperparameters, epochs=100, encoder="resnet8")


def against_memory(count: int, side: int, rounds: int, folder: Path) -> None:
    """Steps from a mapped file beside steps from memory."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    file = np.lib.format.open_memmap(folder / "m.npy", mode="w+", dtype=np.uint8, shape=(count, side, 3, side))
    file[:] = np.random.default_rng(0).integers(0, 256, file.shape, dtype=np.uint8)
    file.flush()
    packed = torch.from_numpy(np.lib.format.open_memmap(folder / "m.npy", mode="c"))
    resident = ResidentImages.of(packed.permute(0, 2, 1, 3).clone(), device)
    rows = torch.randperm(count)
    stores: dict[str, ImageStore] = {
        "in memory": resident,
        "from the map": MappedImages(packed, rows, resident.statistics, device),
    }

    def steps(trainer: Trainer) -> None:
        order = torch.randperm(count, device=device)[: 8 * BATCH].view(8, BATCH)
        for index, batch in zip(order, trainer.images.batches(order), strict=True):
            trainer.step_on(batch, index)

    trainers = {name: trainer_on(store) for name, store in stores.items()}
    seconds = interleave({name: lambda t=trainer: steps(t) for name, trainer in trainers.items()}, rounds)
    wall, cpu = ratios(seconds["in memory"], seconds["from the map"])
    rows_ = [[name, 8 * BATCH / medians(each)[0]] for name, each in seconds.items()]
    print_table(f"SimCLR, resnet8, {side} px, {BATCH} images a step, {device}", ["images", "images/s"], rows_)
    print(f"from the map {wall:.3f} times as fast as in memory (wall), {cpu:.3f} (CPU); medians of {rounds} rounds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=1024, help="MiB")
    parser.add_argument("--times", type=float, default=4.0)
    parser.add_argument("--side", type=int, default=64, help="px, of the decoded images")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child, options.side, options.steps)))
        return
    print(about_this_machine(1))
    count = int(options.limit * 2**20 * options.times / (3 * options.side**2))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SSL_BENCH_CACHE"] = f"{folder}/cache"
        data = Path(folder, "data")
        data.mkdir()
        print(
            f"making {count:,} images, {options.times:g} times {options.limit:,} MiB when they are decoded", flush=True
        )
        make(data, count)
        rows = []
        for what, kind in (("decode", "decode"), ("decode again", "decode"), (f"{options.steps} steps", "train")):
            with limited(options.limit) as group:
                found = run(kind, data, options, group)
            images_ = options.steps * BATCH if kind == "train" else count
            rows.append(
                [what, found["seconds"], images_ / found["seconds"], found["own"], found["resident"], found["group"]]
            )
        head = ["", "seconds", "images/s", "own MiB at the end", "peak resident MiB", "peak of the group, MiB"]
        limit = "limited to" if rows[0][-1] == rows[0][-1] else "not limited here; wanted"
        print_table(f"{count:,} images of {options.side} px, {limit} {options.limit:,} MiB", head, rows)
        shutil.rmtree(f"{folder}/cache")
        against_memory(20_000, 32, options.rounds, Path(folder))


if __name__ == "__main__":
    main()
