"""TIFF as cameras, microscopes and satellites write it: what is read is what was written."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.data import formats, tiff
from bench.data.decoding import channels_of, decode
from tests.bench.data.pictures import picture_of, retagged, saved, tiff_of

TYPES = ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]


def values(kind: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Values of the whole range of this type, as far as float32 tells them apart."""
    random = np.random.default_rng(seed)
    if kind.startswith("f"):
        return random.normal(0, 100, shape).astype(kind)
    limits = np.iinfo(kind)
    step = max(1, limits.bits // 8 // 2 * 2**12) if limits.bits == 32 else 1
    return (random.integers(limits.min // step, limits.max // step, shape, endpoint=True) * step).astype(kind)


def written(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, metadata=None, **options)
    return file.getvalue()


def samples(content: bytes) -> np.ndarray:
    """[H, W, C] float32, or uint8 where the file has 8 bits, of whoever reads it."""
    layers = formats.read(content).layers
    return np.asarray(layers[0]) if layers[0].mode == "RGB" else np.stack([np.asarray(layer) for layer in layers], -1)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_bands_of_every_type_are_read_as_they_were_written(data):
    kind, bands = data.draw(st.sampled_from(TYPES), "type"), data.draw(st.integers(1, 16), "bands")
    height, width = data.draw(st.integers(1, 40), "height"), data.draw(st.integers(1, 40), "width")
    array = values(kind, (height, width, bands), data.draw(st.integers(0, 99)))
    options = {
        "compression": data.draw(st.sampled_from([None, "zlib", "lzma"]), "compression"),
        "byteorder": data.draw(st.sampled_from("<>"), "byte order"),
        "bigtiff": data.draw(st.booleans(), "64 bits"),
    }
    if kind == "u1" and bands == 1 and options["bigtiff"]:
        options["byteorder"] = "<"  # Pillow reads greys of 8 bits, and these so alone
    if data.draw(st.booleans(), "tiles"):
        options["tile"] = (16, 32)
    else:
        options["rowsperstrip"] = data.draw(st.integers(1, 50), "rows in a strip")
    if bands == 1:
        content = written(array[..., 0], photometric="minisblack", **options)
    elif data.draw(st.booleans(), "planar"):
        content = written(
            array.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate", volumetric=False, **options
        )
    else:
        content = written(array, photometric="minisblack", planarconfig="contig", **options)
    raster = formats.read(content)
    assert (samples(content) == array.astype(np.float32)).all()
    assert raster.whole == (kind[0] != "f")
    assert channels_of(content) == bands


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_colours_are_three_channels_however_they_are_stored(planar, kind):
    array = values(kind, (21, 17, 3))
    stored = array if planar == "contig" else array.transpose(2, 0, 1)
    content = written(stored, photometric="rgb", planarconfig=planar)
    assert (samples(content) == array).all()
    assert channels_of(content) == 3


@pytest.mark.parametrize("packing", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate", "zstd", "lzma"])
@pytest.mark.parametrize("bands", [2, 3, 5])
def test_packed_bands_are_read(packing, bands):
    array = values("u2", (64, 20, bands)) // 256 * 3
    wide = saved(Image.fromarray(array.reshape(64, -1)), "TIFF", compression=packing)
    with Image.open(io.BytesIO(wide)) as image:
        starts, lengths, tags = image.tag_v2[273], image.tag_v2[279], {tag: image.tag_v2[tag] for tag in (259, 278)}
    blocks = [wide[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    content = tiff_of(blocks, {256: 20, 257: 64, 258: 16, 262: 1, 277: bands} | tags)
    assert (samples(content) == array).all()


@pytest.mark.parametrize(("kind", "predictor"), [("u2", 2), ("u1", 2), ("i4", 2), ("f4", 3)])
@pytest.mark.parametrize("packing", ["tiff_lzw", "tiff_adobe_deflate"])
def test_differences_are_summed(kind, predictor, packing):
    array = values(kind, (33, 20))
    content = saved(Image.fromarray(array), "TIFF", compression=packing, tiffinfo={317: predictor})
    assert retagged(content, _317=predictor) == content
    assert (samples(content)[..., 0] == array).all()


def test_differences_of_colours_are_summed_each_by_itself():
    array = values("u1", (33, 20, 3))
    content = saved(Image.fromarray(array), "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    bands = retagged(content, _262=1)
    assert tiff.tags_of(io.BytesIO(bands)) is not None
    assert (samples(bands) == array).all()


def test_the_first_page_is_the_image():
    array = values("u2", (3, 16, 12, 5))
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in array:
            writer.write(page, photometric="minisblack", planarconfig="contig", metadata=None)
    assert (samples(file.getvalue()) == array[0]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_bands_are_turned_upright(orientation):
    array = values("u2", (20, 12, 4))
    turned = written(array, photometric="minisblack", planarconfig="contig", extratags=[(274, 3, 1, orientation, True)])
    single = saved(Image.fromarray(array[..., 0]), "TIFF", tiffinfo={274: orientation})
    undo = [
        *(lambda a: a, np.fliplr, lambda a: np.rot90(a, 2), np.flipud, lambda a: a.swapaxes(0, 1)),
        *(lambda a: np.rot90(a, -1), lambda a: np.rot90(a, 2).swapaxes(0, 1), np.rot90),
    ][orientation - 1]
    assert (samples(turned) == undo(array)).all()
    assert (samples(single)[..., 0] == undo(array[..., 0])).all()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("multiplied", [False, True])
@pytest.mark.parametrize("colours", [1, 3])
def test_alpha_shows_white(bits, multiplied, colours):
    most = 2**bits - 1
    random = np.random.default_rng(0)
    colour = random.integers(0, most, (16, 16, colours), endpoint=True).astype(f"u{bits // 8}")
    opacity = np.full((16, 16, 1), most, colour.dtype)
    opacity[:8], opacity[8:12] = 0, most // 3
    stored = np.rint(colour * (opacity / most)).astype(colour.dtype) if multiplied else colour
    content = written(
        np.concatenate([stored, opacity], 2),
        photometric="rgb" if colours == 3 else "minisblack",
        planarconfig="contig",
        extrasamples=["ASSOCALPHA" if multiplied else "UNASSALPHA"],
    )
    truth = (colour * (opacity / most) + most * (1 - opacity / most)) * (255 / most)
    found = picture_of(content, colours)
    assert np.abs(found - truth).max() <= (2 if bits == 8 and multiplied else 1)
    assert channels_of(content) == colours


def test_a_band_beyond_colours_that_is_not_alpha_stays():
    array = values("u1", (16, 16, 4))
    content = written(array, photometric="rgb", planarconfig="contig", extrasamples=["UNSPECIFIED"])
    assert (samples(content) == array).all()
    assert channels_of(content) == 4


def test_numbers_below_0_are_not_wrapped():
    array = np.arange(-128, 128, dtype=np.int8).reshape(16, 16)
    found = decode(written(array), None, channels=1, scale=np.array([[-128.0], [127.0]]))
    assert (found.pixels[..., 0] == np.arange(256).reshape(16, 16)).all()
    assert found.values.tolist() == [[-128], [127]]
    assert found.whole


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"_256": 2**31}, "pixels|px"),
        ({"_257": 2**31 - 1}, "pixels|px|blocks"),
        ({"_277": 40}, "40 channels; 16 are the most"),
        ({"_258": 12}, "of 12 bits"),
        ({"_259": 34933}, "not packed by one of .*LZW"),
        ({"_279": 2**30}, "ends too early"),
        ({"_273": 2**30}, "ends too early"),
        ({"_278": 1}, "blocks"),
        ({"_256": 0}, "size is 0"),
    ],
    ids=str,
)
def test_tags_that_cannot_be_are_told(change, told):
    content = written(values("u2", (16, 16, 5)), photometric="minisblack", planarconfig="contig", rowsperstrip=16)
    if "_258" in change:  # one depth for all bands, which is too few values to be an array
        content = content.replace(struct.pack("<5H", *[16] * 5), struct.pack("<5H", *[12] * 5))
        change = {}
    with pytest.raises((ValueError, Image.DecompressionBombError), match=told):
        decode(retagged(content, **change), None, channels=5)


def test_what_unpacks_to_more_than_the_size_takes_no_more_memory():
    bomb = zlib.compress(bytes(2**28))
    content = tiff_of([bomb], {256: 8, 257: 8, 277: 5, 258: 8, 259: 8, 262: 1, 278: 8})
    tracemalloc.start()
    found = decode(content, None, channels=5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not found.pixels.any()
    assert peak < 2**24
