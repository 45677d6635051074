"""Any name or path: what is chosen and what is refused."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import run_bench
from bench.data import images, known, named
from bench.errors import UserError
from tests.bench.data.builders import class_folders, parquet, picture, remark, warnings_in


def folder_of_mixed_sizes(root: Path) -> None:
    class_folders(root, {"a": 5, "b": 5})
    class_folders(root, {"c": 5}, size=24)


def folder_of_oblongs(root: Path) -> None:
    for name in ("a", "b"):
        (root / name).mkdir()
        for number in range(5):
            Image.fromarray(picture(0, 20, 16)).save(root / name / f"{number}.png")


def folder_of_broken_images(root: Path) -> None:
    class_folders(root, {"a": 5, "b": 5})
    for file in root.rglob("*.png"):
        file.write_bytes(b"")


def text_parquet(root: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), root / "train.parquet")


BAD = {
    "no images": (lambda root: (root / "a").mkdir(), {}, "holds no images; give a folder of images"),
    "single images": (lambda root: class_folders(root, {"a": 1, "b": 1}), {}, "too few images to hold out"),
    "mixed sizes": (folder_of_mixed_sizes, {}, "differ in size .* 16x16 .* 24x24 .*--image-size"),
    "oblong": (folder_of_oblongs, {}, "20x16 px, not square; give --image-size"),
    "tiny": (lambda root: class_folders(root, {"a": 5, "b": 5}, size=4), {}, "4x4 px; 8 px is the least"),
    "all broken": (folder_of_broken_images, {}, "none of the images"),
    "image size": (lambda root: class_folders(root, {"a": 5, "b": 5}), {"image_size": 4}, "4 px is too small"),
    "no limit": (lambda root: class_folders(root, {"a": 5, "b": 5}), {"limit": 0}, "limit of 0"),
    "limit": (lambda root: class_folders(root, {"a": 5, "b": 5, "c": 5}), {"limit": 2}, "2 images .* 3 classes"),
    "memory": (
        lambda root: class_folders(root, {"a": 5, "b": 5}),
        {"image_size": 1_000_000},
        "GiB of memory.*smaller --image-size",
    ),
    "no image column": (text_parquet, {}, "no image column; .* its columns are text .string., label"),
    "two label columns": (
        lambda root: parquet(root / "train.parquet", [0, 1], label=None, x=pa.array([0, 1]), y=pa.array([0, 1])),
        {},
        "several columns of integers .x, y.; .* 'label'",
    ),
    "too large a label": (lambda root: parquet(root / "train.parquet", [0, 5], ["a", "b"]), {}, "label 5.*2 classes"),
    "not Parquet": (lambda root: (root / "train.parquet").write_bytes(b"PAR1"), {}, "cannot be read as Parquet"),
    "strings and numbers": (
        lambda root: [
            parquet(root / "train.parquet", [0] * 2, label=pa.array(["a", "b"])),
            parquet(root / "test.parquet", [0, 1]),
        ],
        {},
        "'label' holds strings in .*train.parquet, but numbers in .*test.parquet",
    ),
    "another layout": (
        lambda root: [
            parquet(root / "train.parquet", [0, 1]),
            parquet(root / "test.parquet", [0, 1], label=None, y=pa.array([0, 1])),
        ],
        {},
        "test.parquet has no column 'label'",
    ),
}


@pytest.mark.parametrize(("make", "options", "message"), BAD.values(), ids=BAD)
def test_bad_data_gets_one_line_that_says_what_would_be_right(tmp_path, make, options, message):
    make(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        images.load(tmp_path, **options)
    assert "\n" not in str(error.value)


def test_names_that_are_known_without_pytorch_are_those_that_there_are(tmp_path):
    assert tuple(images.BY_NAME) == known.NAMES
    for name in (*known.NAMES, tmp_path, "sets.py:birds", "package.sets:birds", "~nobody-such/x"):
        known.check(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar-1", "did you mean cifar10"),
        ("shape", "did you mean shapes"),
        ("/nowhere/at/all", "no path '/nowhere/at/all'; give a path, or one of shapes, cifar10"),
        ("imagenet", "give a path"),
    ],
)
def test_an_unknown_name_gets_the_nearest_names(name, message):
    with pytest.raises(UserError, match=message):
        images.load(name)


def test_a_path_that_cannot_be_is_refused_on_one_line(monkeypatch):
    for name, message in (
        ("", "no name"),
        (" ", "no name"),
        ("x" * 300, "no path 'x+'"),
        ("~nobody-such/x", "no home"),
    ):
        with pytest.raises(UserError, match=message) as error:
            images.load(name)
        assert len(str(error.value)) < 250
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user without a home
    monkeypatch.delenv("SSL_BENCH_CACHE", raising=False)
    with pytest.raises(UserError, match="set SSL_BENCH_CACHE"):
        named.cache_folder()


def test_a_folder_called_like_a_named_data_set_is_told(tmp_path, monkeypatch):
    class_folders(tmp_path / "shapes", {"a": 5, "b": 5})
    monkeypatch.chdir(tmp_path)
    dataset = images.load("shapes")
    assert len(dataset.train.labels) == 1000
    assert (
        remark(dataset, "./shapes") == "shapes is the name of a data set; the folder that is called so here is ./shapes"
    )
    assert len(images.load("./shapes").train.labels) == 8


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("CIFAR10", "cifar10"),
        ("cifar-100", "cifar100"),
        ("Fashion MNIST", "fashionmnist"),
        ("SHAPES", "shapes"),
        ("shapes/", None),
        ("imagenet", None),
    ],
)
def test_names_are_known_in_any_case_and_form(tmp_path, monkeypatch, given, name):
    monkeypatch.chdir(tmp_path)
    assert known.name_of(given) == name


def test_a_folder_is_meant_where_its_name_is_a_known_one_in_another_form(tmp_path, monkeypatch):
    class_folders(tmp_path / "Shapes", {"a": 5, "b": 5})
    monkeypatch.chdir(tmp_path)
    assert len(images.load("Shapes").train.labels) == 8
    assert len(images.load("SHAPES").train.labels) == 1000


def test_a_fingerprint_is_that_of_pixels_and_labels_wherever_they_lie(tmp_path):
    class_folders(tmp_path / "one", {"a": 10, "b": 10})
    class_folders(tmp_path / "two", {"a": 10, "b": 10})
    first, second = images.load(tmp_path / "one"), images.load(tmp_path / "two")
    assert first.fingerprint == second.fingerprint
    assert len(bytes.fromhex(first.fingerprint)) == 32

    array = np.asarray(Image.open(tmp_path / "two" / "a" / "0003.png")).copy()
    array[5, 5, 1] ^= 1
    Image.fromarray(array).save(tmp_path / "two" / "a" / "0003.png")
    assert images.load(tmp_path / "two").fingerprint != first.fingerprint

    (tmp_path / "one" / "c").mkdir()
    (tmp_path / "one" / "b" / "0009.png").rename(tmp_path / "one" / "c" / "0000.png")
    assert images.load(tmp_path / "one").fingerprint != first.fingerprint


def test_the_command_prints_the_remarks_and_refuses_a_search_with_too_few_images(tmp_path, capsys):
    class_folders(tmp_path / "data", dict.fromkeys("abcde", 2))
    words = ["--methods", "simclr", "--budget", "1cpu-hours", "--dry-run", "--dataset", str(tmp_path / "data")]
    assert run_bench.main([*words, "--run-dir", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr()
    first, *notes = printed.out.splitlines()
    assert first.startswith("data (PNG)")
    assert "note: only 5 test images: each is worth 20.0 points of accuracy" in notes
    assert all(line.startswith("note: ") for line in notes)
    (error,) = warnings_in(printed.err)
    assert error.startswith("error: there are too few images to search with")


def test_an_empty_data_set_name_is_refused_and_not_taken_for_the_default(tmp_path, capsys):
    words = ["--train", "simclr", "--epochs", "1", "--limit", "50", "--dataset", "", "--run-dir", str(tmp_path)]
    assert run_bench.main(words) == 2
    (error,) = warnings_in(capsys.readouterr().err)
    assert error.startswith("error: ")
