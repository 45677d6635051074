"""Everything that a GPU decides about speed, in one call of less than ten minutes.

    python tests/speed/gpu.py [--dry-run] [--minutes 9] [--only augmentation epoch ...] [--json FILE]

Prints each row as it is measured, twice where it says so; a part that fails says why and the next goes on; what does
not fit in the time is named. `--dry-run` goes the same way with small numbers, also on a CPU. lightly's rows need
lightly, and are left out by name where it is missing.
"""

import argparse
import json
import os
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
import torch.nn.functional as F
from timing import about_this_machine
from torch.utils.flop_counter import FlopCounterMode

from algorithms import METHODS, method_class
from algorithms.evaluation.knn import Evaluation, knn_predict
from algorithms.images.augment import augment
from algorithms.images.store import ResidentImages
from algorithms.images.view import View
from algorithms.training.trainer import Trainer
from bench.search import space as search_space

CIFAR10 = (50_000, 10_000)
WITH_LIGHTLY = ("simclr", "barlow", "simsiam", "byol", "moco", "dino", "swav")


class Bench:
    """The parts to measure, their numbers, and the clock that ends them."""

    def __init__(self, dry: bool, minutes: float):
        self.dry = dry
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.encoder = "resnet8" if dry else "resnet18"
        self.size, self.batch = (8, 32) if dry else (32, 512)
        self.images, self.tests = (32 * 64, 256) if dry else CIFAR10
        self.steps_an_epoch = self.images // self.batch
        self.deadline = time.perf_counter() + 60 * minutes
        self.rows: list[dict] = []
        self.peak: float | None = None  # of bf16 matrix products, FLOP/s
        images = torch.randint(0, 256, (self.images, 3, self.size, self.size), dtype=torch.uint8)
        self.stored = ResidentImages.of(images, self.device)

    def row(self, name: str, **numbers) -> None:
        self.rows.append({"name": name, **numbers})
        shown = (f"{k} {v:,.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in numbers.items())
        print(f"{name:46s}", "  ".join(shown), flush=True)

    def late(self, kept: float = 0.0) -> bool:
        """Whether the time is over, but for `kept` seconds."""
        return time.perf_counter() > self.deadline - kept

    def seconds(self, work, times: int) -> float:
        """Of one call, over `times` calls after a warm-up."""
        for _ in range(1 if self.dry else 3):
            work()
        self.synchronize()
        began = time.perf_counter()
        for _ in range(1 if self.dry else times):
            work()
        self.synchronize()
        return (time.perf_counter() - began) / (1 if self.dry else times)

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def trainer(self, name: str, **options) -> Trainer:
        hyperparameters = search_space.load(name, 32).defaults | {"batch_size": self.batch}
        labels = torch.zeros(self.images, dtype=torch.long, device=self.device)
        return Trainer(
            method_class(name),
            self.stored,
            hyperparameters | options.pop("hyperparameters", {}),
            epochs=200,
            encoder=self.encoder,
            labels=labels if name == "supervised" else None,
            **options,
        )

    # ---------------------------------------------------------------------------- parts

    def ceilings(self) -> None:
        side = 256 if self.dry else 8192
        a = torch.randn(side, side, device=self.device, dtype=torch.bfloat16)
        self.peak = 2 * side**3 / self.seconds(lambda: a @ a, 20)
        source = torch.empty(2**20 if self.dry else 2**31, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        copied = 2 * source.numel() / self.seconds(lambda: target.copy_(source), 20)
        self.row("ceilings", matmul_TFLOPs=self.peak / 1e12, copy_TBs=copied / 1e12)

    def augmentation(self) -> None:
        views = [View(self.size)] * 2
        index = torch.randint(self.images, (self.batch,), device=self.device)
        dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        backend = "aot_eager" if self.dry else "inductor"
        compiled = torch.compile(augment, fullgraph=True, dynamic=False, backend=backend)
        for name, function in (("eager", augment), ("compiled", compiled)):
            began = time.perf_counter()
            function(self.stored.gather(index), views, dtype=dtype)
            self.synchronize()
            first = time.perf_counter() - began
            taken = [
                self.seconds(lambda f=function: f(self.stored.gather(index), views, dtype=dtype), 50) for _ in range(2)
            ]
            self.row(f"two views, {name}", ms=[round(1e3 * t, 3) for t in taken],
                     views_s=2 * self.batch / min(taken), first_call_s=first)  # fmt: skip

    def epoch(self) -> None:
        """Seconds of an epoch by method: the step, twice; the share of the measured matrix peak."""
        total = 0.0
        done = []
        for name in METHODS:
            if self.late():
                break
            try:
                began = time.perf_counter()
                step = self.stepper(self.trainer(name))
                step()
                self.synchronize()
                first = time.perf_counter() - began
                with FlopCounterMode(display=False) as counter:
                    step()
                total += 200 * self.step_row(f"epoch {name}", step, counter.get_total_flops(), first_step_s=first)
                done.append(name)
            except Exception as error:
                self.row(f"epoch {name}", failed=repr(error)[:160])
        missing = sorted(set(METHODS) - set(done))
        self.row(f"200 epochs each of {len(done)} methods", minutes=total / 60, missing=missing)

    def compiled(self) -> None:
        """The same, compiled, and that captured in a CUDA graph; two minutes are left for what follows."""
        for name in list(METHODS)[: 2 if self.dry else None]:
            if self.late(120):
                self.row(f"compiled {name}", left_out="no time, nor for the methods after it")
                return
            try:
                began = time.perf_counter()
                trainer = self.trainer(name, compiled=True)
                step = self.stepper(trainer)
                step()
                self.synchronize()
                first = time.perf_counter() - began
                if trainer.notice:
                    raise RuntimeError(trainer.notice)
                self.step_row(f"compiled {name}", step, first_step_s=first)
                self.step_row(f"compiled and captured {name}", self.captured(step))
            except Exception as error:
                self.row(f"compiled {name}", failed=repr(error)[:300])

    def stepper(self, trainer: Trainer):
        """A function that makes the training's first step again and again."""
        trainer.method.before_epoch(0, trainer.batches)
        index = torch.randperm(self.images, device=self.device)[: trainer.batch_size]

        def step():
            trainer.step_number.fill_(0)
            trainer.step(index)

        return step

    def captured(self, step):
        """The step as one CUDA graph; raises where there is no CUDA device."""
        if self.device != "cuda":
            raise RuntimeError("a CUDA graph needs a CUDA device")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay

    def step_row(self, title: str, step, flops: int = 0, **facts) -> float:
        """Time a step twice and print it as a row; seconds of an epoch."""
        taken = [self.seconds(step, 20) for _ in range(2)]
        # Compiled graphs hide their FLOP from the counter: then there is no share to print.
        share = {"TFLOP": flops / 1e12} if flops else {}
        share |= {"of_peak": flops / min(taken) / self.peak} if self.peak and flops else {}
        seconds = min(taken) * self.steps_an_epoch
        memory = torch.cuda.max_memory_allocated() / 2**30 if self.device == "cuda" else 0.0
        self.row(title, s=seconds, ms_a_step=[round(1e3 * t, 2) for t in taken], images_s=self.batch / min(taken),
                 **share, GiB=memory, **facts)  # fmt: skip
        return seconds

    def whole_epochs(self) -> None:
        """The loop as a run has it, evaluation included, against the steps alone."""
        labels = torch.randint(10, (self.images,), device=self.device)
        tests = torch.randint(0, 256, (self.tests, 3, self.size, self.size), dtype=torch.uint8)
        queries = ResidentImages.of(tests, self.device)
        evaluation = Evaluation(self.stored, labels, queries, labels[: self.tests], 10)
        trainer = self.trainer("simclr", evaluation=evaluation, evaluate_at=[2])
        for _ in range(3):
            report = trainer.train_epoch()
            self.row(f"simclr, epoch {report.epoch} by its own clock", s=report.seconds,
                     evaluation_s=report.evaluation_seconds, images_s=report.images_per_second)  # fmt: skip

    def warm(self) -> None:
        """A trial that begins where another ended, with other values: time to its first step, graphs compiled."""
        from torch._dynamo.utils import counters

        for number, rate in enumerate((0.1, 0.05, 0.2)):
            graphs = counters["stats"]["unique_graphs"]
            began = time.perf_counter()
            changed = {"learning_rate": rate, "temperature": 0.2 + rate}
            trainer = self.trainer("simclr", hyperparameters=changed, compiled=not self.dry)
            trainer.step(torch.arange(trainer.batch_size, device=self.device))
            self.synchronize()
            taken = time.perf_counter() - began
            self.row(
                f"first step of trial {number + 1} here", s=taken, graphs=counters["stats"]["unique_graphs"] - graphs
            )

    def knn(self) -> None:
        bank = F.normalize(torch.randn(self.images, 512, device=self.device), dim=1)
        queries = F.normalize(torch.randn(self.tests, 512, device=self.device), dim=1)
        labels = torch.randint(10, (self.images,), device=self.device)

        def search():
            knn_predict(queries, bank, labels, 10, [(200, 0.1), (20, 0.07)])

        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        taken = [self.seconds(search, 5) for _ in range(2)]
        memory = (torch.cuda.max_memory_allocated() - before) / 2**20 if self.device == "cuda" else 0.0
        self.row(f"knn {self.tests} x {self.images} x 512", ms=[round(1e3 * t, 1) for t in taken], MiB=memory)

    def lightly(self) -> None:
        """lightly's loop at its best number of workers, for simclr, then the others at that number."""
        try:
            from step import lightly_loop
        except ImportError as error:
            self.row("lightly", left_out=f"{error.name} is not installed")
            return
        best = (0, 0.0)
        net = f"{self.encoder}@{self.size}"
        steps = 2 if self.dry else 12
        for workers in (1,) if self.dry else sorted({4, 8, os.cpu_count() or 8}):
            peer = lightly_loop("simclr", net, self.batch, steps, workers, self.device)
            taken = min(self.seconds(peer.epoch, 1) for _ in range(2))
            self.row(f"lightly simclr, {workers} workers", epoch_s=taken / steps * self.steps_an_epoch)
            best = max(best, (1 / taken, workers))
        for name in WITH_LIGHTLY[1:]:
            if self.late():
                return
            peer = lightly_loop(name, net, self.batch, steps, int(best[1]), self.device)
            taken = min(self.seconds(peer.epoch, 1) for _ in range(2))
            self.row(f"lightly {name}, {best[1]} workers", epoch_s=taken / steps * self.steps_an_epoch)


PARTS = ("ceilings", "augmentation", "whole_epochs", "warm", "knn", "epoch", "compiled", "lightly")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--only", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    if not (torch.cuda.is_available() or arguments.dry_run):
        parser.error("there is no CUDA device; --dry-run goes the same way on a CPU")
    print(about_this_machine(torch.get_num_threads()))
    bench = Bench(arguments.dry_run, arguments.minutes)
    for part in arguments.only:
        if bench.late():
            bench.row(part, left_out="no time")
            continue
        try:
            getattr(bench, part)()
        except Exception as error:
            traceback.print_exc()
            bench.row(part, failed=repr(error)[:160])
        if arguments.json:
            arguments.json.write_text(json.dumps(bench.rows, indent=1))


if __name__ == "__main__":
    main()
