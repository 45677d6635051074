"""What is black and what is white in images of more than 8 bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.depth import scale_of, shown


def extremes(*images: tuple[float, float], channels: int = 1) -> np.ndarray:
    return np.repeat(np.array(images, dtype=np.float64)[..., None], channels, 2)


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=20))
def test_whole_numbers_are_from_0_to_the_depth_that_holds_all(brightest):
    scale, told = scale_of(extremes(*[(0, value) for value in brightest]), np.ones(len(brightest), bool))
    white = next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if 2**bits > max(brightest))
    assert scale.tolist() == [[0], [white]]
    assert f"{white:,} as white" in told
    assert "\n" not in told


def test_all_channels_have_one_depth_as_their_ratios_are_the_colour():
    values = np.array([[[0, 0], [4000, 100]]], dtype=np.float64)
    assert scale_of(values, np.ones(1, bool))[0].tolist() == [[0, 0], [4095, 4095]]


def test_fractions_within_0_and_1_or_255_are_taken_so_by_each_channel():
    values = np.array([[[0.2, 3.0, -7.0], [0.7, 99.0, 5.0]], [[0.1, 0.0, -2.0], [0.4, 5.0, 9.0]]])
    scale, told = scale_of(values, np.zeros(2, bool))
    assert scale.tolist() == [[0, 0, -7], [1, 255, 9]]
    assert "channel 3: -7 is taken as black and 9 as white" in told


@pytest.mark.parametrize(("least", "whole"), [(-50, True), (0.5, False)])
def test_one_number_below_0_or_a_fraction_makes_a_scale_by_range(least, whole):
    scale, _ = scale_of(extremes((1, 4000), (least, 3000)), np.array([True, whole]))
    assert scale.tolist() == [[least], [4000]]


def test_signed_numbers_of_which_none_is_below_0_are_as_unsigned_ones():
    assert scale_of(extremes((3, 4000), (5, 900)), np.ones(2, bool))[0].tolist() == [[0], [4095]]


@pytest.mark.parametrize("images", [5, 40, 99, 100, 400])
def test_one_hot_pixel_does_not_make_all_else_black(images):
    values = extremes(*[(-1.0, 100.0 + number % 2) for number in range(images)])
    values[images // 2, 1] = 1e6
    values[images // 3, 0] = -1e6
    assert scale_of(values, np.zeros(images, bool))[0].tolist() == [[-1], [101]]


@pytest.mark.parametrize("images", [1, 2, 3, 50])
def test_of_few_images_like_each_other_nothing_is_cut(images):
    values = extremes(*[(-1.0 - number, 300.0 + number) for number in range(images)])
    values[0, 1] = 900  # one is brighter than all others, and no hot pixel
    scale, _ = scale_of(values, np.zeros(images, bool))
    assert scale.tolist() == [[-images], [900]]


@given(st.floats(-1e30, 1e30), st.floats(0, 1e30), st.integers(1, 4))
def test_black_is_0_and_white_is_255_and_order_is_kept(black, span, channels):
    scale = np.array([[black] * channels, [black + span] * channels])
    steps = np.linspace(black, black + span, 16, dtype=np.float32)[:, None, None].repeat(channels, 2)
    levels = shown(steps, scale)
    assert levels.shape == (16, 1, channels)
    assert (np.diff(levels.astype(int), axis=0) >= 0).all()
    if np.float32(black + span) - np.float32(black) > 1e-3 * abs(np.float32(black)):
        assert (levels[0] == 0).all()
        assert (levels[-1] == 255).all()


def test_a_channel_that_is_constant_is_divided_by_nothing():
    assert (shown(np.full((2, 2, 1), 7, np.float32), np.array([[7.0], [7.0]])) == 0).all()
