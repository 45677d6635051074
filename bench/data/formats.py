"""The formats of images: which there are, and what each stores, as layers that Pillow can turn and resize."""

import contextlib
import functools
import io
import logging
import math
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, features
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from torchvision.io import ImageReadMode, decode_png

with contextlib.suppress(ImportError):  # an extra of the user's own
    import_module("pillow_heif").register_heif_opener()

Image.init()
OPTIONAL = [name for name, known in (("AVIF", features.check("avif")), ("HEIF", "HEIF" in Image.OPEN)) if known]
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", *OPTIONAL)
"""Those that Pillow reads here; it would run Ghostscript for some others."""
SUFFIXES = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS} | {".npy"}
"""Of the names of files that are images."""
KNOWN_UNREADABLE = {
    *(
        ".heic",
        ".heif",
        ".hif",
        ".avif",
        ".jxl",
        ".svg",
        ".eps",
        ".psd",
        ".pdf",
        ".ico",
        ".exr",
        ".hdr",
        ".dcm",
        ".nii",
    ),
    *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2", ".npz", ".mat", ".czi", ".svs", ".h5", ".nii"),
} - SUFFIXES
"""Of files that hold images, which are not read."""
MOST_CHANNELS = 16
NUMPY = b"\x93NUMPY"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG = b"\x89PNG\r\n\x1a\n"
GREY_WITH_ALPHA = 4
DEEP_PNG = (2, GREY_WITH_ALPHA, 6)
"""Types of colour of a PNG of which Pillow reads 8 bits of 16: RGB, grey with alpha, RGB with alpha."""
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

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it finds wrong it raises as well

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
    """In mode F, 0 to 1, where values are deeper than 8 bits and something is transparent."""


def read(stored: bytes | Path) -> Raster:
    """Raises whatever the reader of its format raises on a damaged or huge image, and ValueError."""
    with _file(stored) as file:
        beginning = file.read(32)
        file.seek(0)
        if beginning.startswith(NUMPY):
            return _layers("NPY", _numpy(file), 1)
        if beginning.startswith(TIFF) and (found := _tiff(file, load=True)) is not None:
            return _layers("TIFF", found.array, found.turn, found.alpha)
        file.seek(0)
        with Image.open(file, formats=FORMATS) as image:
            kind = _kind(image)
            if _is_deep_png(beginning):
                array = _deep_png(file, image)
                image.load()  # or what stands behind the pixels is not known
                return _layers(kind, array, _orientation(image), alpha=array.shape[2] in (2, 4))
            image.load()
            return _of_pillow(kind, image)


def channels_of(stored: bytes | Path) -> int:
    """1 of grey, 3 of colours, else the number of bands: from the beginning of the file alone."""
    with _file(stored) as file:
        beginning = file.read(32)
        file.seek(0)
        if beginning.startswith(NUMPY):
            return _numpy_shape(file)[1]
        if beginning.startswith(TIFF) and (found := _tiff(file, load=False)) is not None:
            return found.channels
        file.seek(0)
        with Image.open(file, formats=FORMATS) as image:
            if _is_deep_png(beginning):
                return 1 if beginning[25] == GREY_WITH_ALPHA else 3
            return 1 if image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I") else 3


def _file(stored: bytes | Path) -> BinaryIO:
    return io.BytesIO(stored) if isinstance(stored, bytes) else stored.open("rb")


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
    """What Pillow reads, over white where it is transparent."""
    turn = TURNS.get(_orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    if image.mode == "F" or image.mode.startswith("I"):
        return _layers(kind, np.asarray(image)[..., None], 1)
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return Raster(kind, (image.convert("L" if grey else "RGB"),))


def _layers(kind: str, array: Array, orientation: int, alpha: bool = False) -> Raster:
    """Of an array [H, W, C], whose last channel may be `alpha`."""
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    whole = array.dtype.kind in "iu"
    if not whole and not np.isfinite(array).all():
        raise ValueError("it holds values that are no numbers")
    turn = TURNS.get(orientation)

    def layer(channel: Array, mode: type[np.uint8 | np.float32]) -> Image.Image:
        made = Image.fromarray(np.ascontiguousarray(channel, dtype=mode))
        return made if turn is None else made.transpose(turn)

    mode: type[np.uint8 | np.float32] = np.uint8 if array.dtype == np.uint8 else np.float32
    colours = array[..., :-1] if alpha else array
    opacity = None
    if alpha:
        if array.dtype.kind != "u":
            raise ValueError("its alpha channel is of signed numbers or fractions")
        opacity = layer(array[..., -1] / np.float32(np.iinfo(array.dtype).max), np.float32)
        mode = np.float32
    return Raster(kind, tuple(layer(colours[..., c], mode) for c in range(colours.shape[2])), whole, opacity)


def _is_deep_png(beginning: bytes) -> bool:
    return beginning.startswith(PNG) and len(beginning) > 25 and beginning[24] == 16 and beginning[25] in DEEP_PNG


def _deep_png(file: BinaryIO, opened: Image.Image) -> Array:
    """All 16 bits, [H, W, C]; Pillow, which has `opened` it, has refused what is too large."""
    file.seek(0)
    content = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)
    found: Array = decode_png(content, ImageReadMode.UNCHANGED).permute(1, 2, 0).numpy()
    if found.shape[:2] != (opened.height, opened.width):
        raise ValueError("its size is not the one that it names")
    return found


# ---- NumPy ----


def _numpy_shape(file: BinaryIO) -> tuple[tuple[int, ...], int, np.dtype[Any], bool]:
    """(shape, channels, type, whether in Fortran's order) of the array that begins here. Raises ValueError for what is
    no image."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = header(file)
    if kind.kind not in "biuf" or kind.itemsize > 8:
        raise ValueError(f"it is an array of {kind}; whole numbers, fractions or bool are right")
    if len(shape) == 2:
        channels = 1
    elif len(shape) == 3 and shape[0] != shape[2] and min(shape[0], shape[2]) <= MOST_CHANNELS:
        channels = min(shape[0], shape[2])
    else:
        raise ValueError(
            f"it is an array {list(shape)}; [H, W], [H, W, C] or [C, H, W] is right, of up to {MOST_CHANNELS} channels"
        )
    _check_size(math.prod(shape) // max(1, channels))
    return shape, channels, kind, fortran


def _numpy(file: BinaryIO) -> Array:
    """[H, W, C]"""
    shape, channels, kind, fortran = _numpy_shape(file)
    count = math.prod(shape)
    content = file.read(count * kind.itemsize)
    if len(content) < count * kind.itemsize or not count:
        raise ValueError("it ends too early")
    array = np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")
    if len(shape) == 2:
        return array[..., None]
    return array if shape[2] == channels else array.transpose(1, 2, 0)


def _check_size(pixels: int) -> None:
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most:
        raise Image.DecompressionBombError(f"{pixels:,} pixels")


# ---- TIFF ----


class _Tiff(NamedTuple):
    channels: int
    array: Array
    """[H, W, channels, and alpha where there is one]; empty unless it was asked for."""
    turn: int
    alpha: bool


def _tiff(file: BinaryIO, load: bool) -> _Tiff | None:
    """The first page, where Pillow does not read it, or not all of its bits; else None. Raises what tifffile does."""
    with tifffile.TiffFile(file) as opened:
        page = opened.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        samples, bits = page.samplesperpixel, page.bitspersample
        photometric, kinds = page.photometric, tifffile.PHOTOMETRIC
        extra = page.extrasamples
        alpha = len(extra) == 1 and int(extra[0]) in (1, 2)
        colour = photometric == kinds.RGB and samples - len(extra) == 3
        plain = samples - alpha == (3 if colour else 1) and photometric != kinds.SEPARATED
        if samples == 1 or (bits <= 8 and (plain or photometric in (kinds.SEPARATED, kinds.YCBCR, 8, 9, 10))):
            return None  # 8 is CIELAB
        if page.dtype is None or page.dtype.kind not in "iuf":
            raise ValueError(f"it has {samples} samples of {bits} bits a pixel")
        alpha = alpha and plain and page.dtype.kind == "u"
        channels = samples - alpha
        if channels > MOST_CHANNELS:
            raise ValueError(f"it has {channels} channels; {MOST_CHANNELS} are the most")
        orientation = page.tags.get("Orientation")
        turn = int(orientation.value) if orientation is not None else 1
        if not load:
            return _Tiff(channels, np.empty(0), turn, alpha)
        _check_size(page.imagelength * page.imagewidth)
        size = file.seek(0, io.SEEK_END)
        if any(offset + count > size for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)):
            raise ValueError("it ends too early")
        array = page.asarray()
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            array = array.transpose(1, 2, 0)
        return _Tiff(channels, array, turn, alpha)
