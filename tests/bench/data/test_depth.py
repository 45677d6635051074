"""What is black and what is white in images of more than 8 bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.depth import scale_of, shown


def scale(low: list[float], high: list[float], whole: bool) -> tuple[list[list[float]], str]:
    found, told = scale_of(np.array([[low, high]]), np.array([whole]))
    return found.tolist(), told


WHITE = [(3, 255), (255, 255), (256, 1023), (4000, 4095), (4096, 16383), (65535, 65535), (2**20, 2**21 - 1)]


@pytest.mark.parametrize(("brightest", "white"), WHITE)
def test_whole_numbers_are_shown_by_the_bits_that_hold_the_brightest(brightest: int, white: int):
    found, told = scale([0.0, 0.0], [1.0, float(brightest)], whole=True)
    assert found == [[0.0, 0.0], [float(white)] * 2]
    assert told == f"values are up to {brightest:,}: 0 is taken as black and {white:,} as white"


RANGES = [(0.1, 0.9, (0, 1)), (0.0, 200.0, (0, 255)), (-1.0, 1.0, (-1, 1)), (300.0, 900.0, (300, 900))]


@pytest.mark.parametrize(("low", "high", "expected"), RANGES)
def test_fractions_are_shown_by_their_range_in_each_channel(low: float, high: float, expected: tuple[float, float]):
    found, told = scale([low, 0.0], [high, 1.0], whole=False)
    assert [row[0] for row in found] == list(expected)
    assert [row[1] for row in found] == [0.0, 1.0]
    assert "is taken as black" in told


def test_whole_numbers_below_zero_are_shown_by_their_range():
    assert scale([-1000.0], [3000.0], whole=True)[0] == [[-1000.0], [3000.0]]


def test_one_hot_pixel_does_not_make_all_others_black():
    values = np.stack([np.full((500, 1), -5.0), np.full((500, 1), 5.0)], 1)
    values[7, 1] = 1e6
    found, _ = scale_of(values, np.zeros(500, dtype=bool))
    assert found.tolist() == [[-5.0], [5.0]]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4), st.integers(1, 3))
def test_the_least_is_black_and_the_greatest_white_of_one_image(numbers: list[float], channels: int):
    values = np.array(numbers, dtype=np.float32).reshape(2, 2, 1).repeat(channels, 2)
    seen = np.array([[values.min()] * channels, [values.max()] * channels], dtype=np.float64)
    found, _ = scale_of(seen[None], np.array([False]))
    made = shown(values, found)
    assert made.dtype == np.uint8
    inside = ((values - found[0]) / np.where(found[1] > found[0], found[1] - found[0], 1) * 255).clip(0, 255)
    assert np.abs(made - inside).max() <= 0.6
