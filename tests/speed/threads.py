"""Two trials at once with one thread each, against one trial at a time with two threads.

    python tests/speed/threads.py [--nets resnet8@8 resnet8@16 resnet8@32 resnet18@32] [--method simclr]

Each trial is a process of its own; both ways train the same number of images. The way that is faster here is the
harness's default on a CPU.
"""

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from timing import about_this_machine, print_table

from algorithms import method_class
from algorithms.training.process import keep_freed_memory
from algorithms.training.trainer import Trainer
from bench.search import space as search_space


def make_trainer(
    method: str, net: str, batch: int, compiled: bool, device: str = "cpu", steps: int = 64
) -> tuple[Trainer, torch.Tensor]:
    """A trainer of `net` (encoder@px) with the published recipe, and its random images, for `steps` steps an epoch."""
    encoder, size = net.split("@")
    # Trainer makes the batches of small data sets smaller.
    images = torch.randint(0, 256, (batch * max(64, steps), 3, int(size), int(size)), dtype=torch.uint8)
    hyperparameters = search_space.load(method, 32).defaults | {"batch_size": batch}
    options = {"epochs": 1000, "encoder": encoder, "device": device, "compiled": compiled}
    trainer = Trainer(method_class(method), images, hyperparameters, **options)
    assert trainer.batch_size == batch
    return trainer, images


def trial(orders, answers, method: str, net: str, threads: int, batch: int, compiled: bool) -> None:
    """Trains as many steps as each order says, and answers when it has."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    trainer, images = make_trainer(method, net, batch, compiled)
    while steps := orders.get():
        for _ in range(steps):
            trainer.step(torch.randint(len(images), (batch,)))
        answers.put(os.getpid())


class Pool:
    """`count` trials in processes of their own, each with `threads` threads."""

    def __init__(self, count: int, threads: int, method: str, net: str, batch: int, compiled: bool):
        context = multiprocessing.get_context("spawn")
        self.answers = context.Queue()
        self.orders = [context.Queue() for _ in range(count)]
        self.processes = [
            context.Process(
                target=trial, args=(orders, self.answers, method, net, threads, batch, compiled), daemon=True
            )
            for orders in self.orders
        ]
        for process in self.processes:
            process.start()

    def train(self, steps: int) -> float:
        """Seconds in which the trials train `steps` steps together."""
        began = time.perf_counter()
        for orders in self.orders:
            orders.put(steps // len(self.orders))
        for _ in self.orders:
            self.answers.get()
        return time.perf_counter() - began

    def stop(self) -> None:
        for orders, process in zip(self.orders, self.processes, strict=True):
            orders.put(0)
            process.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=["resnet8@8", "resnet8@16", "resnet8@32", "resnet18@32"])
    parser.add_argument("--method", default="simclr")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each sample, about")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compiled", action="store_true", help="compile the training steps")
    arguments = parser.parse_args()
    print(about_this_machine(2))
    rows = []
    for net in arguments.nets:
        pools = [
            Pool(count, 2 // count, arguments.method, net, arguments.batch, arguments.compiled) for count in (1, 2)
        ]
        for pool in pools:
            pool.train(4)
        steps = max(2, 2 * round(arguments.seconds / (pools[0].train(4) / 4) / 2))
        seconds = [[pool.train(steps) for pool in pools] for _ in range(arguments.rounds)]
        for pool in pools:
            pool.stop()
        one, two = (sorted(column)[len(column) // 2] for column in zip(*seconds, strict=True))
        ratio = sorted(a / b for a, b in seconds)[len(seconds) // 2]
        images = steps * arguments.batch
        rows.append([net, images / one, images / two, ratio])
    print_table(
        f"{arguments.method}, batch {arguments.batch}: source images a second, two cores",
        ["", "1 trial x 2 threads", "2 trials x 1 thread", "ratio"],
        rows,
    )


if __name__ == "__main__":
    main()
