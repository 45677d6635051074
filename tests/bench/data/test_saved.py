"""The file of decoded images."""

import dataclasses
import errno
import json
import os
import resource
import shutil
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
    assert {file.name for file in (tmp_path / "saved").iterdir()} == {saved.IMAGES, saved.REST}


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


def test_the_layout_of_the_files_is_pinned(tmp_path):
    """What a run has saved is read by later versions."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 2, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    description = {"fingerprint": "f" * 64, "classes": ["a", "b"], "statistics": [[0.5, 0.25], [0.1, 0.2]]}
    description |= {"name": "birds", "note": "birds (PNG)", "skipped": ["a/3.png: cut"], "remarks": []}
    np.savez(
        tmp_path / "dataset.npz",
        train_rows=np.array([5, 0, 8]),
        train_labels=np.array([1, -1, 0]),
        train_groups=np.array([7, 7, 2]),
        test_rows=np.array([1]),
        test_labels=np.array([1]),
        description=np.frombuffer(json.dumps(description).encode(), dtype=np.uint8),
    )
    opened = saved.open_saved(tmp_path)
    assert torch.equal(opened.train.pixels, torch.from_numpy(pixels[[5, 0, 8]].transpose(0, 2, 1, 3).copy()))
    assert (opened.train.labels.tolist(), opened.train.groups.tolist()) == ([1, -1, 0], [7, 7, 2])
    assert torch.equal(opened.test.pixels, torch.from_numpy(pixels[[1]].transpose(0, 2, 1, 3).copy()))
    assert (opened.test.labels.tolist(), opened.test.groups) == ([1], None)
    assert opened.statistics == ((0.5, 0.25), (0.1, 0.2))
    assert (opened.name, opened.note, opened.fingerprint) == ("birds", "birds (PNG)", "f" * 64)
    assert (opened.classes, opened.skipped, opened.remarks) == (("a", "b"), ("a/3.png: cut",), ())


def test_rows_that_are_not_in_the_file_are_refused(tmp_path):
    saved.save(images.load("shapes", limit=80), tmp_path)
    with np.load(tmp_path / saved.REST) as rest:
        arrays = dict(rest)
    np.savez(tmp_path / saved.REST, **arrays | {"test_rows": arrays["test_rows"] + 1000})
    with pytest.raises(UserError, match="rows are not in the file"):
        saved.open_saved(tmp_path)


def test_a_file_of_an_earlier_version_is_written_anew(tmp_path):
    with (tmp_path / saved.IMAGES).open("wb") as file:
        np.save(file, np.zeros((7, 8, 3, 8), np.uint8))
        np.save(file, np.zeros(7, np.int64))
        file.write(json.dumps({"training": 6, "fingerprint": "f", "classes": ["a"]}).encode())
    with pytest.raises(UserError, match="no saved data set"):
        saved.open_saved(tmp_path)
    shapes = images.load("shapes", limit=80)
    saved.save(shapes, tmp_path)
    assert torch.equal(saved.open_saved(tmp_path).train.labels, shapes.train.labels)


@pytest.mark.parametrize("how", ["hard", "symbolic"])
def test_images_of_the_cache_are_linked_and_a_run_keeps_them_when_it_is_emptied(tmp_path, monkeypatch, how):
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    class_folders(tmp_path / "data", {"a": 10, "b": 10})
    dataset = images.load(tmp_path / "data")
    if how == "symbolic":

        def elsewhere(source, place):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        monkeypatch.setattr(os, "link", elsewhere)
    saved.save(dataset, tmp_path / "run")
    opened = saved.open_saved(tmp_path / "run")
    assert (tmp_path / "run" / saved.IMAGES).samefile(dataset.train.file)
    assert (tmp_path / "run" / saved.IMAGES).is_symlink() == (how == "symbolic")
    assert torch.equal(opened.train.pixels, dataset.train.pixels)
    if how == "hard":
        shutil.rmtree(tmp_path / "cache")
        assert torch.equal(saved.open_saved(tmp_path / "run").test.pixels, dataset.test.pixels)


def test_a_link_leads_to_a_cache_that_is_named_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_BENCH_CACHE", "cache")
    class_folders(tmp_path / "data", {"a": 10, "b": 10})
    dataset = images.load("data")

    def elsewhere(source, place):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", elsewhere)
    saved.save(dataset, "runs/run")
    assert torch.equal(saved.open_saved("runs/run").train.pixels, dataset.train.pixels)


def test_an_opened_data_set_is_mapped_from_its_file(tmp_path):
    saved.save(images.load("shapes"), tmp_path)
    opened = saved.open_saved(tmp_path)
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    assert str(tmp_path / saved.IMAGES) in mapped
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
    written = (tmp_path / saved.IMAGES).stat()
    saved.save(shapes, tmp_path)
    assert (tmp_path / saved.IMAGES).stat().st_ino == written.st_ino
    fewer = images.load("shapes", limit=80)
    saved.save(fewer, tmp_path)
    assert saved.open_saved(tmp_path).fingerprint == fewer.fingerprint


def test_a_saved_data_set_that_is_missing_or_damaged_is_refused_and_replaced(tmp_path):
    with pytest.raises(UserError, match="no saved data set"):
        saved.open_saved(tmp_path)
    shapes = images.load("shapes", limit=80)
    saved.save(shapes, tmp_path)
    content = (tmp_path / saved.IMAGES).read_bytes()
    (tmp_path / saved.IMAGES).write_bytes(content[: len(content) // 2])
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
from algorithms.images.statistics import IMAGENET
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
