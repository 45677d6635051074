"""All images of a data set become pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from bench import machine
from bench.data import images
from bench.errors import UserError
from tests.bench.data.builders import class_folders, damage, encoded, picture, png_header, warnings_in


@pytest.mark.parametrize(
    ("bits", "kind"), [(8, np.int32), (10, np.uint16), (12, np.uint16), (14, np.int32), (16, np.int32), (20, np.int32)]
)
def test_grey_images_of_any_depth_are_shown_by_the_range_of_the_whole_data_set(tmp_path, bits, kind):
    full = np.linspace(0, 2**bits - 1, 256).astype(kind).reshape(16, 16)
    for split in ("train", "test"):
        for number, name in enumerate("ab"):
            (tmp_path / split / name).mkdir(parents=True)
            # The brightest image is neither the first nor the last one, and it is in the test split alone.
            array = full if split == "test" and name == "a" else full // 4
            if array.max() < 2**16 and name == "b":
                array = array.astype(np.uint16)  # the kinds of numbers may be mixed
            Image.fromarray(array).save(tmp_path / split / name / f"{number}.tif")
    dataset = images.load(tmp_path)
    assert (dataset.test.pixels[0, 0].flatten().int() - torch.arange(256)).abs().max() <= 1
    assert (dataset.train.pixels[0, 0].flatten().int() - torch.arange(256) // 4).abs().max() <= 1
    told = [line for line in dataset.remarks if line.startswith("grey images")]
    assert bool(told) == (bits != 16)


@pytest.mark.parametrize("qualities", [[75], [90], [60, 90]])
def test_the_note_tells_the_quality_of_jpegs(tmp_path, qualities):
    for quality in qualities:
        class_folders(tmp_path / "cifar10" / "train", {f"{quality}": 3, "x": 3}, kind="jpg", quality=quality)
    class_folders(tmp_path / "cifar10" / "test", {"x": 3}, kind="jpg", quality=qualities[-1])
    expected = f"JPEG-{qualities[0]}" if len(qualities) == 1 else "JPEG"
    assert images.load(tmp_path / "cifar10").note == f"CIFAR-10 ({expected})"


DAMAGED = {
    "empty": b"",
    "text": b"not an image",
    "cut": encoded(picture(0, 64, 64))[:150],
    "bomb": png_header(60_000, 60_000),
    "large": png_header(10_000, 9_500),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\nshowpage\n",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_an_image_that_cannot_be_read_is_left_out_named_and_counted(tmp_path, capsys, content):
    class_folders(tmp_path, {"a": 10, "b": 10})
    name = damage(tmp_path, content)
    dataset = images.load(tmp_path)
    assert len(dataset.train.labels) + len(dataset.test.labels) == 19
    (skipped,) = dataset.skipped
    assert skipped.startswith(f"{name}: ")
    (warning,) = warnings_in(capsys.readouterr().err)
    assert warning.startswith("warning: 1 of 20 images could not be read")
    assert name in warning
    with pytest.raises(UserError, match=name):
        images.load(tmp_path, strict=True)


def test_many_damaged_images_make_one_line(tmp_path, capsys):
    class_folders(tmp_path, {"a": 30, "b": 30})
    for file in sorted(tmp_path.rglob("*.png"))[::2]:
        file.write_bytes(b"")
    assert len(images.load(tmp_path).skipped) == 30
    (warning,) = warnings_in(capsys.readouterr().err)
    assert "and 25 more" in warning


def test_images_of_both_splits_must_fit_into_memory_together(tmp_path, monkeypatch):
    class_folders(tmp_path / "train", {"a": 5, "b": 5})
    class_folders(tmp_path / "test", {"a": 5, "b": 5})
    needed = 20 * 3 * 16 * 16
    monkeypatch.setattr(machine, "memory_bytes", lambda: int(needed / 0.8) + 2)
    images.load(tmp_path)
    monkeypatch.setattr(machine, "memory_bytes", lambda: int(needed / 0.8) - 2)
    for options in ({}, {"image_size": 16}):
        with pytest.raises(UserError, match=r"20 images of 16 px take .* GiB of memory"):
            images.load(tmp_path, **options)
