"""One image becomes pixels."""

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2.functional import center_crop, resize

from bench.data.decoding import decode
from tests.bench.data.builders import encoded, picture, stored
from tests.bench.data.test_formats import deep_png


def test_a_grey_image_has_one_channel_and_among_colours_three_equal_ones(tmp_path):
    grey = picture(0)[:, :, 0]
    assert (stored(tmp_path, encoded(grey), ".png") == grey[:, :, None]).all()
    among = decode(encoded(grey), None, channels=3).pixels
    assert (among == np.repeat(grey[:, :, None], 3, 2)).all()


def test_a_16_bit_image_keeps_its_brightness(tmp_path):
    grey = picture(0)[:, :, 0]
    assert (stored(tmp_path, encoded(grey.astype(np.uint16) * 257), ".png") == grey[:, :, None]).all()


@pytest.mark.parametrize("channels", [1, 4])
def test_an_image_of_other_channels_than_the_others_is_refused_in_words(channels):
    with pytest.raises(ValueError, match=rf"it has 3 channels, and others have {channels}"):
        decode(encoded(picture(0)), None, channels=channels)


FITTING = [(60, 30), (30, 60), (40, 40), (16, 9), (100, 3)]


@pytest.mark.parametrize(("width", "height"), FITTING)
def test_a_crop_is_pillows_own_of_the_central_square(width, height):
    """To the last bit, so that data sets of ordinary images stay what they were."""
    array = picture(1, width, height)
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    expected = Image.fromarray(array).resize((16, 16), Image.Resampling.BILINEAR, box=box)
    made = decode(encoded(array), 16, fit="crop", channels=3)
    assert (made.pixels == np.asarray(expected)).all()
    assert made.lost == pytest.approx(1 - side / max(width, height))


@pytest.mark.parametrize(("width", "height"), FITTING)
def test_squashing_keeps_all_of_a_picture(width, height):
    array = picture(2, width, height)
    expected = Image.fromarray(array).resize((16, 16), Image.Resampling.BILINEAR)
    made = decode(encoded(array), 16, fit="squash", channels=3)
    assert (made.pixels == np.asarray(expected)).all()
    assert made.lost == 0


@pytest.mark.parametrize(("width", "height"), FITTING)
@pytest.mark.parametrize("deep", [False, True])
def test_padding_puts_all_of_a_picture_on_black_in_its_own_shape(width, height, deep):
    array = picture(3, width, height) // 2 + 100  # nothing of it is black
    to = (max(1, round(16 * width / max(width, height))), max(1, round(16 * height / max(width, height))))
    left, top = (16 - to[0]) // 2, (16 - to[1]) // 2
    expected = np.zeros((16, 16, 3), np.uint8)
    expected[top : top + to[1], left : left + to[0]] = np.asarray(
        Image.fromarray(array).resize(to, Image.Resampling.BILINEAR)
    )
    scale = np.array([[0.0] * 3, [65535.0] * 3])
    content = deep_png(array.astype(np.uint16) * 257) if deep else encoded(array)
    made = decode(content, 16, fit="pad", channels=3, scale=scale if deep else None)
    assert made.pixels is not None
    assert np.abs(made.pixels.astype(int) - expected).max() <= (1 if deep else 0)
    assert made.lost == 0


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
