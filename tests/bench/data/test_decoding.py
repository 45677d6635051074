"""One image becomes pixels."""

import io
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms.v2.functional import center_crop, resize

from bench.data.decoding import decode
from tests.bench.data.builders import encoded, picture, stored
from tests.bench.data.pictures import four_colours, npy, picture_of


def test_a_grey_image_gets_three_equal_channels(tmp_path):
    grey = picture(0)[:, :, 0]
    assert (stored(tmp_path, encoded(grey), ".png") == grey[:, :, None]).all()


def test_a_16_bit_image_keeps_its_brightness(tmp_path):
    grey = picture(0)[:, :, 0]
    assert (stored(tmp_path, encoded(grey.astype(np.uint16) * 257), ".png") == grey[:, :, None]).all()


def test_what_is_transparent_shows_white_and_not_the_colour_that_it_hides(tmp_path):
    array = picture(0)
    alpha = np.full((16, 16), 255, np.uint8)
    alpha[:8] = 0
    alpha[8] = 51
    shown = array.copy()
    shown[:8] = 255
    shown[8] = np.round(array[8] * 0.2 + 255 * 0.8)
    made = stored(tmp_path / "rgba", encoded(np.dstack([array, alpha])), ".png")
    assert np.abs(made.astype(int) - shown).max() <= 1

    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(0, (0, 0, 16, 8))
    for kind in ("PNG", "GIF"):
        file = io.BytesIO()
        palette.save(file, kind, transparency=0)
        made = stored(tmp_path / kind, file.getvalue(), f".{kind.lower()}")
        assert (made[:8] == 255).all()
        assert (made[8:] == [0, 0, 255]).all()

    file = io.BytesIO()
    grey = Image.fromarray(np.repeat([[0], [90]], 8, 0).astype(np.uint8).repeat(16, 1))
    grey.save(file, "PNG", transparency=0)
    made = stored(tmp_path / "grey", file.getvalue(), ".png")
    assert (made[:8] == 255).all()
    assert (made[8:] == 90).all()


def test_palettes_and_opaque_alpha_become_colours(tmp_path):
    array = picture(0)
    opaque = np.dstack([array, np.full((16, 16), 255, np.uint8)])
    assert (stored(tmp_path / "alpha", encoded(opaque), ".png") == array).all()
    palette = Image.fromarray(array).quantize(256)
    file = io.BytesIO()
    palette.save(file, "PNG")
    expected = np.asarray(palette.convert("RGB"))
    assert (stored(tmp_path / "palette", file.getvalue(), ".png") == expected).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_the_way_its_camera_was_held(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(0), exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert (stored(tmp_path, content, ".png") == expected).all()


@pytest.mark.parametrize(
    "broken",
    [(256, 2, 4, b"abc\0"), (256, 9, 1, struct.pack("<i", -5)), (256, 11, 1, struct.pack("<f", 1.5))],
    ids=["width as text", "negative width", "width as a fraction"],
)
def test_a_broken_exif_tag_does_not_cost_the_image(tmp_path, broken):
    turn = (274, 3, 1, struct.pack("<HH", 6, 0))  # clockwise by 90 degrees
    entries = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in (turn, broken))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    array = picture(0)
    assert (stored(tmp_path, encoded(array, exif=exif), ".png") == np.rot90(array, -1)).all()


def test_exif_that_cannot_be_read_at_all_does_not_cost_the_image(tmp_path):
    array = picture(0)
    assert (stored(tmp_path, encoded(array, exif=b"Exif\0\0II*\0\xff\xff"), ".png") == array).all()


@pytest.mark.parametrize(("width", "height"), [(32, 32), (40, 24), (17, 31), (8, 8)])
def test_resizing_takes_the_central_square_as_torchvision_does(tmp_path, width, height):
    array = picture(3, width, height)
    made = stored(tmp_path, encoded(array), ".png", image_size=16)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    square = center_crop(resize(tensor, [16], antialias=True), [16])
    difference = made.astype(int) - square.permute(1, 2, 0).numpy()
    # torchvision rounds the longer side to a whole number of pixels before it crops: half a pixel at most.
    assert np.abs(difference).max() <= (1 if width == height else 14)
    assert np.abs(difference).mean() < 2.5


def test_of_a_long_thin_image_the_middle_is_kept(tmp_path):
    thin = np.zeros((1, 60_000, 3), np.uint8)
    thin[:, 29_999:30_001] = 255
    assert (stored(tmp_path, encoded(thin), ".png", image_size=64) == 255).all()


SHAPES = st.tuples(st.integers(1, 60), st.integers(1, 60))


def drawn(kind: str, shape: tuple[int, int], channels: int) -> np.ndarray:
    """Smooth, [height, width, channels], 0 to 255."""
    rows, columns = np.linspace(0, 1, shape[0])[:, None, None], np.linspace(0, 1, shape[1])[None, :, None]
    waves = np.cos(3 * rows + np.arange(channels)) * np.sin(4 * columns + np.arange(channels))
    return np.rint((waves + 1) * 127.5).astype(kind)


@given(SHAPES, st.integers(1, 40), st.sampled_from(["crop", "squash", "pad"]), st.booleans())
def test_colours_are_cropped_and_resized_as_pillow_does_in_one_step(shape, size, fit, grey):
    array = drawn("u1", shape, 1 if grey else 3)
    image = Image.fromarray(array[..., 0] if grey else array)
    height, width = shape
    to, box = (size, size), (0, 0, width, height)
    if fit == "crop":
        side = min(shape)
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    elif fit == "pad":
        to = (max(1, round(width * size / max(shape))), max(1, round(height * size / max(shape))))
    truth = Image.new("RGB", (size, size))
    part = image.convert("RGB").resize(to, Image.Resampling.BILINEAR, box=box)
    truth.paste(part, ((size - to[0]) // 2, (size - to[1]) // 2))
    found = decode(encoded(np.asarray(image)), size, fit=fit, channels=3)
    assert (found.pixels == np.asarray(truth)).all()
    assert found.lost == pytest.approx(1 - min(shape) / max(shape) if fit == "crop" else 0)
    if grey:
        single = decode(encoded(np.asarray(image)), size, fit=fit, channels=1)
        assert (single.pixels == found.pixels[..., :1]).all()


@given(SHAPES, st.integers(8, 40), st.sampled_from(["crop", "squash", "pad"]), st.sampled_from(["u2", "f4", "i2"]))
def test_deep_colours_are_fitted_as_those_of_8_bits(shape, size, fit, kind):
    array = drawn("u1", shape, 3)
    scale = np.array([[0.0] * 3, [255.0] * 3])
    truth = decode(encoded(array), size, fit=fit, channels=3)
    # Each axis in turn is rounded to 8 bits where they are 8.
    deep = drawn(kind, (max(17, shape[0]), max(17, shape[1])), 5)
    shallow = drawn("u1", deep.shape[:2], 5)
    wide = np.repeat(scale[:, :1], 5, 1)
    found = decode(npy(deep), size, fit=fit, channels=5, scale=wide).pixels.astype(int)
    assert np.abs(found - decode(npy(shallow), size, fit=fit, channels=5).pixels).max() <= 1
    if min(shape) > 3:
        again = decode(npy(array.astype(kind)), size, fit=fit, channels=3, scale=scale)
        assert np.abs(again.pixels.astype(int) - truth.pixels).max() <= 1
        assert again.lost == truth.lost


def test_padding_is_black_and_the_picture_is_in_the_middle():
    wide = np.full((16, 32, 3), 200, np.uint8)
    made = picture_of(encoded(wide), size=32, fit="pad")
    assert (made[8:24] == 200).all()
    assert not made[:8].any()
    assert not made[24:].any()
    deep = picture_of(npy(wide.astype(np.float32)), size=32, fit="pad", scale=np.array([[-100.0] * 3, [300.0] * 3]))
    assert (deep[8:24] == 191).all()
    assert not deep[:8].any()


def test_a_picture_of_other_channels_is_refused_and_grey_becomes_three():
    bands = npy(np.zeros((20, 20, 5), np.uint8))
    with pytest.raises(ValueError, match="5 channels, and others have 4"):
        decode(bands, None, channels=4)
    with pytest.raises(ValueError, match="3 channels, and others have 1"):
        decode(encoded(four_colours()), None, channels=1)
    grey = npy(np.arange(400, dtype=np.uint16).reshape(20, 20))
    assert decode(grey, None, channels=3).values.tolist() == [[0] * 3, [399] * 3]


def test_a_hot_pixel_is_one_pixel_when_it_is_resized():
    array = np.full((64, 64), 10.0, np.float32)
    array[5, 5] = 1e30
    made = picture_of(npy(array), 1, size=16, scale=np.array([[0.0], [20.0]]))
    assert (made != 128).sum() <= 9
    assert made.max() <= 148


def test_a_picture_larger_than_any_is_not_made_by_fitting():
    thin = encoded(np.zeros((1, 60_000, 3), np.uint8))
    for fit in ("crop", "pad", "squash"):
        assert decode(thin, 64, fit=fit, channels=3).pixels.shape == (64, 64, 3)
