"""Parquet files: which are which split, and what their labels mean."""

import hashlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from bench.data import images
from bench.errors import UserError
from tests.bench.data.builders import CIFAR10, class_folders, parquet, remark, stacked


def test_parquet_images_labels_and_class_names_are_read_as_hugging_face_wrote_them(tmp_path):
    first = parquet(tmp_path / "data/train-00000-of-00002.parquet", [0, 1, 2] * 5, ["ant", "bee", "cat"])
    second = parquet(tmp_path / "data/train-00001-of-00002.parquet", [2, None, -1], ["ant", "bee", "cat"], seed=50)
    test = parquet(tmp_path / "data/test-00000-of-00001.parquet", [1, 0], ["ant", "bee", "cat"], seed=90)
    dataset = images.load(tmp_path)
    assert dataset.classes == ("ant", "bee", "cat")
    assert torch.equal(dataset.train.pixels, stacked(first + second))
    assert dataset.train.labels.tolist() == [0, 1, 2] * 5 + [2, -1, -1]
    assert torch.equal(dataset.test.pixels, stacked(test))
    assert dataset.test.labels.tolist() == [1, 0]
    assert dataset.train.pixels.dtype == torch.uint8
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.note == f"{tmp_path.name} (PNG)"
    assert dataset.skipped == ()


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.parquet", "test.parquet"),
        ("train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("birds_TRAIN_1.parquet", "birds_val_1.parquet"),
        ("latest.parquet", "contest-test.parquet"),
    ],
)
def test_parquet_file_names_tell_the_splits(tmp_path, train, test):
    parquet(tmp_path / train, [0, 1, 1])
    parquet(tmp_path / test, [1, 0], seed=9)
    dataset = images.load(tmp_path)
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (3, 2)


def test_a_test_split_without_labels_gives_way_to_validation(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1])
    parquet(tmp_path / "test.parquet", [-1, -1, -1])
    validation = parquet(tmp_path / "validation.parquet", [1, 0], seed=30)
    assert torch.equal(images.load(tmp_path).test.pixels, stacked(validation))


def test_a_validation_split_beside_test_images_is_left_out_and_said_to_be(tmp_path):
    for split in ("train", "test", "validation"):
        parquet(tmp_path / f"{split}.parquet", [0, 1])
    dataset = images.load(tmp_path)
    assert len(dataset.train.labels) == len(dataset.test.labels) == 2
    assert "validation images left out" in dataset.note


def test_one_parquet_file_is_a_data_set_with_a_part_held_out(tmp_path):
    parquet(tmp_path / "birds.parquet", [0, 1] * 10)
    dataset = images.load(tmp_path / "birds.parquet")
    assert dataset.name == "birds"
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (16, 4)


def test_each_parquet_file_has_class_names_of_its_own_and_they_are_joined(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1, 1, 0], ["ant", "bee"])
    parquet(tmp_path / "test.parquet", [0, 1, 2, -1], ["Bee", "cow", "ant"], seed=9)
    dataset = images.load(tmp_path)
    assert dataset.classes == ("ant", "bee", "cow")
    assert dataset.train.labels.tolist() == [0, 1, 1, 0]
    assert dataset.test.labels.tolist() == [1, 2, 0]
    assert remark(dataset, "spells classes").endswith("'Bee' is 'bee'")
    assert remark(dataset, "that training does not have").endswith(": cow")


def test_two_classes_of_one_name_are_kept_apart_where_all_files_name_them_so(tmp_path):
    for split in ("train", "test"):
        parquet(tmp_path / f"{split}.parquet", [0, 1, 2], ["crane", "crane", "owl"])
    assert images.load(tmp_path).test.labels.tolist() == [0, 1, 2]
    parquet(tmp_path / "test.parquet", [0, 1, 2], ["owl", "crane", "crane"])
    with pytest.raises(UserError, match="two classes called 'crane'"):
        images.load(tmp_path)


def test_parquet_labels_that_are_strings_may_be_spelled_otherwise_in_the_test_file(tmp_path):
    parquet(tmp_path / "train.parquet", [0] * 3, label=pa.array(["Ant", "Bee", "Bee"]))
    parquet(tmp_path / "test.parquet", [0] * 3, label=pa.array(["bee", "ant", None]), seed=9)
    dataset = images.load(tmp_path)
    assert dataset.classes == ("Ant", "Bee")
    assert dataset.test.labels.tolist() == [1, 0]


def test_a_parquet_file_given_alone_has_any_name_and_a_suffix_in_any_case(tmp_path):
    parquet(tmp_path / "test.PARQUET", [0, 1] * 10)
    dataset = images.load(tmp_path / "test.PARQUET")
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (16, 4)


def test_test_images_without_a_label_column_are_left_out_and_said_to_be(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 10)
    parquet(tmp_path / "test.parquet", [0] * 3, label=None, image_id=pa.array([1, 2, 3]))
    dataset = images.load(tmp_path)
    assert "held out" in dataset.note
    assert remark(dataset, "without labels") == "3 test images without labels left out"


def test_configurations_side_by_side_are_not_mixed(tmp_path):
    for name in ("160px", "full_size"):
        parquet(tmp_path / name / "train-00000-of-00001.parquet", [0, 1] * 5)
    with pytest.raises(UserError, match=r"train images in .*160px, .*full_size; give one of them"):
        images.load(tmp_path)
    assert len(images.load(tmp_path / "160px").train.labels) == 8


def test_parquet_files_that_are_missing_from_a_numbered_set_are_told(tmp_path):
    for number in (1, 3):
        parquet(tmp_path / f"data/train-{number:05}-of-00005.parquet", [0, 1] * 5, seed=100 * number)
    assert remark(images.load(tmp_path), "missing") == "3 of the 5 Parquet files of data/train are missing"


def test_what_lies_beside_parquet_files_is_counted(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 5)
    class_folders(tmp_path, {"a": 2})
    (tmp_path / "README.md").write_text("")
    assert remark(images.load(tmp_path), "passed over") == "3 other files passed over: 2 .png, 1 .md"


@pytest.mark.skipif(not CIFAR10.exists(), reason="the CIFAR-10 Parquet files are not beside the project")
def test_the_jpeg_copy_of_cifar10_is_read_exactly_and_says_what_it_is():
    dataset = images.load(CIFAR10, limit=500)
    assert dataset.note == "CIFAR-10 (JPEG-75); 500 of 50,000 training images"
    assert dataset.train.labels.bincount().tolist() == [50] * 10
    assert dataset.test.labels.bincount().tolist() == [10] * 10
    rows = pq.read_table(CIFAR10 / "test.parquet").to_pylist()
    pixels = {hashlib.sha256(np.asarray(Image.open(io.BytesIO(row["img"]["bytes"])))).digest() for row in rows}
    for image in dataset.test.pixels:
        assert hashlib.sha256(image.permute(1, 2, 0).contiguous().numpy()).digest() in pixels
