"""The file of decoded images."""

import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import bench.execution.single
from algorithms.images.statistics import IMAGENET
from bench.data import images, saved
from bench.data.dataset import Dataset, Split, fingerprint
from bench.errors import UserError
from bench.execution import benchmark
from bench.execution.configuration import TrainingConfiguration
from tests.bench.data.builders import class_folders, damage


def test_a_saved_data_set_is_opened_as_it_was(tmp_path):
    class_folders(tmp_path / "data", {"a": 10, "b": 10})
    damage(tmp_path / "data", b"")
    dataset = images.load(tmp_path / "data")
    saved.save(dataset, tmp_path / "saved")
    opened = saved.open_saved(tmp_path / "saved")
    for mine, its in ((dataset.train, opened.train), (dataset.test, opened.test)):
        assert torch.equal(mine.pixels, its.pixels)
        assert torch.equal(mine.labels, its.labels)
    assert dataset.remarks
    for field in ("name", "classes", "fingerprint", "note", "skipped", "remarks"):
        assert getattr(opened, field) == getattr(dataset, field)
    assert [file.name for file in (tmp_path / "saved").iterdir()] == [saved.SAVED]


def test_the_groups_of_a_data_set_are_saved_and_another_grouping_is_another_data_set(tmp_path):
    dataset = images.load("shapes", limit=20)
    grouped = Split(*(getattr(dataset.train, name) for name in ("packed", "rows", "labels")), torch.arange(20) // 3)
    dataset = dataclasses.replace(dataset, train=grouped)
    saved.save(dataset, tmp_path)
    opened = saved.open_saved(tmp_path)
    assert opened.train.groups.tolist() == grouped.groups.tolist()
    assert opened.test.groups is None
    ungrouped = dataclasses.replace(grouped, groups=None)
    found = {fingerprint(train, dataset.test) for train in (grouped, ungrouped)}
    assert len(found) == 2
    assert images.load("shapes", limit=20).fingerprint in found


def images_npy(folder: Path, counts: dict[str, int]) -> np.ndarray:
    """Writes a file of six training images and a test image by hand; its images [N, H, 3, W]."""
    pixels = np.random.default_rng(0).integers(0, 256, (7, 8, 3, 8), dtype=np.uint8)
    description = counts | {"fingerprint": "f" * 64, "classes": ["a", "b"]}
    description |= {"name": "birds", "note": "birds (PNG)", "skipped": ["a/3.png: cut"], "remarks": []}
    with (folder / "images.npy").open("wb") as file:
        np.save(file, pixels)
        np.save(file, np.array([0, 1, -1, 0, 1, 0, 1]))
        file.write(json.dumps(description).encode())
    return pixels


def test_the_layout_of_the_file_is_pinned(tmp_path):
    pixels = images_npy(tmp_path, {"training": 6})
    opened = saved.open_saved(tmp_path)
    assert torch.equal(opened.train.pixels, torch.from_numpy(pixels[:6].transpose(0, 2, 1, 3).copy()))
    assert opened.train.labels.tolist() == [0, 1, -1, 0, 1, 0]
    assert torch.equal(opened.test.pixels, torch.from_numpy(pixels[6:].transpose(0, 2, 1, 3).copy()))
    assert opened.test.labels.tolist() == [1]
    assert (opened.name, opened.note) == ("birds", "birds (PNG)")
    assert (opened.classes, opened.skipped, opened.remarks) == (("a", "b"), ("a/3.png: cut",), ())
    assert opened.fingerprint == "f" * 64


def test_a_file_of_an_earlier_version_whose_images_lie_in_another_order_is_written_anew(tmp_path):
    images_npy(tmp_path, {"train": 4, "validation": 2})
    with pytest.raises(UserError, match="no saved data set"):
        saved.open_saved(tmp_path)
    shapes = images.load("shapes", limit=80)
    saved.save(shapes, tmp_path)
    assert torch.equal(saved.open_saved(tmp_path).train.labels, shapes.train.labels)


def test_an_opened_data_set_is_mapped_from_its_file(tmp_path):
    saved.save(images.load("shapes"), tmp_path)
    opened = saved.open_saved(tmp_path)
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    assert str(tmp_path / saved.SAVED) in mapped
    assert len(opened.train.labels) == 1000


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=40), st.integers(1, 20), st.integers(8, 11))
def test_a_data_set_of_any_size_is_opened_as_it_was_saved(labels, test, side):
    generator = torch.Generator().manual_seed(len(labels))

    def split(labels: list[int]) -> Split:
        pixels = torch.randint(0, 256, (len(labels), 3, side, side), dtype=torch.uint8, generator=generator)
        return Split.of(pixels, torch.tensor(labels))

    dataset = Dataset("x", split(labels), split([0] * test), tuple("abcde"), "f", IMAGENET, "", ())
    with tempfile.TemporaryDirectory() as folder:
        saved.save(dataset, folder)
        opened = saved.open_saved(folder)
        assert torch.equal(opened.train.pixels, dataset.train.pixels)
        assert torch.equal(opened.train.labels, dataset.train.labels)
        assert torch.equal(opened.test.pixels, dataset.test.pixels)
        assert torch.equal(opened.test.labels, dataset.test.labels)


def test_a_saved_data_set_is_written_again_only_where_it_differs(tmp_path):
    shapes = images.load("shapes")
    saved.save(shapes, tmp_path)
    written = (tmp_path / saved.SAVED).stat()
    saved.save(shapes, tmp_path)
    assert (tmp_path / saved.SAVED).stat().st_ino == written.st_ino
    fewer = images.load("shapes", limit=80)
    saved.save(fewer, tmp_path)
    assert saved.open_saved(tmp_path).fingerprint == fewer.fingerprint


def test_a_saved_data_set_that_is_missing_or_damaged_is_refused_and_replaced(tmp_path):
    with pytest.raises(UserError, match="no saved data set"):
        saved.open_saved(tmp_path)
    shapes = images.load("shapes", limit=80)
    saved.save(shapes, tmp_path)
    content = (tmp_path / saved.SAVED).read_bytes()
    (tmp_path / saved.SAVED).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="no saved data set"):
        saved.open_saved(tmp_path)
    saved.save(shapes, tmp_path)
    assert saved.open_saved(tmp_path).fingerprint == shapes.fingerprint


def test_on_a_full_disk_saving_is_refused_on_one_line_and_leaves_nothing(tmp_path):
    shapes = images.load("shapes")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(UserError, match="cannot be written") as error:
            saved.save(shapes, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_saving_takes_no_second_copy_of_the_images(tmp_path):
    script = """
import resource, sys
import torch
from bench.data import saved
from bench.data.dataset import Dataset, Split, fingerprint
def save(count, folder):
    split = Split.of(torch.ones(count, 3, 224, 224, dtype=torch.uint8), torch.arange(count) % 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    saved.save(Dataset("x", split, split, tuple("abcd"), "0" * 64, IMAGENET, "", ()), folder)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / split.pixels.nbytes
save(100, sys.argv[1] + "/first")  # libraries are loaded
print(save(300, sys.argv[1] + "/second"))
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5


def test_a_training_holds_no_copy_of_the_images_beside_the_saved_file(tmp_path, monkeypatch):
    alive, load = [], images.load

    def remembering(*arguments, **options):
        dataset = load(*arguments, **options)
        alive.append(weakref.ref(dataset.train.pixels))
        return dataset

    monkeypatch.setattr(images, "load", remembering)
    monkeypatch.setattr(bench.execution.single, "train", lambda *_, **__: [reference() for reference in alive])
    asked = TrainingConfiguration(methods=("simclr",), dataset="shapes", limit=50, run_dir=tmp_path)
    assert benchmark.train(asked) == [None]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        saved.save(images.load("shapes", limit=80), tmp_path / "file" / "below")
