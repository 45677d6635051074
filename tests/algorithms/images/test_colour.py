"""Colour operations against torchvision's, for fixed choices."""

from itertools import permutations

import torch
import torchvision.transforms.v2.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from algorithms.images.augment import render, unaugmented
from algorithms.images.colour import jitter_order
from algorithms.images.store import pack
from algorithms.images.view import SIGMA
from tests.algorithms.images.pictures import NORMALISER, assert_same, choose, images, jitter, made

few = settings(max_examples=25)
FACTOR = st.floats(0.0, 2.0)


@few
@given(FACTOR, FACTOR, FACTOR, st.floats(-0.5, 0.5), st.integers(0, 23))
def test_jitter_in_any_order_equals_torchvisions(brightness, contrast, saturation, hue, order):
    pictures = images(6, 9)
    theirs = pictures / 255
    for operation in jitter_order(order):
        if operation == 0:
            theirs = F.adjust_brightness(theirs, brightness)
        elif operation == 1:
            theirs = F.adjust_contrast(theirs, contrast)
        elif operation == 2:
            theirs = F.adjust_saturation(theirs, saturation)
        else:
            theirs = F.adjust_hue(theirs, hue)
    choice = choose(6, 9, **jitter(brightness, contrast, saturation, hue, order))
    assert_same(made(pictures, choice, 9), theirs)


def test_each_view_of_a_batch_is_jittered_in_its_own_order():
    pictures = images(24, 8)
    factors = {"brightness": 1.5, "contrast": 0.6, "saturation": 1.7, "hue": 0.2}
    together = made(pictures, choose(24, 8, **jitter(**factors, order=list(range(24)))), 8)
    for number in range(24):
        alone = made(pictures[number : number + 1], choose(1, 8, **jitter(**factors, order=number)), 8)
        assert_same(together[number : number + 1], alone)


def test_the_24_numbers_are_the_24_orders():
    assert sorted(tuple(jitter_order(number)) for number in range(24)) == sorted(permutations(range(4)))


def test_hue_leaves_every_grey_as_it_is():
    grey = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    assert_same(made(grey, choose(1, 16, **jitter(hue=0.3)), 16), grey / 255, 1e-6)


@few
@given(st.integers(2, 20), st.floats(1e-3, 2.0))
def test_blur_equals_torchvisions_with_the_widest_kernel(side, sigma):
    pictures = images(3, side)
    theirs = F.gaussian_blur(pictures / 255, [2 * side - 1] * 2, [sigma] * 2)
    assert_same(made(pictures, choose(3, side, blur=True, sigma=sigma), side), theirs)


def test_the_least_blur_leaves_an_image_as_it_is():
    for side in (1, 2, 33, 96):
        pictures = images(2, side)
        (blurred,) = render(pack(pictures), choose(2, side, blur=True, sigma=SIGMA[0] * side), side, NORMALISER)
        assert torch.equal(blurred, unaugmented(pack(pictures), NORMALISER))


def test_blur_grayscale_and_solarize_equal_torchvisions_where_they_are_on_and_do_nothing_elsewhere():
    pictures = images(7, 8)[1:]  # the first is flat
    on = [True, False, True, False, False, True]
    off = made(pictures, choose(6, 8), 8)
    assert_same(off, pictures / 255)
    rgb = pictures / 255
    for name, theirs in (
        ("blur", F.gaussian_blur(rgb, [15, 15], [1.3, 1.3])),
        ("grayscale", F.rgb_to_grayscale(rgb, num_output_channels=3)),
        ("solarize", F.solarize(rgb, 0.5)),
    ):
        ours = made(pictures, choose(6, 8, **{name: on}, sigma=1.3), 8)
        expected = torch.where(torch.tensor(on)[:, None, None, None], theirs, rgb)
        assert_same(ours, expected)
        assert (ours - off).flatten(1).abs().amax(1).gt(1e-3).tolist() == on


def test_solarize_inverts_the_grey_levels_that_it_inverts_in_pil():
    grey = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    ours = made(grey, choose(1, 16, solarize=True), 16)
    theirs = F.pil_to_tensor(F.solarize(Image.fromarray(grey[0].permute(1, 2, 0).numpy()), 128))
    assert_same(ours[0], theirs / 255)
