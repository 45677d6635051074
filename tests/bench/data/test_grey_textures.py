"""The grey textures: what tells their classes, and what does not."""

from itertools import product

import numpy as np
import pytest

from bench.data import images
from tests.bench.data import grey_textures
from tests.bench.data.grey_textures import AMPLITUDES, CLASSES, CYCLES, SIDE, texture


def read(image: np.ndarray) -> str:
    """The class by the strongest wave: its direction, its length and its height."""
    spectrum = np.abs(np.fft.fft2(image - image.mean(), (4 * SIDE, 4 * SIDE)))
    down, across = np.unravel_index(spectrum.argmax(), spectrum.shape)
    across, down = (min(place, 4 * SIDE - place) / 4 for place in (across, down))
    amplitude = 2 * spectrum.max() / SIDE**2
    lean = np.rad2deg(np.arctan2(min(across, down), max(across, down)))
    kind = "diagonal" if lean > 22.5 else "straight"
    scale = "fine" if np.hypot(across, down) > np.mean(list(CYCLES.values())) else "coarse"
    return f"{kind}-{scale}-{'strong' if amplitude > np.mean(list(AMPLITUDES.values())) else 'faint'}"


def share(change) -> float:
    """Of images that are read as what they are after a change."""
    random = np.random.default_rng(0)
    drawn = [(name, texture(name, random)) for name in CLASSES for _ in range(30)]
    return float(np.mean([read(change(image.astype(float))) == name for name, image in drawn]))


@pytest.mark.parametrize(("turns", "mirrored"), [*product(range(4), (False, True))])
def test_turns_and_flips_change_no_class(turns, mirrored):
    assert share(lambda image: np.rot90(image[:, ::-1] if mirrored else image, turns)) > 0.95


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.mean() + 0.4 * (image - image.mean()),
        lambda image: image.mean() + 2.5 * (image - image.mean()),
        lambda image: np.kron(image[: SIDE // 2, : SIDE // 2], np.ones((2, 2))),
    ],
    ids=["less contrast", "more contrast", "a quarter of it enlarged"],
)
def test_contrast_and_scale_change_classes(change):
    assert share(change) < 0.6


def test_they_are_read_as_a_data_set_of_eight_balanced_classes_the_same_for_the_same_seed(tmp_path):
    made = [images.load(str(grey_textures.write(tmp_path / name, train=4, test=2)), image_size=None) for name in "ab"]
    assert made[0].fingerprint == made[1].fingerprint
    assert sorted(made[0].classes) == sorted(CLASSES)
    assert made[0].train.labels.bincount().tolist() == [4] * 8
    assert made[0].test.labels.bincount().tolist() == [2] * 8
