"""Pictures whose pixels are known, and files that hold them, written byte by byte or by other libraries."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from bench.data.decoding import decode

SIDE = 32
HALF = SIDE // 2


def four_colours() -> np.ndarray:
    """uint8 [32, 32, 3], a colour in each quarter, so that no turn of it looks like another."""
    made = np.zeros((SIDE, SIDE, 3), np.uint8)
    made[:HALF, :HALF], made[:HALF, HALF:] = (220, 30, 30), (30, 200, 40)
    made[HALF:, :HALF], made[HALF:, HALF:] = (40, 50, 210), (240, 230, 60)
    return made


def ramps() -> np.ndarray:
    """uint8 [32, 32], black to white above, white to black below."""
    row = np.linspace(0, 255, SIDE).astype(np.uint8)
    return np.vstack([np.tile(row, (HALF, 1)), np.tile(row[::-1], (HALF, 1))])


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png16(array: np.ndarray, *chunks: bytes) -> bytes:
    """A PNG of uint16 [H, W, 1 to 4]: grey, grey and alpha, RGB, RGB and alpha."""
    height, width, channels = array.shape
    header = struct.pack(">IIBBBBB", width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    content = (chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(content)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def retagged(tiff: bytes, **changes: int) -> bytes:
    """A TIFF with other values in some tags, which are named by `_` and their number."""
    content = bytearray(tiff)
    order = "<" if tiff[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    left = {int(name[1:]): value for name, value in changes.items()}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, _ = struct.unpack_from(order + "HHI", tiff, place)
        if tag in left:
            struct.pack_into(order + ("H" if kind == 3 else "I"), content, place + 8, left.pop(tag))
    assert not left
    return bytes(content)


def tiff_of(blocks: list[bytes], tags: dict[int, int]) -> bytes:
    """A TIFF of these strips and tags."""
    starts = [8 + sum(map(len, blocks[:number])) for number in range(len(blocks))]
    after = 8 + sum(map(len, blocks))
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    for place, (tag, entries) in enumerate(((273, starts), (279, list(map(len, blocks))))):
        value = entries[0] if len(blocks) == 1 else after + place * 4 * len(blocks)
        listed += struct.pack("<HHII", tag, 4, len(blocks), value)
    arrays = b"" if len(blocks) == 1 else struct.pack(f"<{2 * len(blocks)}I", *starts, *map(len, blocks))
    head = b"II*\0" + struct.pack("<I", after + len(arrays))
    return head + b"".join(blocks) + arrays + struct.pack("<H", len(tags) + 2) + listed + bytes(4)


def picture_of(content, channels: int = 3, size: int | None = None, **options) -> np.ndarray:
    """uint8 [H, W, channels] as int, where 16 bits are 0 to 65535."""
    scale = np.array([[0.0] * channels, [65535.0] * channels])
    pixels = decode(content, size, **{"channels": channels, "scale": scale} | options).pixels
    assert pixels is not None
    assert pixels.dtype == np.uint8
    return pixels.astype(int)
