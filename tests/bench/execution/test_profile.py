"""Where a step's time goes, as the command prints it."""

import re

import pytest
import torch

from algorithms.images.statistics import IMAGENET
from bench.data import saved
from bench.data.dataset import Dataset, Split
from bench.execution import profile
from bench.execution.settings import TrainingSettings
from bench.search.space import load


def test_bytes_moved_are_those_that_operators_read_and_write_views_left_out():
    a, b = torch.ones(1000), torch.ones(1000)
    with profile.BytesMoved() as moved:
        a.view(10, 100).t()
        total = a + b
        torch.stack([total, a])
    assert moved.total == 3 * 4000 + 4 * 4000


@pytest.mark.parametrize("method", ["simclr", "byol"])
def test_a_profile_tells_every_phase_and_what_they_add_up_to(tmp_path, monkeypatch, method):
    monkeypatch.setattr(profile, "SECONDS", 0.05)
    monkeypatch.setattr(profile.Training, "prepare", lambda training: None)
    pixels = torch.randint(0, 256, (100, 3, 8, 8), dtype=torch.uint8)
    split = Split.of(pixels, torch.arange(100) % 2)
    saved.save(Dataset("tiny", split, split, ("a", "b"), "0" * 64, IMAGENET, "", ()), tmp_path)
    settings = TrainingSettings("tiny", "0" * 64, 8, encoder="resnet8", device="cpu", data=str(tmp_path))
    text = profile.profile(method, load(method, 32).defaults, settings)
    numbers = {
        name: float(found[1])
        for name in ("augmentation", "forward", "backward", "optimiser", "EMA and rest", "together", "unbroken")
        if (found := re.search(rf"^{name} +([\d.]+)", text, re.MULTILINE))
    }
    assert all(value > 0 for value in numbers.values())
    phases = [value for name, value in numbers.items() if name not in ("together", "unbroken")]
    assert len(phases) == 5
    assert sum(phases) == pytest.approx(numbers["together"], abs=0.05)
    assert re.search(r"^an epoch +3 steps, [\d.]+ s", text, re.MULTILINE)
    assert re.search(r"^an evaluation +[\d.]+ s$", text, re.MULTILINE)
    assert re.search(r"TFLOP/s, [\d]+% of a float32 matrix product's", text)
