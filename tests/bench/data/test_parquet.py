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
from tests.bench.data.numbered import cells, found, labels_of, numbered, table, written


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


def test_images_alone_have_no_labels(tmp_path):
    table(tmp_path / "train.parquet", {"image": cells([1, 2, 3])})
    table(tmp_path / "test.parquet", {"image": cells([4, 5])})
    source = found(tmp_path)
    assert source.classes == ()
    assert labels_of(source) == {1: None, 2: None, 3: None}
    assert labels_of(source, "test") == {4: None, 5: None}
    assert "no column of labels" in source.remarks[0]


@pytest.mark.parametrize("beside", [{"image_id": [1, 2]}, {"width": [8, 8], "score": [0.5, 0.25]}])
def test_columns_that_cannot_be_labels_leave_images_unlabelled(tmp_path, beside):
    table(tmp_path / "train.parquet", {"image": cells([1, 2]), **beside})
    assert labels_of(found(tmp_path)) == {1: None, 2: None}


@pytest.mark.parametrize("columns", [{"label": ["a", "b"]}, {"text": ["x", "y"]}, {"p": [1, 2], "q": [1, 2]}])
def test_labels_are_left_aside_where_that_is_asked(tmp_path, columns):
    table(tmp_path / "train.parquet", {"image": cells([1, 2]), **columns})
    source = found(tmp_path, unlabelled=True)
    assert (source.classes, labels_of(source)) == ((), {1: None, 2: None})


@pytest.mark.parametrize("nothing", [[-1, -1], [None, None], ["", ""], ["", None], pa.nulls(2)])
def test_a_file_without_any_label_fits_one_with_names(tmp_path, nothing):
    table(tmp_path / "train-0.parquet", {"image": cells([1, 2]), "label": ["a", "b"]})
    table(tmp_path / "train-1.parquet", {"image": cells([3, 4]), "label": nothing})
    assert labels_of(found(tmp_path)) == {1: "a", 2: "b", 3: None, 4: None}


@pytest.mark.parametrize("splits", [["test"], ["validation"], ["test", "val"]])
def test_without_training_files_the_others_are_a_pool(tmp_path, splits):
    for i, split in enumerate(splits):
        table(tmp_path / f"{split}.parquet", {"image": cells([10 * i, 10 * i + 1]), "label": ["a", "b"]})
    source = found(tmp_path)
    assert source.test is None
    assert labels_of(source) == {10 * i + j: "ab"[j] for i in range(len(splits)) for j in range(2)}
    assert "no training images: those of" in source.remarks[0]


@pytest.mark.parametrize("suffix", ["parq", "pq", "PARQUET", "Parquet"])
def test_a_folder_of_parquet_files_with_other_suffixes_is_read(tmp_path, suffix):
    table(tmp_path / f"train.{suffix}", {"image": cells([1, 2]), "label": ["a", "b"]})
    assert labels_of(found(tmp_path)) == {1: "a", 2: "b"}


def test_folders_that_are_partitions_give_labels_and_groups(tmp_path):
    for split, start in (("train", 0), ("test", 10)):
        for i, label in enumerate(("a b", "é", "__HIVE_DEFAULT_PARTITION__")):
            quoted = label.replace(" ", "%20")
            folder = tmp_path / f"split={split}" / f"label={quoted}" / f"patient={i}"
            table(folder / "part-0.parquet", {"image": cells([start + i])})
    source = found(tmp_path, group="patient")
    assert labels_of(source) == {0: "a b", 1: "é", 2: None}
    assert labels_of(source, "test") == {10: "a b", 11: "é", 12: None}
    assert list(source.train.groups) == [str(number) for number in labels_of(source)]


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_a_shard_that_is_cut_off_is_named_with_what_to_do(tmp_path, content):
    for number in range(2):
        table(tmp_path / f"train-{number}.parquet", {"image": cells([number]), "label": ["a"]})
    shard = tmp_path / "train-1.parquet"
    shard.write_bytes(shard.read_bytes()[:-40] if content is None else content)
    with pytest.raises(UserError, match=r"train-1\.parquet cannot be read as Parquet .*download it again, or move it"):
        found(tmp_path)


def test_tables_without_images_beside_class_folders_are_passed_over(tmp_path):
    class_folders(tmp_path, {"a": 2, "b": 2})
    table(tmp_path / "metadata.parquet", {"file": ["x"], "w": [1]})
    source = found(tmp_path)
    assert source.classes == ("a", "b")
    assert any("1 .parquet" in remark for remark in source.remarks)


@pytest.mark.parametrize("column", [["p1", None, "p2"], [7, None, 8], [7.0, None, 8.0]])
def test_a_column_groups_images(tmp_path, column):
    columns = {"image": cells([1, 2, 3]), "label": ["a", "b", "a"], "patient": column}
    table(tmp_path / "train.parquet", columns)
    table(tmp_path / "test.parquet", {"image": cells([4]), "label": ["a"]})
    source = found(tmp_path, group="patient")
    assert list(source.train.groups) == [str(int(x) if isinstance(x, float) else x) if x else "" for x in column]
    assert list(source.test.groups) == [""]
    assert found(tmp_path).train.groups is None


def test_a_column_of_groups_is_no_label(tmp_path):
    table(tmp_path / "train.parquet", {"image": cells([1, 2]), "digit": [0, 0], "patient": [5, 6]})
    assert labels_of(found(tmp_path, group="patient")) == {1: "0", 2: "0"}


def test_an_unknown_column_of_groups_is_told_with_those_that_there_are(tmp_path):
    table(tmp_path / "train.parquet", {"image": cells([1, 2]), "label": [0, 1]})
    with pytest.raises(UserError, match="no column 'patient' to group images by; its columns are image, label"):
        found(tmp_path, group="patient")


def test_a_stamp_changes_with_files_and_with_what_they_name_and_not_with_labels(tmp_path):
    written(tmp_path / "0.png", 0)
    columns = {"image": ["0.png"], "photo": cells([1]), "label": ["a"]}
    file = table(tmp_path / "train.parquet", columns)
    stamp = found(tmp_path).train.stamp
    assert found(tmp_path, unlabelled=True).train.stamp == stamp
    table(file, {"image": ["0.png"], "label": ["a"]})
    of_paths = found(tmp_path).train.stamp
    written(tmp_path / "0.png", 300)
    assert len({stamp, of_paths, found(tmp_path).train.stamp}) == 3


def test_names_are_paths_where_there_are_any(tmp_path):
    kind = cells([]).type
    one = pa.array([{"bytes": numbered(i), "path": f"p/{i}.png" if i else None} for i in range(3)], kind)
    table(tmp_path / "train-0.parquet", {"image": one, "label": [1, 2, 1]})
    table(tmp_path / "train-1.parquet", {"image": pa.array([numbered(9)]), "label": [1]})
    names = found(tmp_path).train.names
    assert list(names) == ["train-0.parquet row 0", "p/1.png", "p/2.png", "train-1.parquet row 0"]
    assert names[-1] == names[3]
    assert names[1:3] == ["p/1.png", "p/2.png"]


def test_an_empty_shard_says_nothing_of_the_columns(tmp_path):
    written(tmp_path / "1.png", 1)
    table(tmp_path / "train-0.parquet", {"image": pa.array([], pa.string()), "label": pa.array([], pa.string())})
    table(tmp_path / "train-1.parquet", {"image": ["1.png"], "label": ["a"]})
    assert labels_of(found(tmp_path)) == {1: "a"}


def test_files_of_no_split_in_several_folders_are_taken_together_and_that_is_told(tmp_path):
    for number, folder in enumerate(("en", "fr")):
        table(tmp_path / folder / "0.parquet", {"image": cells([number]), "label": ["a"]})
    source = found(tmp_path)
    assert labels_of(source) == {0: "a", 1: "a"}
    assert "images below en, fr are taken together; if those are several sets, give one" in source.remarks
