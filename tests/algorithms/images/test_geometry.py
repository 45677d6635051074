"""Crops, resizing, shifts and flips against torchvision's, for fixed choices."""

import torchvision.transforms.v2.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.algorithms.images.pictures import assert_same, choose, images, made

few = settings(max_examples=25)


@st.composite
def crops(draw):
    side, size = draw(st.integers(2, 40)), draw(st.integers(2, 40))
    height, width = draw(st.integers(1, side)), draw(st.integers(1, side))
    return (
        side,
        size,
        draw(st.integers(0, side - height)),
        draw(st.integers(0, side - width)),
        height,
        width,
        draw(st.booleans()),
    )


@few
@given(crops())
def test_crop_resize_and_flip_equal_torchvisions(crop):
    side, size, top, left, height, width, flip = crop
    pictures = images(3, side)
    choice = choose(
        3,
        side,
        top=float(top),
        left=float(left),
        height=float(height),
        width=float(width),
        flip=flip,
    )
    ours = made(pictures, choice, size)

    def theirs(picture):
        picture = F.resized_crop(picture, top, left, height, width, [size, size], antialias=True)
        return F.horizontal_flip(picture) if flip else picture

    assert_same(ours, theirs(pictures / 255))
    for mine, picture in zip(ours, pictures, strict=True):
        grey_levels = F.pil_to_tensor(theirs(Image.fromarray(picture.permute(1, 2, 0).numpy())))
        assert (mine * 255 - grey_levels).abs().max() <= 1 + 1e-3  # PIL rounds after each of two passes


@few
@given(
    side=st.integers(6, 20),
    down=st.integers(-4, 4),
    right=st.integers(-4, 4),
    flip=st.booleans(),
)
def test_translate_is_a_crop_of_the_reflect_padded_image(side, down, right, flip):
    pictures = images(3, side)
    choice = choose(3, side, top=float(down), left=float(right), flip=flip)
    padded = F.pad(pictures / 255, [4, 4, 4, 4], padding_mode="reflect")
    moved = padded[:, :, 4 + down : 4 + down + side, 4 + right : 4 + right + side]
    assert_same(made(pictures, choice, side, translate=True), moved.flip(-1) if flip else moved)
