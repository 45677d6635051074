"""Images that are decoded one after another are those that the decoder keeps, and memory holds a few of them."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data import images, stream, workers
from bench.data.shapes import source as shapes
from bench.data.source import Asked, EncodedSplit
from bench.data.stream import Pixels, Stream
from bench.errors import UserError
from bench.execution.configuration import FITS
from tests.bench.data.builders import class_folders, damage, encoded, parquet, picture
from tests.bench.data.truth import files_below, tarred, zipped


def streamed(path: Path, fit: str = "crop", strict: bool = False) -> Stream:
    _, source = images.find(path, Asked(everything=True))
    splits = [source.train, *([source.test] if source.test else []), *source.others.values()]
    return Stream(path, splits, fit, strict)


def decoded(path: Path, size: int, fit: str = "crop") -> np.ndarray:
    """The pixels of all images by the decoder, [N, S, S, C], training images first."""
    dataset = images.load(path, image_size=size, fit=fit)
    return torch.cat([dataset.train.pixels, dataset.test.pixels]).permute(0, 2, 3, 1).numpy()


def with_test_split(root: Path, kind: str = "png", size: int = 16) -> Path:
    class_folders(root / "train", {"a": 9, "b": 8}, kind=kind, size=size)
    class_folders(root / "test", {"a": 3, "b": 4}, kind=kind, size=size)
    return root


@pytest.mark.parametrize("fit", FITS)
def test_pixels_are_those_that_the_decoder_keeps_whatever_the_fit(tmp_path, fit):
    with_test_split(tmp_path)
    Image.fromarray(picture(99, 40, 20)).save(tmp_path / "train" / "a" / "0000.png")
    found = streamed(tmp_path, fit)
    rows, pictures = zip(*found.pictures(12, found.channels), strict=True)
    assert (list(rows), found.channels, found.skipped) == (list(range(24)), 3, [])
    assert np.array_equal(np.stack(pictures), decoded(tmp_path, 12, fit))


def in_folders(root: Path) -> Path:
    return root / "set"


def in_a_zip(root: Path) -> Path:
    return zipped(root / "set.zip", files_below(root / "set"))


def in_a_compressed_tar(root: Path) -> Path:
    return tarred(root / "set.tar.gz", files_below(root / "set"), "gz")


@pytest.mark.parametrize("stored", [in_folders, in_a_zip, in_a_compressed_tar])
def test_images_of_more_than_8_bits_are_shown_by_the_range_of_all(tmp_path, capsys, stored):
    for split in ("train", "test"):
        for number in range(80):
            name = tmp_path / "set" / split / "ab"[number % 2]
            name.mkdir(parents=True, exist_ok=True)
            array = picture(number)[..., 0]
            if number % 3:  # between those of 8 bits
                array = array.astype(np.uint16) * (16 if split == "test" and number > 70 else 4)
            Image.fromarray(array).save(name / f"{number:03}.png")
    path = stored(tmp_path)
    found = streamed(path)
    pictures = [pixels for _, pixels in found.pictures(16, 1)]
    assert np.array_equal(np.stack(pictures), decoded(path, 16))
    assert "0 is taken as black and 4,095 as white" in capsys.readouterr().out


def test_grey_is_shown_in_three_channels_where_so_many_are_asked_for(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(5):
            Image.fromarray(picture(number)[..., 0]).save(tmp_path / name / f"{number}.png")
    found = streamed(tmp_path)
    assert found.channels == 1
    for (_, grey), (_, three) in zip(found.pictures(8, 1), found.pictures(8, 3), strict=True):
        assert np.array_equal(np.repeat(grey, 3, axis=2), three)


def test_colours_after_grey_are_not_lost(tmp_path):
    class_folders(tmp_path, {"a": 4, "b": 4})
    Image.fromarray(picture(0)[..., 0]).save(tmp_path / "a" / "0000.png")
    found = streamed(tmp_path)
    pictures = [pixels for _, pixels in found.pictures(16, 3)]
    assert (found.channels, found.skipped) == (1, [])
    expected = images.load(tmp_path, image_size=16)
    both = torch.cat([expected.train.pixels, expected.test.pixels]).permute(0, 2, 3, 1)
    assert {image.tobytes() for image in pictures} == {image.numpy().tobytes() for image in both}


def test_what_cannot_be_read_is_left_out_and_named_or_refused(tmp_path):
    class_folders(tmp_path, {"a": 10, "b": 10})
    name = damage(tmp_path, b"not an image")
    (tmp_path / "a" / "0000.png").write_bytes(b"")  # the first of all
    found = streamed(tmp_path)
    rows = [row for row, _ in found.pictures(8, 3)]
    assert len(rows) == 18
    assert 0 not in rows
    assert [each.split(":")[0] for each in found.skipped] == ["a/0000.png", name]
    with pytest.raises(UserError, match=r"an image could not be read: a/0000\.png: "):
        streamed(tmp_path, strict=True)
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the images in .* could be read; the first: a/0000\.png"):
        streamed(tmp_path)


def test_few_pictures_are_decoded_before_they_are_asked_for(monkeypatch):
    content, read = encoded(picture(0, 64, 64)), []

    def stored(places):
        for place in places.tolist():
            read.append(place)
            yield f"{place}.png", content

    monkeypatch.setattr(stream, "MOST_BYTES", 64 * 64 * 3 * 40)
    split = EncodedSplit(np.full(5000, -1), stored, [f"{place}.png" for place in range(5000)])
    pictures = Stream(Path("many"), [split], "crop", False).pictures(64, 3)
    read.clear()
    for taken in range(1, 2000):
        next(pictures)
        assert len(read) - taken <= 48
    pictures.close()
    assert len(read) < 2100


def test_few_bytes_are_held_before_they_are_decoded():
    large = [(row, f"{row}.jpg", bytes(workers.PART_BYTES // 3)) for row in range(10)]
    assert [len(part) for part in workers.parts(iter(large))] == [4, 4, 2]
    small = [(row, f"{row}.jpg", Path(f"{row}.jpg")) for row in range(70)]
    assert [len(part) for part in workers.parts(iter(small))] == [32, 32, 6]
    assert [item for part in workers.parts(iter(large + small), 7) for item in part] == large + small


def test_who_ends_early_does_not_wait_for_what_is_ahead():
    begun = []

    def work(part):
        begun.append(part)
        time.sleep(0.01)
        return part

    with workers.Pool() as pool:
        made = workers.in_turn(pool, work, ([number] for number in range(10**6)))
        assert [next(made) for _ in range(3)] == [[0], [1], [2]]
    assert len(begun) < 3 + workers.AHEAD * pool.size


def test_pixels_come_as_they_are():
    source = shapes()
    found = Pixels(source)
    rows, pictures = zip(*found.pictures(224, 3), strict=True)
    assert list(rows) == list(range(len(source.train) + len(source.test)))
    every = torch.cat([source.train.pixels, source.test.pixels]).permute(0, 2, 3, 1)
    assert np.array_equal(np.stack(pictures), every.numpy())


def test_parquet_is_read_in_its_order(tmp_path):
    arrays = parquet(tmp_path / "train.parquet", [0, 1] * 20)
    more = parquet(tmp_path / "test.parquet", [0, 1] * 3, seed=100)
    found = streamed(tmp_path)
    pictures = [pixels for _, pixels in found.pictures(16, 3)]
    assert np.array_equal(np.stack(pictures), np.stack([*arrays, *more]))
