"""`.npy` files are images of the channels that their short axis has."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.data.decoding import channels_of, decode
from tests.bench.data.pictures import npy

TYPES = ["?", "u1", "u2", ">u2", "i2", "f2", "f4", "f8", ">f8", "i8"]


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(TYPES),
    shape=st.tuples(st.integers(17, 30), st.integers(17, 30), st.integers(1, 16)),
    order=st.sampled_from(["HW", "HWC", "CHW"]),
    by_columns=st.booleans(),
)
def test_arrays_of_every_type_and_order_are_the_picture(kind, shape, order, by_columns):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(kind)
    if kind not in ("?", "u1"):
        array = (array * 99 + np.arange(shape[1])[:, None]).astype(kind)
    array = array[..., :1] if order == "HW" else array
    stored = array[..., 0] if order == "HW" else array.transpose(2, 0, 1) if order == "CHW" else array
    content = npy(np.asarray(stored, order="F" if by_columns else "C"))
    channels = array.shape[2]
    assert channels_of(content) == channels
    found = decode(content, None, channels=channels, scale=np.array([[0.0] * channels, [255.0] * channels]))
    assert found.kind == "NPY"
    assert (found.pixels == array.astype(int) * (255 if kind == "?" else 1)).all()
    if kind in ("?", "u1"):
        assert found.values is None
    else:
        assert (found.values == [array.min((0, 1)), array.max((0, 1))]).all()
        assert found.whole == (np.dtype(kind).kind in "iu")


@pytest.mark.parametrize(
    "shape", [(3, 20, 3), (20, 3, 20), (20, 2, 3), (17, 18, 19), (4,), (1, 2, 3, 4), (0, 9), (9, 9, 0)]
)
def test_a_shape_that_may_mean_several_things_or_none_is_refused(shape):
    with pytest.raises(ValueError, match=r"\[H, W\], \[H, W, C\] or \[C, H, W\] is right"):
        decode(npy(np.zeros(shape)), None, channels=3)


@pytest.mark.parametrize("kind", ["c8", "U3", "M8[s]", "f4,f4"])
def test_what_are_no_numbers_is_refused(kind):
    with pytest.raises(ValueError, match="whole numbers, fractions or bool are right"):
        decode(npy(np.zeros((20, 20), kind)), None, channels=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_no_numbers_are_told(value):
    array = np.zeros((20, 20))
    array[3, 4] = value
    with pytest.raises(ValueError, match="values that are no numbers"):
        decode(npy(array), None, channels=1)


@pytest.mark.parametrize(
    ("shape", "error"),
    [
        ("(20000, 20000)", Image.DecompressionBombError),
        ("(9000, 9000, 16)", Image.DecompressionBombError),
        ("(9000, 9000)", ValueError),
        ("(-5, 9)", ValueError),
    ],
)
def test_a_header_that_claims_too_much_takes_no_memory(tmp_path, shape, error):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(1000))
    tracemalloc.start()
    with pytest.raises(error):
        decode(path, None, channels=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


def test_an_array_that_would_run_code_is_refused():
    file = io.BytesIO()
    np.save(file, np.array([[print] * 20] * 20, dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="array of object"):
        decode(file.getvalue(), None, channels=3)
