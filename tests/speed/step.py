"""A whole training step, ours and lightly's example loop, in one process, in turn.

    python tests/speed/step.py [--compiled] [--methods simclr byol ...] [--nets resnet8@8 resnet8@16 resnet8@32 ...]

Both train the same encoder on the same images, with the same batch size, numbers and sizes of views, widths of heads.
lightly has a DataLoader with 2 workers beside the process that trains; ours has the one process, or with `--trials 2`
the two that a run has on two cores: trials of one thread each. lightly's examples compute in float32; ours in bfloat16
where the device does so in hardware, unless `--float32` is given.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from peers import METHODS, LightlyLoop
from threads import Pool, make_trainer
from timing import about_this_machine, interleave, medians, print_table, ratios

from algorithms.encoders import build_encoder
from algorithms.parts import precision
from algorithms.training.process import keep_freed_memory
from bench.search import space as search_space


def lightly_loop(name: str, net: str, batch: int, steps: int, workers: int, device: str) -> LightlyLoop:
    """lightly's example loop for what `make_trainer` trains."""
    trainer, images = make_trainer(name, net, batch, compiled=False, device=device, steps=steps)
    encoder, size = net.split("@")
    network = build_encoder(encoder, int(size))
    small = [view.size for view in trainer.method.views if view.size < int(size)]
    widths = {
        key: min(value, 8 * network.width) if key.endswith(("_hidden", "_width")) else value
        for key, value in search_space.load(name, 32).defaults.items()
    }
    crops = (small[0] if small else int(size) // 2, len(small))
    return LightlyLoop(name, images[: batch * steps], network, crops, widths, batch, workers, device)


def our_loop(name: str, net: str, batch: int, steps: int, compiled: bool, device: str) -> Callable[[], float]:
    """A function that trains `steps` steps."""
    trainer, images = make_trainer(name, net, batch, compiled, device, steps)

    def epoch() -> float:
        order = torch.randperm(len(images), device=device)
        loss = sum(trainer.step(part) for part in order.split(batch)[:steps]).item()
        assert not trainer.notice, trainer.notice
        return loss

    return epoch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--nets", nargs="+", default=["resnet8@8", "resnet8@16", "resnet8@32", "resnet18@32"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4, help="steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the process that trains; with --trials of lightly's")
    parser.add_argument("--workers", type=int, default=2, help="of lightly's DataLoader")
    parser.add_argument("--compiled", action="store_true", help="also ours with compiled steps")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    precisions = parser.add_mutually_exclusive_group()
    precisions.add_argument("--float32", action="store_true", help="ours in float32 too")
    precisions.add_argument("--trials", type=int, default=1, help="of ours at once on a CPU; they share the steps")
    arguments = parser.parse_args()
    if arguments.float32:
        precision.computes_bfloat16 = lambda device: False
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as a worker does; here for both
    print(about_this_machine(arguments.threads), f"ours: {precision.device_name(torch.device(arguments.device))}")
    rows = []
    batch, steps = arguments.batch, arguments.steps
    for net in arguments.nets:
        for name in arguments.methods:
            peer = lightly_loop(name, net, batch, steps, arguments.workers, arguments.device)
            compiled = {"ours": False} | ({"ours compiled": True} if arguments.compiled else {})
            pools = {}
            if arguments.trials > 1:
                pools = {way: Pool(arguments.trials, 1, name, net, batch, flag) for way, flag in compiled.items()}
                ways = {way: partial(pool.train, steps) for way, pool in pools.items()}
            else:
                ways = {
                    way: our_loop(name, net, batch, steps, flag, arguments.device) for way, flag in compiled.items()
                }
            seconds = interleave({"lightly": peer.epoch} | ways, arguments.rounds)
            for pool in pools.values():
                pool.stop()
            images = batch * steps
            for way in ways:
                (peer_wall, peer_cpu), (wall, cpu) = medians(seconds["lightly"]), medians(seconds[way])
                wall_ratio, cpu_ratio = ratios(seconds["lightly"], seconds[way])
                speeds = [images / peer_wall, images / wall, wall_ratio, images / peer_cpu, images / cpu, cpu_ratio]
                rows.append([f"{name} {net}" + way.removeprefix("ours"), *speeds])
                print(rows[-1], file=sys.stderr, flush=True)
    print_table(
        f"Training, batch {batch}, {arguments.device}: source images a second, wall and CPU",
        ["", "lightly", "ours", "ratio", "lightly/CPU-s", "ours/CPU-s", "ratio"],
        rows,
    )


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
