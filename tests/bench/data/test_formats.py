"""Every format of the same picture, beside the truth that made it."""

import functools
import io
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

from bench.data import formats
from bench.data.decoding import Picture, channels_of, decode, why_unreadable
from bench.data.depth import scale_of

SIDE = 32
COLOURS = np.zeros((SIDE, SIDE, 3), np.uint8)
COLOURS[:16, :16], COLOURS[:16, 16:], COLOURS[16:, :16], COLOURS[16:, 16:] = (
    *((220, 30, 30), (30, 200, 40)),
    *((40, 50, 210), (240, 230, 60)),
)
"""Another colour in each quarter, so that no turn and no flip leaves it as it is."""
GREY = np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1))
GREY[:16] = 255 - GREY[:16]
BITS = np.where(GREY > 127, 255, 0).astype(np.uint8)


def stored(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def tiff(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def numpy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def deep_png(array: np.ndarray) -> bytes:
    """A PNG of 16 bits, [H, W, C], which Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return formats.PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def shown(content: bytes, size: int | None = None, fit: str = "crop") -> np.ndarray:
    """What a data set of this image alone shows: [H, W, C]."""
    made = seen(content, size, fit)
    assert made.pixels is not None
    return made.pixels


def seen(content: bytes | Path, size: int | None = None, fit: str = "crop") -> Picture:
    channels = channels_of(content)
    made = decode(content, size, fit=fit, channels=channels)
    if made.values is None:
        return made
    assert made.pixels is None
    scale, _ = scale_of(made.values[None], np.array([made.whole]))
    return decode(content, size, fit=fit, channels=channels, scale=scale)


rgb = Image.fromarray(COLOURS)
lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
dark = Image.new("RGB", (SIDE, SIDE))
smooth = {"quality": 95, "subsampling": 0}
opaque = np.full((SIDE, SIDE, 1), 65535, np.uint16)
wide, wide_grey = COLOURS.astype(np.uint16) * 257, (GREY.astype(np.uint16) * 257)[..., None]
first = [dark]
CASES: dict[str, tuple[bytes, np.ndarray, int]] = {
    "png": (stored(rgb, "PNG"), COLOURS, 0),
    "jpeg": (stored(rgb, "JPEG", **smooth), COLOURS, 14),
    "progressive": (stored(rgb, "JPEG", progressive=True, **smooth), COLOURS, 14),
    "webp": (stored(rgb, "WEBP", lossless=True), COLOURS, 0),
    "bmp": (stored(rgb, "BMP"), COLOURS, 0),
    "ppm": (stored(rgb, "PPM"), COLOURS, 0),
    "jpeg 2000": (stored(rgb, "JPEG2000"), COLOURS, 6),
    "cmyk jpeg": (stored(rgb.convert("CMYK"), "JPEG", **smooth), COLOURS, 20),
    "cmyk tiff": (stored(rgb.convert("CMYK"), "TIFF"), COLOURS, 4),
    "ycbcr tiff": (stored(rgb.convert("YCbCr"), "TIFF"), COLOURS, 6),
    "lab tiff": (stored(ImageCms.applyTransform(rgb, lab), "TIFF"), COLOURS, 20),
    "palette png": (stored(rgb.quantize(16), "PNG"), COLOURS, 6),
    "gif": (stored(rgb.quantize(16), "GIF"), COLOURS, 6),
    "lzw tiff": (stored(rgb, "TIFF", compression="tiff_lzw"), COLOURS, 0),
    "jpeg in tiff": (stored(rgb, "TIFF", compression="jpeg", quality=95), COLOURS, 30),
    "animated gif": (stored(rgb.quantize(16), "GIF", save_all=True, append_images=first), COLOURS, 6),
    "animated webp": (stored(rgb, "WEBP", save_all=True, append_images=first, lossless=True), COLOURS, 0),
    "animated png": (stored(rgb, "PNG", save_all=True, append_images=first), COLOURS, 0),
    "pages of tiff": (stored(rgb, "TIFF", save_all=True, append_images=first), COLOURS, 0),
    "mpo": (stored(rgb, "MPO", save_all=True, append_images=first, **smooth), COLOURS, 14),
    "grey png": (stored(GREY, "PNG"), GREY, 0),
    "grey jpeg": (stored(GREY, "JPEG", quality=95), GREY, 8),
    "grey with alpha": (stored(np.dstack([GREY, np.full_like(GREY, 255)]), "PNG"), GREY, 0),
    "bits png": (stored(Image.fromarray(BITS).convert("1"), "PNG"), BITS, 0),
    "bits tiff": (stored(Image.fromarray(BITS).convert("1"), "TIFF", compression="group4"), BITS, 0),
    "16 bits png": (deep_png(wide_grey), GREY, 1),
    "16 bits tiff": (tiff(wide_grey[..., 0]), GREY, 1),
    "16 bits big-endian": (tiff(wide_grey[..., 0], byteorder=">"), GREY, 1),
    "16 bits pgm": (b"P5\n32 32\n65535\n" + wide_grey.astype(">u2").tobytes(), GREY, 1),
    "12 of 16 bits": (tiff(GREY.astype(np.uint16) * 16), GREY, 1),
    "12 of 16 bits, colour png": (deep_png(COLOURS.astype(np.uint16) * 16), COLOURS, 1),
    "12 of 16 bits, colour tiff": (tiff(COLOURS.astype(np.uint16) * 16, photometric="rgb"), COLOURS, 1),
    "fractions from 0 to 1": (tiff((GREY / 255).astype(np.float32)), GREY, 1),
    "fractions from 0 to 255": (numpy(GREY.astype(np.float64)), GREY, 1),
    "half precision": (numpy((GREY / 255).astype(np.float16)), GREY, 1),
    "signed": (tiff(GREY.astype(np.int16) - 128), GREY, 1),
    "colours of 16 bits png": (deep_png(wide), COLOURS, 1),
    "colours of 16 bits with alpha": (deep_png(np.dstack([wide, opaque])), COLOURS, 1),
    "grey of 16 bits with alpha": (deep_png(np.dstack([wide_grey, opaque])), GREY, 1),
    "colours of 16 bits tiff": (tiff(wide, photometric="rgb"), COLOURS, 1),
    "colours of 16 bits in planes": (
        tiff(wide.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"),
        COLOURS,
        1,
    ),
    "numpy colours": (numpy(COLOURS), COLOURS, 0),
    "numpy channels first": (numpy(COLOURS.transpose(2, 0, 1).copy()), COLOURS, 0),
    "numpy in Fortran's order": (numpy(np.asfortranarray(COLOURS)), COLOURS, 0),
    "numpy grey": (numpy(GREY), GREY, 0),
    "numpy bool": (numpy(BITS > 0), BITS, 0),
    "numpy 16 bits": (numpy(wide), COLOURS, 1),
}
if features.check("avif"):
    CASES["avif"] = (stored(rgb, "AVIF", quality=100, subsampling="4:4:4"), COLOURS, 20)


@pytest.mark.parametrize("case", CASES)
def test_a_picture_is_what_a_person_would_see(case: str, tmp_path: Path):
    content, truth, tolerance = CASES[case]
    truth = truth[..., None] if truth.ndim == 2 else truth
    file = tmp_path / "misnamed.jpg"
    file.write_bytes(content)
    assert channels_of(content) == channels_of(file) == truth.shape[2]
    for found in (shown(content), seen(file).pixels):
        assert found is not None
        assert found.shape == truth.shape
        assert np.abs(found.astype(int) - truth).max() <= tolerance


UNDO: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: functools.partial(np.rot90, k=1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: functools.partial(np.rot90, k=-1),
}
"""How a camera that was held so stores what is upright."""


@pytest.mark.parametrize("orientation", UNDO)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "deep TIFF"])
def test_a_photograph_is_turned_the_way_its_camera_was_held(kind: str, orientation: int):
    array = np.ascontiguousarray(UNDO[orientation](COLOURS))
    exif = Image.Exif()
    exif[274] = orientation
    options = {"JPEG": smooth, "WEBP": {"lossless": True}}.get(kind, {})
    if kind == "deep TIFF":
        content = tiff(array.astype(np.uint16) * 257, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    elif kind == "TIFF":
        content = stored(array, "TIFF", tiffinfo={274: orientation})
    else:
        content = stored(array, kind, exif=exif, **options)
    assert np.abs(shown(content).astype(int) - COLOURS).max() <= 14


@given(st.integers(2, 16), st.sampled_from(["u1", "u2", "f4"]), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_bands_are_read_in_their_order_from_tiff_and_numpy(channels: int, kind: str, planes: bool, seed: int):
    bands = np.random.default_rng(seed).integers(0, 256, (SIDE, 20, channels)).astype(np.uint8)
    bands[0, 0] = 255  # so that the range is known
    array = bands.astype(kind) * (257 if kind == "u2" else 1)
    moved = array.transpose(2, 0, 1).copy() if planes else array
    layout = {"planarconfig": "separate" if planes else "contig", "photometric": "minisblack"}
    for content in (tiff(moved, **layout), tiff(moved, compression="zlib", **layout), numpy(moved)):
        assert channels_of(content) == channels
        made = seen(content)
        assert made.pixels is not None
        assert np.abs(made.pixels.astype(int) - bands).max() <= 1
        if kind == "u1":
            assert made.values is None


def test_what_is_transparent_in_16_bits_shows_white():
    alpha = np.zeros((SIDE, SIDE, 1), np.uint16)
    alpha[8:24, 8:24] = 65535
    found = shown(deep_png(np.dstack([wide, alpha])))
    assert (found[:8] == 255).all()
    assert np.abs(found[8:24, 8:24].astype(int) - COLOURS[8:24, 8:24]).max() <= 1


def test_hidden_colours_of_16_bits_say_nothing_of_the_range():
    hidden = COLOURS.astype(np.uint16) * 16
    alpha = np.full((SIDE, SIDE, 1), 65535, np.uint16)
    hidden[0], alpha[0] = 65535, 0
    values = decode(deep_png(np.dstack([hidden, alpha])), None, channels=3).values
    assert values is not None
    assert values.max() <= 4095


ARRAYS = [((8, 8, 8), "f4"), ((17, 17, 17), "u1"), ((4,), "u1"), ((2, 8, 8, 3), "u1"), ((8, 8), "c8"), ((8, 8), "U3")]


@pytest.mark.parametrize(("shape", "kind"), ARRAYS)
def test_an_array_that_is_no_picture_is_refused_in_words(shape: tuple[int, ...], kind: str):
    content = numpy(np.zeros(shape, kind))
    for read in (channels_of, lambda content: decode(content, None, channels=1)):
        with pytest.raises(ValueError, match=r"it is an array"):
            read(content)


def test_an_array_of_objects_runs_no_code(tmp_path: Path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    file = io.BytesIO()
    np.save(file, np.array([[Bomb()]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="array of object"):
        decode(file.getvalue(), None, channels=1)
    assert not (tmp_path / "ran").exists()


def test_a_header_that_claims_a_huge_array_takes_no_memory():
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<u1", "fortran_order": False, "shape": (10**6, 10**6)})
    with pytest.raises(Image.DecompressionBombError):
        decode(header.getvalue(), None, channels=1)
    short = io.BytesIO()
    np.lib.format.write_array_header_1_0(short, {"descr": "<f8", "fortran_order": False, "shape": (9000, 9000)})
    with pytest.raises(ValueError, match="ends too early"):
        decode(short.getvalue() + bytes(100), None, channels=1)


def test_values_that_are_no_numbers_are_refused_in_words():
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="no numbers"):
            decode(numpy(np.array([[0.0, bad]] * 8)), None, channels=1)


def told(read: Callable[[Any], object], content: object) -> str:
    """What is said where it cannot be read."""
    try:
        read(content)
    except Exception as error:  # a reader may raise anything
        return why_unreadable(error) or "nothing\nis said"
    return ""


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_image_that_is_cut_off_is_read_or_told_in_words(case: str, share: float):
    content = CASES[case][0]
    cut = content[: int(len(content) * share)]
    channels = 3 if CASES[case][1].ndim == 3 else 1
    scale = np.array([[0.0] * channels, [1.0] * channels])
    for read in (channels_of, lambda stored: decode(stored, 16, channels=channels, scale=scale)):
        assert "\n" not in told(read, cut)


@given(st.binary(max_size=200), st.sampled_from([b"", formats.NUMPY, b"II*\0", b"MM\0*", formats.PNG, b"\xff\xd8\xff"]))
def test_any_bytes_are_read_or_told_in_words(content: bytes, beginning: bytes):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x")
        file.write_bytes(beginning + content)
        for read in (channels_of, lambda stored: decode(stored, 16, channels=1)):
            assert "\n" not in told(read, file)


def test_suffixes_name_what_is_read_here_and_what_is_not():
    assert {".jpg", ".jfif", ".jpe", ".png", ".tif", ".npy", ".webp"} <= formats.SUFFIXES
    assert (".avif" in formats.SUFFIXES) == features.check("avif")
    assert not formats.SUFFIXES & formats.KNOWN_UNREADABLE
    assert {".eps", ".ico", ".psd"} <= formats.KNOWN_UNREADABLE
