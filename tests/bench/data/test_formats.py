"""What each format stores is the picture that was put into it."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, UnidentifiedImageError

from bench.data import formats
from bench.data.decoding import channels_of, decode, why_unreadable
from tests.bench.data.pictures import HALF, SIDE, chunk, four_colours, npy, picture_of, png16, ramps, retagged, saved

COLOURS, GREY = four_colours(), ramps()
THREE = np.repeat(GREY[..., None], 3, 2)
RGB, L = Image.fromarray(COLOURS), Image.fromarray(GREY)
DEEP, DEEP_GREY = COLOURS.astype(np.uint16) * 257, GREY.astype(np.uint16) * 257
FULL = np.full((SIDE, SIDE, 1), 65535, np.uint16)
BLACK = Image.new("RGB", RGB.size)
CLEAR = {"quality": 95, "subsampling": 0}
BIT = L.point(lambda value: 255 * (value > 127)).convert("1")
LAB = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
HAS_AVIF = "AVIF" in formats.FORMATS
WITH_SPACE = b"\n# a remark\n"


def pnm(kind: bytes, array: np.ndarray, white: int) -> bytes:
    header = b"%s\n%d %d\n%d\n" % (kind + WITH_SPACE, array.shape[1], array.shape[0], white)
    return header + array.astype(">u2" if white > 255 else "u1").tobytes()


def bits(image: Image.Image) -> np.ndarray:
    return np.repeat(np.asarray(image).astype(np.uint8)[..., None] * 255, 3, 2)


PALETTE = RGB.quantize(16)
OF_COLOURS = {  # how it is stored: the bytes, and how far pixels may be off
    "PNG": (saved(RGB, "PNG"), 0),
    "JPEG": (saved(RGB, "JPEG", **CLEAR), 14),
    "progressive JPEG": (saved(RGB, "JPEG", progressive=True, **CLEAR), 14),
    "WebP": (saved(RGB, "WEBP", lossless=True), 0),
    "BMP": (saved(RGB, "BMP"), 0),
    "PPM": (saved(RGB, "PPM"), 0),
    "PPM of 12 bits": (pnm(b"P6", COLOURS.astype(np.uint16) * 16, 255 * 16), 1),
    "PPM of 16 bits": (pnm(b"P6", DEEP, 65535), 0),
    "JPEG of CMYK": (saved(RGB.convert("CMYK"), "JPEG", **CLEAR), 20),
    "TIFF of CMYK": (saved(RGB.convert("CMYK"), "TIFF"), 4),
    "TIFF of YCbCr": (saved(RGB.convert("YCbCr"), "TIFF"), 6),
    "TIFF of Lab": (saved(ImageCms.applyTransform(RGB, LAB), "TIFF"), 20),
    "PNG with a palette": (saved(PALETTE, "PNG"), 6),
    "GIF": (saved(PALETTE, "GIF"), 6),
    "PNG of 16 bits": (png16(DEEP), 0),
    "PNG of 16 bits and alpha": (png16(np.dstack([DEEP, FULL])), 0),
    "animated GIF": (saved(PALETTE, "GIF", save_all=True, append_images=[BLACK]), 6),
    "animated WebP": (saved(RGB, "WEBP", save_all=True, append_images=[BLACK], lossless=True), 0),
    "animated PNG": (saved(RGB, "PNG", save_all=True, append_images=[BLACK]), 0),
    "TIFF of two pages": (saved(RGB, "TIFF", save_all=True, append_images=[BLACK]), 0),
    "MPO": (saved(RGB, "MPO", save_all=True, append_images=[BLACK], **CLEAR), 14),
    "TIFF by LZW": (saved(RGB, "TIFF", compression="tiff_lzw"), 0),
    "TIFF by JPEG": (saved(RGB, "TIFF", compression="jpeg", quality=95), 30),
    "TIFF by Zstandard": (saved(RGB, "TIFF", compression="zstd"), 0),
    "JPEG 2000": (saved(RGB, "JPEG2000"), 6),
    **({"AVIF": (saved(RGB, "AVIF", quality=95, subsampling="4:4:4"), 20)} if HAS_AVIF else {}),
    "NumPy": (npy(COLOURS), 0),
    "NumPy, channels first": (npy(COLOURS.transpose(2, 0, 1)), 0),
    "NumPy by columns": (npy(np.asfortranarray(COLOURS)), 0),
    "NumPy of 16 bits": (npy(DEEP), 0),
}
OF_GREY = {
    "PNG": (saved(L, "PNG"), THREE, 0),
    "JPEG": (saved(L, "JPEG", quality=95), THREE, 8),
    "PGM": (saved(L, "PPM"), THREE, 0),
    "PNG with alpha": (saved(Image.merge("LA", (L, Image.new("L", L.size, 255))), "PNG"), THREE, 0),
    "PNG of 1 bit": (saved(BIT, "PNG"), bits(BIT), 0),
    "TIFF of 1 bit": (saved(BIT, "TIFF", compression="group4"), bits(BIT), 0),
    "PNG of 16 bits": (png16(DEEP_GREY[..., None]), THREE, 0),
    "PNG of 16 bits and alpha": (png16(np.dstack([DEEP_GREY, FULL])), THREE, 0),
    "PGM of 16 bits": (pnm(b"P5", DEEP_GREY, 65535), THREE, 0),
    "PGM of 12 bits": (pnm(b"P5", GREY.astype(np.uint16) * 16, 255 * 16), THREE, 1),
    "TIFF of 16 bits": (saved(Image.fromarray(DEEP_GREY), "TIFF"), THREE, 0),
    "TIFF of 16 bits, high byte first": (
        saved(Image.frombytes("I;16B", L.size, DEEP_GREY.astype(">u2").tobytes()), "TIFF"),
        THREE,
        0,
    ),
    "TIFF of 16 bits whose 0 is white": (
        retagged(saved(Image.fromarray(65535 - DEEP_GREY), "TIFF"), _262=0),
        THREE,
        0,
    ),
    "TIFF of 8 bits whose 0 is white": (retagged(saved(Image.fromarray(255 - GREY), "TIFF"), _262=0), THREE, 0),
    "NumPy": (npy(GREY), THREE, 0),
    "NumPy [1, H, W]": (npy(GREY[None]), THREE, 0),
    "NumPy of yes and no": (npy(GREY > 127), bits(BIT), 0),
}


@pytest.mark.parametrize(("content", "tolerance"), OF_COLOURS.values(), ids=OF_COLOURS)
def test_what_is_stored_in_colour_is_the_picture(content, tolerance):
    assert np.abs(picture_of(content) - COLOURS).max() <= tolerance
    assert channels_of(content) == 3


@pytest.mark.parametrize(("content", "truth", "tolerance"), OF_GREY.values(), ids=OF_GREY)
def test_what_is_stored_in_grey_is_the_picture_with_one_channel_or_three_equal_ones(content, truth, tolerance):
    assert np.abs(picture_of(content) - truth).max() <= tolerance
    assert (picture_of(content, 1) == picture_of(content)[..., :1]).all()
    assert channels_of(content) == 1


def test_a_jpeg_of_inverted_inks_as_photoshop_writes_it_has_its_colours():
    plain = saved(RGB.convert("CMYK"), "JPEG", **CLEAR)
    assert b"Adobe" in plain  # whose marker says that the inks are inverted
    assert np.abs(picture_of(plain) - COLOURS).max() <= 20


@pytest.mark.parametrize("wrong", ["x.png", "x.tif", "x.npy"])
def test_a_file_is_what_it_holds_and_not_what_it_is_called(tmp_path, wrong):
    for kind, (content, tolerance) in OF_COLOURS.items():
        (tmp_path / wrong).write_bytes(content)
        assert np.abs(picture_of(tmp_path / wrong) - COLOURS).max() <= tolerance, kind
        assert np.abs(picture_of((tmp_path / wrong).read_bytes) - COLOURS).max() <= tolerance, kind


UNDONE = {  # how a camera stores it, which each orientation says how to undo
    **{1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.swapaxes(0, 1)},
    **{6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: lambda a: np.rot90(a, -1)},
}


@pytest.mark.parametrize("orientation", UNDONE)
def test_a_picture_is_turned_upright_in_every_container_that_can_say_so(orientation):
    stored = np.ascontiguousarray(UNDONE[orientation](COLOURS))
    image, deep = Image.fromarray(stored), Image.fromarray(UNDONE[orientation](DEEP_GREY).copy())
    exif = Image.Exif()
    exif[274] = orientation
    told, tag = {"exif": exif.tobytes()}, {"tiffinfo": {274: orientation}}
    kinds = [("JPEG", CLEAR | told), ("PNG", told), ("WEBP", {"lossless": True} | told), ("TIFF", tag)]
    kinds += [("MPO", CLEAR | told)] + ([("AVIF", {"quality": 100, "subsampling": "4:4:4"} | told)] if HAS_AVIF else [])
    for kind, options in kinds:
        assert np.abs(picture_of(saved(image, kind, **options)) - COLOURS).max() <= 14, kind
    for kind, options in (("PNG", told), ("TIFF", tag)):
        assert (picture_of(saved(deep, kind, **options)) == THREE).all(), kind
    behind = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    assert (picture_of(png16(stored.astype(np.uint16) * 257, behind)) == COLOURS).all()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_colours_of_any_depth_keep_all_their_bits(bits):
    values = np.random.default_rng(0).integers(0, 2**bits, (12, 9, 3)).astype(np.uint16)
    scale = np.array([[0.0] * 3, [2.0**bits - 1] * 3])
    for content in (png16(values), npy(values), pnm(b"P6", values, 65535)):
        (found,) = [decode(content, None, channels=3, scale=scale)]
        assert (found.values == [values.min((0, 1)), values.max((0, 1))]).all()
        assert found.whole
        assert np.abs(found.pixels - values / (2**bits - 1) * 255).max() <= 0.5 + 1e-6
        assert decode(content, None, channels=3).pixels is None


def test_greys_in_16_bits_that_png_calls_transparent_show_white():
    values = DEEP_GREY[..., None]
    hidden = values[0, 5, 0]
    found = picture_of(png16(values, chunk(b"tRNS", struct.pack(">H", hidden))))
    assert (found == np.where(values == hidden, 255, THREE)).all()
    found = picture_of(png16(DEEP, chunk(b"tRNS", struct.pack(">HHH", *DEEP[0, 0].tolist()))))
    shown = COLOURS.copy()
    shown[:HALF, :HALF] = 255
    assert (found == shown).all()


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("size", [None, 8, 23])
def test_a_colour_that_is_hidden_comes_out_nowhere(deep, size):
    hidden = np.dstack([np.full_like(COLOURS, (0, 0, 255)), np.zeros((SIDE, SIDE, 1), np.uint8)])
    hidden[8:24, 8:24] = (255, 255, 255, 255)
    content = png16(hidden.astype(np.uint16) * 257) if deep else saved(Image.fromarray(hidden), "PNG")
    assert (picture_of(content, size=size) == 255).all()
    assert channels_of(content) == 3


def test_formats_are_named_by_suffix_where_they_are_read_and_else_counted():
    assert {".npy", ".jfif", ".jpe", ".jpg", ".tif", ".tiff", ".mpo", ".webp", ".ppm"} <= formats.SUFFIXES
    assert (".avif" in formats.SUFFIXES) == HAS_AVIF
    assert (".heic" in formats.SUFFIXES) == ("HEIF" in Image.OPEN)
    assert {".dcm", ".cr2", ".nef", ".dng", ".svg"} <= formats.KNOWN_UNREADABLE
    assert not formats.SUFFIXES & formats.KNOWN_UNREADABLE
    assert not {".eps", ".ps", ".pdf"} & formats.SUFFIXES  # which would start other programs
    with pytest.raises(UnidentifiedImageError):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\nshowpage\n", None, channels=3)


WHOLE = {**{kind: content for kind, (content, _) in OF_COLOURS.items()}, "grey TIFF": OF_GREY["TIFF of 16 bits"][0]}


def outcome(read, content: bytes) -> Exception | None:
    """What `read` raises."""
    try:
        read(content)
    except Exception as error:  # which may be any
        return error
    return None


@pytest.mark.parametrize("content", WHOLE.values(), ids=WHOLE)
@pytest.mark.filterwarnings("ignore")
def test_a_file_that_is_cut_is_told_in_a_line(content):
    for kept in (0, 1, 7, 20, 40, len(content) // 3):
        error = outcome(picture_of, content[:kept])
        assert error is not None, kept
        assert why_unreadable(error)
        assert "\n" not in why_unreadable(error)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=6))
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_gives_a_picture_or_an_error(kind, changes):
    content = bytearray(WHOLE[kind])
    for place, value in changes:
        content[place % min(len(content), 400)] = value  # mostly in what says how the pixels are stored
    for read in (channels_of, picture_of):
        error = outcome(read, bytes(content))
        assert not isinstance(error, MemoryError | AssertionError)
        assert error is None or "\n" not in why_unreadable(error)


def test_the_file_is_closed(tmp_path):
    for kind, (content, _) in OF_COLOURS.items():
        path = Path(tmp_path, "x")
        path.write_bytes(content)
        before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
        picture_of(path)
        channels_of(path)
        if before:
            assert len(list(Path("/proc/self/fd").iterdir())) <= before, kind


def test_nothing_that_is_stored_is_executed():
    file = io.BytesIO()
    np.save(file, np.array([[print, print]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="array of object"):
        decode(file.getvalue(), None, channels=3)
