"""The compiled training step of every method beside the plain one: does it agree, what does it cost, what does it gain.

    python tests/speed/compiled.py [--methods byol ...] [--net resnet8@16] [--batch 128] [--cache FOLDER]

Every method is compiled twice, by two processes after each other that share a cache on disk: cold and warm. Both
train both ways from the same seed. `float32` (after 1 step) and `float64` (after 3) are the largest difference between
the two in any weight, buffer, average, queue or momentum, as a share of the largest number in that tensor. In float32
a single ReLU whose input is nearly 0 can put a percent between two trainings; in float64 nothing but a mistake can.
`step` is how many times faster the compiled step is, in the numbers that the device is used with; `graphs` counts those
made for three trainings with other searched values.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from timing import about_this_machine, interleave, print_table, ratios

from algorithms import METHODS, method_class
from algorithms.training.process import keep_freed_memory
from algorithms.training.trainer import Trainer
from bench.search import space as search_space


class Single(Trainer):
    """A training in float32 on every device."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.bfloat16 = False


class Double(Single):
    """A training in float64, of views that were augmented outside of the compiled step."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.method.double()
        self.rates, self.constant_rates = self.rates.double(), self.constant_rates.double()
        for group in self.optimizer.groups:
            group.momentum = [tensor.double() for tensor in group.momentum]
            group.square = [tensor.double() for tensor in group.square]

    def step(self, index):
        self.given = [view.double() for view in super().augmented(self.images.gather(index))]
        return super().step(index)

    def augmented(self, images):
        return self.given

    def batches(self):
        return ((index, images.double()) for index, images in super().batches())


def trainer(
    name: str, options: argparse.Namespace, compiled: bool, kind: type[Trainer] = Trainer, **changed
) -> Trainer:
    encoder, size = options.net.split("@")
    generator = torch.Generator().manual_seed(1)
    count = 64 * options.batch
    images = torch.randint(0, 256, (count, 3, int(size), int(size)), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator).to(options.device)
    return kind(
        method_class(name),
        images,
        search_space.load(name, 32).defaults | {"batch_size": options.batch} | changed,
        epochs=100,
        encoder=encoder,
        device=options.device,
        labels=labels if name == "supervised" else None,
        compiled=compiled,
    )


def train(made: Trainer, steps: int) -> None:
    """So many steps, each on images of its own."""
    torch.manual_seed(3)
    made.method.before_epoch(0, made.batches)
    for order in torch.arange(len(made.images), device=made.device).split(made.batch_size)[:steps]:
        made.step(order)


def tensors(state) -> dict[str, torch.Tensor]:
    """All tensors of a trainer's state, by name."""
    if isinstance(state, torch.Tensor):
        return {"": state.double()}
    parts = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return {f"{key}.{name}": tensor for key, part in parts for name, tensor in tensors(part).items()}


def deviation(first: Trainer, second: Trainer) -> tuple[float, str]:
    """The largest relative difference of two trainers, and where it is."""
    one, other = tensors(first.state_dict()), tensors(second.state_dict())
    # What is not much more than nothing is compared with a thousandth.
    return max(
        ((a - other[name]).abs().max().item() / max(1e-3, a.abs().max().item()), name) for name, a in one.items()
    )


def measure(name: str, options: argparse.Namespace) -> dict:
    from torch._dynamo.utils import counters

    keep_freed_memory()

    began = time.perf_counter()
    compiled = trainer(name, options, True)
    train(compiled, 1)
    first = time.perf_counter() - began
    if compiled.notice:
        return {"notice": compiled.notice}
    defaults = search_space.load(name, 32).defaults
    for factor in (0.9, 0.8):
        searched = ("learning_rate", "weight_decay", "temperature", "ema_momentum")
        train(trainer(name, options, True, **{key: factor * defaults[key] for key in searched if key in defaults}), 1)
    graphs = counters["stats"]["unique_graphs"]
    deviations = []
    for kind, steps in ((Double, 3), (Single, 1)):
        pair = [trainer(name, options, flag, kind) for flag in (False, True)]
        for made in pair:
            train(made, steps)
        deviations.append(deviation(*pair))
    plain, compiled = (trainer(name, options, flag) for flag in (False, True))
    for made in (plain, compiled):
        train(made, 1)
    index = torch.arange(options.batch, device=options.device)
    seconds = interleave(
        {"plain": lambda: plain.step(index).item(), "compiled": lambda: compiled.step(index).item()}, options.rounds
    )
    wall, cpu = ratios(seconds["plain"], seconds["compiled"])
    return {"first": first, "deviations": deviations, "graphs": graphs, "wall": wall, "cpu": cpu}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=[*METHODS, "supervised"])
    parser.add_argument("--net", default="resnet8@16")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cache", help="where compiled code is kept; default: a folder that is removed at the end")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.measure:
        print(json.dumps(measure(options.measure, options)))
        return
    print(about_this_machine(options.threads), f"{options.net}, batch {options.batch}, {options.device}")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": options.cache or temporary}
        for name in options.methods:
            command = [sys.executable, __file__, *sys.argv[1:], "--measure", name]
            found = []
            for _ in ("cold", "warm"):
                process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
                try:
                    found.append(json.loads(process.stdout.splitlines()[-1]))
                except (IndexError, ValueError):
                    found.append({"notice": (process.stderr.strip().splitlines() or ["it died"])[-1]})
            cold, warm = found
            notice = cold.get("notice") or warm.get("notice")
            if notice:
                rows.append([name, *"-------", notice[:160]])
            else:
                rows.append(
                    [name, *(f"{worst:.1e}" for worst, _ in warm["deviations"]), cold["first"], warm["first"],
                     warm["wall"], warm["cpu"], warm["graphs"], warm["deviations"][1][1]]
                )  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
    print_table(
        "The compiled step",
        [
            "",
            "float64",
            "float32",
            "cold s",
            "warm s",
            "step, wall",
            "step, CPU",
            "graphs",
            "float32 in",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
