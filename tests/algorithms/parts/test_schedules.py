"""What changes over a training."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from algorithms.parts.schedules import cosine_to_one, early_phase


@given(steps=st.integers(1, 10**6), share=st.floats(1e-6, 1))
def test_an_early_phase_has_a_hundred_steps_but_at_most_a_tenth_or_its_share(steps: int, share: float):
    asked, lasts = share * steps, early_phase(share, steps) * steps
    assert lasts >= asked
    if asked >= min(100, steps / 10):  # a long training, or a long phase: as it was asked for
        assert lasts == pytest.approx(asked, rel=1e-12)
    else:
        assert lasts == pytest.approx(min(100, steps / 10))
    assert early_phase(0.0, steps) == 0.0


@given(st.floats(0, 0.9999), st.floats(0, 1))
def test_momentum_rises_to_one_on_half_a_cosine(momentum, progress):
    found = cosine_to_one(torch.tensor(momentum), torch.tensor(progress)).item()
    assert found == pytest.approx(1 - (1 - momentum) * (math.cos(math.pi * progress) + 1) / 2, abs=1e-6)
    assert momentum - 1e-6 <= found <= 1


def test_momentum_is_the_given_one_at_the_start_and_one_at_the_end():
    assert cosine_to_one(torch.tensor(0.99), torch.tensor(0.0)).item() == pytest.approx(0.99)
    assert cosine_to_one(torch.tensor(0.99), torch.tensor(1.0)).item() == 1
