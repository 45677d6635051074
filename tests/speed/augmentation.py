"""Two SimCLR views of an image: ours, lightly's transform in a DataLoader, and kornia, in one process, in turn.

python tests/speed/augmentation.py [--size 32] [--batch 256] [--threads 1] [--rounds 5] [--blur 0.5]
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parents[2]))

import kornia.augmentation as K
import torch
from lightly.transforms import SimCLRTransform
from peers import loader
from timing import about_this_machine, interleave, medians, print_table, ratios

from algorithms.images.augment import augment
from algorithms.images.statistics import IMAGENET
from algorithms.images.store import pack
from algorithms.images.view import View
from algorithms.training.process import keep_freed_memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32, help="side of images and views, px")
    parser.add_argument("--batch", type=int, default=256, help="images; views are twice as many")
    parser.add_argument("--batches", type=int, default=8, help="batches a round")
    parser.add_argument("--threads", type=int, default=1, help="of ours and kornia; lightly has 2 workers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--blur", type=float, default=0.0, help="probability")
    parser.add_argument("--no-compile", action="store_true")
    arguments = parser.parse_args()
    size, batch, count = arguments.size, arguments.batch, arguments.batches
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as training does; here for all contenders
    print(about_this_machine(arguments.threads))
    images = torch.randint(0, 256, (batch * count, 3, size, size), dtype=torch.uint8)
    pixels = pack(images)
    index = torch.arange(len(images)).split(batch)
    normaliser = IMAGENET.on("cpu")
    views = [View(size, jitter=(0.4, 0.4, 0.4, 0.1), blur=arguments.blur)] * 2
    compiled = torch.compile(augment, fullgraph=True, dynamic=False)
    batched = torch.nn.Sequential(
        K.RandomResizedCrop((size, size), (0.08, 1.0), (3 / 4, 4 / 3)),
        K.RandomHorizontalFlip(),
        K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        K.RandomGrayscale(p=0.2),
        *([K.RandomGaussianBlur((23, 23), (0.1, 2.0), p=arguments.blur)] if arguments.blur else []),
        K.Normalize(*map(torch.tensor, IMAGENET)),
    )
    transform = SimCLRTransform(size, cj_strength=0.5, gaussian_blur=arguments.blur)
    loaders = {workers: loader(images, transform, batch, workers) for workers in (2, 0)}

    def through(function):
        return lambda: [function(part) for part in index]

    contenders = {
        "lightly, DataLoader 2 workers": lambda: [None for _ in loaders[2]],
        "lightly, DataLoader 0 workers": lambda: [None for _ in loaders[0]],
        "kornia (one order a batch)": through(lambda i: batched(torch.cat([images[i] / 255] * 2))),
        "ours, eager": through(lambda i: augment(pixels[i], views, normaliser)),
        "ours, compiled": through(lambda i: compiled(pixels[i], views, normaliser)),
    }
    if arguments.no_compile:
        del contenders["ours, compiled"]
    seconds = interleave(contenders, arguments.rounds)
    made = 2 * batch * count
    two, none = (seconds[f"lightly, DataLoader {workers} workers"] for workers in (2, 0))
    rows = []
    for name, samples in seconds.items():
        wall, cpu = medians(samples)
        rows.append([name, made / wall, ratios(two, samples)[0], made / cpu, ratios(none, samples)[1]])
    print_table(
        f"Views of {size} px, {2 * batch} a batch, blur {arguments.blur}",
        ["", "views/s", "x 2 workers", "views/CPU-s", "x 0 workers"],
        rows,
    )


if __name__ == "__main__":
    main()
