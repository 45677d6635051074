"""The formats of images: which there are, and what each stores, as layers that Pillow can turn and resize."""

import contextlib
import functools
import io
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, features
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from bench.data import arrays, tiff

with contextlib.suppress(ImportError):  # an extra of the user's own
    import_module("pillow_heif").register_heif_opener()

Image.init()
OPTIONAL = {"JPEG2000": features.check("jpg_2000"), "AVIF": features.check("avif"), "HEIF": "HEIF" in Image.OPEN}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", *(kind for kind, known in OPTIONAL.items() if known))
"""Those that Pillow reads here; it would run Ghostscript for some others."""
SUFFIXES = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS} | {".mpo", ".npy"}
"""Of the names of files that are images."""
KNOWN_UNREADABLE = {
    *(".heic", ".heif", ".hif", ".avif", ".avifs", ".jp2", ".j2k", ".jxl", ".svg", ".eps", ".psd", ".pdf", ".tga"),
    *(".ico", ".exr", ".hdr", ".dds", ".dcm", ".nii", ".npz", ".mat", ".h5", ".fits", ".czi", ".nd2", ".lif", ".svs"),
    *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2", ".pef", ".srw"),
} - SUFFIXES
"""Of the names of files that hold images which are not read."""
PNG = b"\x89PNG\r\n\x1a\n"
AS_IT_IS = "RGBA"
"""The four bytes of a pixel, as they come."""
DEEP_PNG = {2: "RGB;16L", 4: AS_IT_IS, 6: "RGBA;16L"}
"""Types of colour of a PNG of which Pillow reads the high bytes only (RGB, grey with alpha, RGB with alpha), and the
layout by which it gives the others."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation that EXIF knows."""

Array = NDArray[Any]


class Raster(NamedTuple):
    """What is stored, upright."""

    kind: str
    """The format, such as JPEG-75."""
    layers: tuple[Image.Image, ...]
    """One image in mode L or RGB; or a channel each, in mode L, or in mode F where values are deeper than 8 bits."""
    whole: bool = True
    """Whether values deeper than 8 bits are whole numbers."""
    alpha: Image.Image | None = None
    """In mode F, 0 to 1, where values are deeper than 8 bits and something may be transparent."""


def read(stored: bytes | Path) -> Raster:
    """Raises whatever the reader of its format raises on a damaged or huge image, and ValueError."""
    with _file(stored) as file:
        beginning = _beginning(file)
        if beginning.startswith(arrays.BEGINNING):
            return _layers("NPY", arrays.array_of(file))
        if beginning.startswith(tiff.BEGINNINGS):
            found = tiff.tags_of(file)
            if found is not None:
                samples = tiff.samples_of(file, found)
                return _layers("TIFF", samples, found.orientation, found.alpha, found.multiplied)
            file.seek(0)
        with Image.open(file, formats=FORMATS) as image:
            kind, tiles = _kind(image), image.tile
            image.load()  # before its orientation is asked, which may stand behind the pixels
            alpha = False
            if _is_deep_png(beginning):
                array = _deep_png(file, image, beginning[25])
                alpha = array.shape[2] in (2, 4)
            elif (white := _white_of_pnm(image, tiles)) > 255:
                array = _deep_pnm(file, image, tiles[0][2], white)
            elif image.mode == "F" or image.mode.startswith("I"):
                array = np.asarray(image)[..., None]
                if image.mode == "I":
                    array = array.clip(0).astype(np.uint32)  # greys of 16 bits, which Pillow may read so
            else:
                return _of_pillow(kind, image)
            if not alpha and (hidden := image.info.get("transparency")) is not None:
                seen = (array != np.array(hidden)).any(2, keepdims=True)
                array, alpha = np.concatenate([array, np.where(seen, 65535, 0)], 2).astype(np.uint16), True
            return _layers(kind, array, _orientation(image), alpha)


def channels_of(stored: bytes | Path) -> int:
    """1 of grey, 3 of colours, else the number of bands: from the beginning of the file alone."""
    with _file(stored) as file:
        beginning = _beginning(file)
        if beginning.startswith(arrays.BEGINNING):
            return arrays.header_of(file).channels
        if beginning.startswith(tiff.BEGINNINGS):
            found = tiff.tags_of(file)
            if found is not None:
                return found.samples - found.alpha
            file.seek(0)
        with Image.open(file, formats=FORMATS) as image:
            if _is_deep_png(beginning):
                return 1 if beginning[25] == 4 else 3  # of grey with alpha Pillow says that it has colours
            return 1 if image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I") else 3


def _file(stored: bytes | Path) -> BinaryIO:
    return io.BytesIO(stored) if isinstance(stored, bytes) else stored.open("rb")


def _beginning(file: BinaryIO) -> bytes:
    beginning = file.read(32)
    file.seek(0)
    return beginning


def _kind(file: ImageFile) -> str:
    if not isinstance(file, JpegImageFile):
        return str(file.format)
    quality = _qualities().get(tuple(file.quantization.get(0, ())))
    return f"JPEG-{quality}" if quality else "JPEG"


@functools.cache
def _qualities() -> dict[tuple[int, ...], int]:
    """The quality in libjpeg's terms by the luminance quantization table."""
    tables = {}
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
        file.seek(0)
        tables[tuple(JpegImageFile(file).quantization[0])] = quality
    return tables


def _orientation(image: Image.Image) -> int:
    """How the camera was held. Of EXIF only this is read: its other tags may be broken."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1)) if "exif" in image.info else 1
    except Exception:  # a reader may raise anything on damaged tags
        return 1


def _of_pillow(kind: str, image: Image.Image) -> Raster:
    """What Pillow reads of 8 bits, over white where it is transparent."""
    turn = TURNS.get(_orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if grey else "RGB"
    return Raster(kind, (image if image.mode == mode else image.convert(mode),))


def _layers(kind: str, array: Array, orientation: int = 1, alpha: bool = False, multiplied: bool = False) -> Raster:
    """Of an array [H, W, C], whose last channel may be `alpha`, by which others may be `multiplied`."""
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    turn = TURNS.get(orientation)
    mode = np.uint8 if array.dtype == np.uint8 and not alpha else np.float32

    def layer(channel: Array) -> Image.Image:
        made = Image.fromarray(np.ascontiguousarray(channel))
        return made if turn is None else made.transpose(turn)

    whole = array.dtype.kind in "iu"
    opacity = None
    if alpha:
        opaque = np.float32(np.iinfo(array.dtype).max if whole else 1)
        opacity = (array[..., -1] / opaque).clip(0, 1).astype(np.float32)
        array = array[..., :-1]
    with np.errstate(over="ignore"):  # too large a number is told below
        colours = [array[..., channel].astype(mode) for channel in range(array.shape[2])]
    if multiplied and opacity is not None:
        colours = [colour / np.where(opacity > 0, opacity, 1) for colour in colours]
    if mode == np.float32 and not all(np.isfinite(each).all() for each in (*colours, opacity) if each is not None):
        raise ValueError("it holds values that are no numbers")
    return Raster(kind, tuple(map(layer, colours)), whole, None if opacity is None else layer(opacity))


def _is_deep_png(beginning: bytes) -> bool:
    return beginning.startswith(PNG) and len(beginning) > 25 and beginning[24] == 16 and beginning[25] in DEEP_PNG


def _deep_png(file: BinaryIO, loaded: ImageFile, colours: int) -> Array:
    """All 16 bits, [H, W, C]: Pillow has `loaded` the high bytes, and once more it takes the low ones for high."""
    file.seek(0)
    with Image.open(file, formats=("PNG",)) as image:
        assert isinstance(image, ImageFile)
        image.tile = [(*tile[:3], DEEP_PNG[colours]) for tile in image.tile]  # type: ignore[misc]
        image.load()
        again = np.asarray(image).astype(np.uint16)
    if DEEP_PNG[colours] == AS_IT_IS:
        return again[..., ::2] * 256 + again[..., 1::2]
    return np.asarray(loaded).astype(np.uint16) * 256 + again


def _white_of_pnm(image: ImageFile, tiles: Sequence[Any]) -> int:
    """The value that is white in a PNM in colour, of which Pillow reads 8 bits only; of all else 0."""
    if image.format != "PPM" or image.mode != "RGB" or tiles[0][0] != "ppm":
        return 0
    return int(tiles[0][3][1])


def _deep_pnm(file: BinaryIO, image: ImageFile, offset: int, white: int) -> Array:
    """All bits, [H, W, C], with 65535 as white."""
    file.seek(offset)
    content = file.read(image.width * image.height * 6)
    if len(content) < image.width * image.height * 6:
        raise ValueError("it ends too early")
    values = np.frombuffer(content, ">u2").reshape(image.height, image.width, 3)
    return np.rint(values * (65535 / white)).clip(0, 65535).astype(np.uint16)
