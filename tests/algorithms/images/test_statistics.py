"""Mean and deviation of images."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from algorithms.images.statistics import measure


@given(st.integers(1, 16), st.integers(1, 9), st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_statistics_are_those_of_all_pixels_however_the_images_come(channels: int, count: int, seed: int, part: int):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, channels, 3, 3), dtype=np.uint8)
    found = measure(torch.from_numpy(pixels).split(part))
    values = pixels.transpose(1, 0, 2, 3).reshape(channels, -1) / 255
    assert found.channels == channels
    np.testing.assert_allclose(found.mean, values.mean(1), atol=6e-5)
    np.testing.assert_allclose(found.std, values.std(1), atol=6e-5)
    assert found == measure([torch.from_numpy(pixels)])


def test_a_constant_channel_is_divided_by_one():
    found = measure([torch.full((2, 1, 4, 4), 51, dtype=torch.uint8)])
    assert found == ((0.2,), (1.0,))


def test_no_images_have_no_statistics():
    with pytest.raises(ValueError, match="no images"):
        measure([])
