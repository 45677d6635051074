"""All images of a data set become pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import machine
from bench.data import images
from bench.errors import UserError
from bench.execution.configuration import FITS
from tests.bench.data.builders import class_folders, damage, encoded, picture, png_header, remark, warnings_in


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
    white = f"{2 ** next((depth for depth in (8, 10, 12, 14, 16) if depth >= bits), bits) - 1:,}"
    assert f"0 is taken as black and {white} as white" in remark(dataset, "images of more than 8 bits")


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


def test_pictures_too_large_to_be_decoded_in_this_memory_are_refused_before_one_is(tmp_path, monkeypatch):
    class_folders(tmp_path, {"a": 5, "b": 5})
    monkeypatch.setattr(machine, "memory_bytes", lambda: 10**6)
    images.load(tmp_path, image_size=32)
    with pytest.raises(UserError, match=r"images of 3,000 px take .* GiB of memory while they are decoded"):
        images.load(tmp_path, image_size=3000)


def decoded(root: Path, **options) -> list[bytes]:
    """The images of a data set that was loaded, whatever their order."""
    dataset = images.load(root, **options)
    return sorted(image.numpy().tobytes() for split in (dataset.train, dataset.test) for image in split.pixels)


def test_grey_images_have_one_channel_unless_one_of_all_is_in_colour(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(20):
            Image.fromarray(picture(number)[..., 0]).save(tmp_path / name / f"{number}.png")
    assert images.load(tmp_path).train.channels == 1
    Image.fromarray(picture(50)).save(tmp_path / "b" / "99.png")
    dataset = images.load(tmp_path)
    assert dataset.train.channels == 3
    every = {image.numpy().tobytes() for split in (dataset.train, dataset.test) for image in split.pixels}
    assert picture(50).transpose(2, 0, 1).tobytes() in every
    assert np.repeat(picture(3)[..., 0][None], 3, 0).tobytes() in every


def test_bands_are_kept_and_others_of_another_number_left_out(tmp_path):
    random = np.random.default_rng(0)
    bands = random.integers(0, 256, (40, 8, 8, 5), dtype=np.uint8)
    for number, image in enumerate(bands):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{number}.npy", image)
    every = {image.transpose(2, 0, 1).tobytes() for image in bands}
    assert set(decoded(tmp_path)) == every
    np.save(tmp_path / "a" / "other.npy", bands[0, ..., :4])
    dataset = images.load(tmp_path)
    assert dataset.train.channels == 5
    assert dataset.skipped == ("a/other.npy: it has 4 channels, and others have 5",)


def test_what_a_crop_takes_away_is_told_from_a_third_on(tmp_path):
    class_folders(tmp_path / "square", {"a": 5, "b": 5})
    for name in "ab":
        (tmp_path / "long" / name).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(picture(number, 40, 20)).save(tmp_path / "long" / name / f"{number}.png")
    assert not any("cropped" in line for line in images.load(tmp_path / "square", image_size=8).remarks)
    for options in ({}, {}, {"limit": 4}):  # also of images that were decoded before
        told = remark(images.load(tmp_path / "long", image_size=8, **options), "cropped away")
        assert told.startswith("50% of the images' area is cropped away, as they are not square; --fit pad")
    for fit in ("pad", "squash"):
        dataset = images.load(tmp_path / "long", image_size=8, fit=fit)
        assert not any("cropped" in line for line in dataset.remarks)
    assert len({images.load(tmp_path / "long", image_size=8, fit=fit).fingerprint for fit in FITS}) == 3
