"""Grey textures as class folders of PNG files, to see what a search of augmentations finds:

    python -m tests.bench.data.grey_textures FOLDER

Eight classes of stripes under noise: straight or diagonal, coarse or fine, faint or strong. Turns by a quarter and
flips change no class. A change of contrast does, as does one of scale, so that strong jitter and small crops hurt.
Where the stripes lie, to which side they lean, and how bright an image is tell nothing.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32
"""px"""
ANGLES = {"straight": 0.0, "diagonal": 45.0}
"""Of the stripes to the nearest axis, degrees."""
CYCLES = {"coarse": 3.0, "fine": 6.0}
"""In an image's side."""
AMPLITUDES = {"faint": 25.0, "strong": 60.0}
"""Grey levels."""
CLASSES = tuple("-".join(names) for names in itertools.product(ANGLES, CYCLES, AMPLITUDES))
NOISE = 20.0
"""Standard deviation, grey levels."""


def texture(name: str, random: np.random.Generator) -> np.ndarray:
    """An image uint8 [SIDE, SIDE] of a class."""
    kind, scale, contrast = name.split("-")
    angle = np.deg2rad(ANGLES[kind] + random.uniform(-8, 8))
    cycles = CYCLES[scale] * random.uniform(0.9, 1.1)
    amplitude = AMPLITUDES[contrast] * random.uniform(0.85, 1.15)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    along = np.cos(angle) * columns + np.sin(angle) * rows
    wave = amplitude * np.sin(2 * np.pi * (cycles * along + random.uniform()))
    grey = random.uniform(100, 156) + wave + random.normal(0, NOISE, (SIDE, SIDE))
    image = np.clip(grey, 0, 255).astype(np.uint8)
    image = np.rot90(image, random.integers(4))
    return np.ascontiguousarray(image[:, ::-1] if random.random() < 0.5 else image)


def write(folder: Path, *, train: int = 200, test: int = 50, seed: int = 0) -> Path:
    """So many images of each class in `folder`/train and `folder`/test, the same for the same seed."""
    random = np.random.default_rng(seed)
    for split, count in (("train", train), ("test", test)):
        for name in CLASSES:
            place = folder / split / name
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                Image.fromarray(texture(name, random)).save(place / f"{number:04d}.png")
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=200, help="images of each class (default 200)")
    parser.add_argument("--test", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    made = write(options.folder, train=options.train, test=options.test, seed=options.seed)
    print(f"{len(CLASSES) * (options.train + options.test):,} images of {len(CLASSES)} classes in {made}")
