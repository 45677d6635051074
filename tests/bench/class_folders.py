"""For tests: images on disk, in a folder for each class."""

from pathlib import Path

import numpy as np
from PIL import Image


def class_folders(root: Path, sides: list[int]) -> Path:
    """Two classes of random images of the given sides, 40 of each side and class."""
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number, side in enumerate(sides * 40):
            Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(
                root / name / f"{number}.png"
            )
    return root
