import hashlib
import io
import json
import os
import pickle
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import unicodedata
import urllib.request
import weakref
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms.v2.functional import center_crop, resize

import bench.execution.single
import run_bench
from bench import machine
from bench.data import images
from bench.errors import UserError
from bench.execution import benchmark
from bench.execution.configuration import TrainingConfiguration

CIFAR10 = Path(__file__).resolve().parents[4] / "shared" / "data" / "cifar10"
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(seed: int, width: int = 16, height: int = 16) -> np.ndarray:
    """uint8 [height, width, 3], smooth enough to be recognised after a lossy format."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR))


def encoded(array: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of this size with next to no pixels in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def class_folders(root: Path, counts: dict[str, int], size: int = 16, kind: str = "png", **options) -> list[np.ndarray]:
    """`counts[name]` images in `root/name`; returns them, by folder and file name."""
    arrays = []
    for name in sorted(counts):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(counts[name]):
            arrays.append(picture(len(arrays), size, size))
            Image.fromarray(arrays[-1]).save(root / name / f"{number:04}.{kind}", **options)
    return arrays


def parquet(path: Path, labels: list, classes: list[str] | None = None, seed: int = 0, **columns) -> list[np.ndarray]:
    """A Parquet file as Hugging Face writes it, of one image for each label; returns the images."""
    arrays = [picture(seed + number) for number in range(len(labels))]
    cells = [{"bytes": encoded(array), "path": f"{number}.png"} for number, array in enumerate(arrays)]
    contents = {"img": pa.array(cells, IMAGE), "label": pa.array(labels, pa.int64())} | columns
    table = pa.table({name: column for name, column in contents.items() if column is not None})
    if classes:
        features = {"img": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)
    return arrays


def remark(dataset: images.Dataset, *words: str) -> str:
    """The only remark that has all these words."""
    (found,) = (line for line in dataset.remarks if all(word in line for word in words))
    return found


def stacked(arrays: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


# --------------------------------------------------------------------------------------------------------- Parquet


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


def test_parquet_labels_without_names_become_classes_in_order(tmp_path):
    parquet(tmp_path / "train.parquet", [7, 3, 7, 3])
    parquet(tmp_path / "test.parquet", [3, 100])
    dataset = images.load(tmp_path)
    assert dataset.classes == ("3", "7", "100")
    assert dataset.train.labels.tolist() == [1, 0, 1, 0]
    assert dataset.test.labels.tolist() == [0, 2]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_parquet_labels_may_be_strings(tmp_path, kind):
    labels = ["cat", "ant", None, "cat", ""]
    parquet(tmp_path / "train.parquet", [0] * 5, label=pa.array(labels).cast(kind), caption=pa.array(labels))
    parquet(tmp_path / "test.parquet", [0] * 2, label=pa.array(["bee", "ant"]).cast(kind))
    dataset = images.load(tmp_path)
    assert dataset.classes == ("ant", "bee", "cat")
    assert dataset.train.labels.tolist() == [2, 0, -1, 2, -1]
    assert dataset.test.labels.tolist() == [1, 0]
    assert dataset.train.labels.dtype == torch.int64


def test_parquet_labels_may_be_booleans(tmp_path):
    parquet(tmp_path / "train.parquet", [0] * 3, label=pa.array([True, False, None]))
    parquet(tmp_path / "test.parquet", [0] * 2, label=pa.array([True, False]))
    dataset = images.load(tmp_path)
    assert dataset.classes == ("false", "true")
    assert dataset.train.labels.tolist() == [1, 0, -1]


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


def test_among_several_label_columns_the_first_with_class_names_counts(tmp_path):
    labels = {"fine_label": pa.array([4, 0, 2, 4]), "coarse_label": pa.array([0, 0, 1, 0]), "label": None}
    classes = {
        "fine_label": {"names": list("abcde"), "_type": "ClassLabel"},
        "coarse_label": {"names": list("xy"), "_type": "ClassLabel"},
    }
    parquet(tmp_path / "train.parquet", [0] * 4, **labels)
    table = pq.read_table(tmp_path / "train.parquet")
    metadata = {"huggingface": json.dumps({"info": {"features": classes}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "train.parquet")
    parquet(tmp_path / "test.parquet", [0] * 4, **labels)
    dataset = images.load(tmp_path)
    assert dataset.classes == tuple("abcde")
    assert dataset.train.labels.tolist() == [4, 0, 2, 4]


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


@pytest.mark.parametrize(
    ("columns", "classes"),
    [
        ({"class": ["b", "a", "b", "a"], "__index_level_0__": [0, 1, 2, 3]}, ("a", "b")),
        ({"category": ["b", "a", "b", "a"], "image_id": [9, 8, 7, 6]}, ("a", "b")),
        ({"Label": ["b", "a", "b", "a"], "width": [16, 16, 16, 16]}, ("a", "b")),
        ({"target": [5, 3, 5, 3], "id": [0, 1, 2, 3]}, ("3", "5")),
        ({"label": [1.0, 0.0, 1.0, None], "image_id": [0, 1, 2, 3]}, ("0", "1")),
        ({"label": [1.0, 0.0, 1.0, float("nan")]}, ("0", "1")),
        ({"digit": [1, 0, 1, 0], "row": [0, 1, 2, 3]}, ("0", "1")),
    ],
)
def test_a_column_that_numbers_the_images_is_never_the_label(tmp_path, columns, classes):
    for split in ("train", "test"):
        arrays = {name: pa.array(values) for name, values in columns.items()}
        parquet(tmp_path / f"{split}.parquet", [0] * 4, label=arrays.pop("label", None), **arrays)
    dataset = images.load(tmp_path)
    assert dataset.classes == classes
    assert dataset.train.labels.tolist()[:3] == [1, 0, 1]


NO_LABELS = {
    "an id": ({"image_id": [4, 3, 2, 1]}, "no column of integers but image_id, which does not look like labels"),
    "an index": ({"__index_level_0__": [4, 3, 2, 1]}, "does not look like labels"),
    "numbers": ({"serial": [4, 3, 2, 1]}, "'serial' .* its only one of integers, has 4 values in 4 rows"),
    "lists": ({"label": [[1], [0], [1], [0]], "image_id": [4, 3, 2, 1]}, "'label' .* is of type list"),
    "fractions": ({"label": [0.5, 1.5, 0.5, 1.5]}, "'label' .* holds fractions"),
    "endless numbers": ({"label": [0.0, float("inf"), 1.0, 1e300]}, "'label' .* holds fractions"),
    "a caption": ({"text": ["a", "b", "a", "b"]}, "no column of integers; labels"),
}


@pytest.mark.parametrize(("columns", "message"), NO_LABELS.values(), ids=NO_LABELS)
def test_where_no_column_is_clearly_the_label_one_line_asks(tmp_path, columns, message):
    arrays = {name: pa.array(values) for name, values in columns.items()}
    parquet(tmp_path / "train.parquet", [0] * 4, label=arrays.pop("label", None), **arrays)
    with pytest.raises(UserError, match=message) as error:
        images.load(tmp_path)
    assert "\n" not in str(error.value)


def test_parquet_views_are_read(tmp_path):
    arrays = [picture(number) for number in range(6)]
    kind = pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())])
    cells = pa.array([{"bytes": encoded(array), "path": "x.png"} for array in arrays], kind)
    parquet(tmp_path / "train.parquet", [0] * 6, label=pa.array(["b", "a"] * 3, pa.string_view()), img=cells)
    parquet(tmp_path / "test.parquet", [0] * 2, label=pa.array(["b", "a"], pa.string_view()))
    dataset = images.load(tmp_path)
    assert torch.equal(dataset.train.pixels, stacked(arrays))
    assert dataset.train.labels.tolist() == [1, 0] * 3


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


def test_of_a_hugging_face_cache_the_newest_snapshot_is_read(tmp_path):
    root = tmp_path / "datasets--me--pets"
    for number, name in enumerate(["2" * 40, "1" * 40]):
        parquet(root / "blobs" / name, [0, 1] * 5, seed=100 * number)
        (root / "snapshots" / name).mkdir(parents=True)
        (root / "snapshots" / name / "train.parquet").symlink_to(f"../../blobs/{name}")
        os.utime(root / "snapshots" / name, (number, number))
    dataset = images.load(root)
    assert dataset.name == "datasets--me--pets"
    assert len(dataset.train.labels) + len(dataset.test.labels) == 10
    assert remark(dataset, "newest of 2 snapshots").startswith("1111")
    newest = dataset.fingerprint
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("2" * 40 + "\n")
    assert images.load(root).fingerprint != newest


def test_parquet_files_that_are_missing_from_a_numbered_set_are_told(tmp_path):
    for number in (1, 3):
        parquet(tmp_path / f"data/train-{number:05}-of-00005.parquet", [0, 1] * 5, seed=100 * number)
    assert remark(images.load(tmp_path), "missing") == "3 of the 5 Parquet files of data/train are missing"


def test_what_lies_beside_parquet_files_is_counted(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 5)
    class_folders(tmp_path, {"a": 2})
    (tmp_path / "README.md").write_text("")
    assert remark(images.load(tmp_path), "passed over") == "3 other files passed over: 2 .png, 1 .md"


@pytest.mark.parametrize(
    "features", ["[]", '{"label": {"names": 5}}', '{"label": ["x"]}', '{"label": {"names": ["\\ud800"]}}']
)
def test_strange_metadata_do_no_harm(tmp_path, features):
    parquet(tmp_path / "train.parquet", [0, 0, 0, 1, 1, 1])
    table = pq.read_table(tmp_path / "train.parquet")
    metadata = {"huggingface": '{"info": {"features": ' + features + "}}"}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "train.parquet")
    if "ud800" in features:
        with pytest.raises(UserError, match="names only 1 classes"):
            images.load(tmp_path)
    else:
        assert images.load(tmp_path).classes == ("0", "1")


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


# --------------------------------------------------------------------------------------------------- class folders


def test_class_folders_below_train_and_test_are_read(tmp_path):
    train = class_folders(tmp_path / "train", {"dog": 3, "cat": 4})
    test = class_folders(tmp_path / "test", {"dog": 2, "cat": 2})
    dataset = images.load(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert torch.equal(dataset.train.pixels, stacked(train))
    assert dataset.train.labels.tolist() == [0] * 4 + [1] * 3
    assert torch.equal(dataset.test.pixels, stacked(test))


def test_class_folders_below_val_are_the_test_images(tmp_path):
    class_folders(tmp_path / "train", {"dog": 3, "cat": 4})
    class_folders(tmp_path / "val", {"dog": 1, "cat": 1})
    assert images.load(tmp_path).test.labels.tolist() == [0, 1]


def test_without_test_images_a_fixed_stratified_fifth_is_held_out_and_the_note_says_so(tmp_path):
    arrays = class_folders(tmp_path, {"a": 50, "b": 10, "c": 5})
    dataset = images.load(tmp_path)
    assert dataset.test.labels.bincount().tolist() == [10, 2, 1]
    assert dataset.train.labels.bincount().tolist() == [40, 8, 4]
    assert "held out" in dataset.note
    every = {image.numpy().tobytes() for split in (dataset.train, dataset.test) for image in split.pixels}
    assert every == {image.contiguous().numpy().tobytes() for image in stacked(arrays)}
    assert torch.equal(images.load(tmp_path).test.pixels, dataset.test.pixels)


@pytest.mark.parametrize("name", ["unlabelled", "Unlabeled"])
def test_a_class_folder_called_unlabelled_joins_the_training_images_alone(tmp_path, name):
    class_folders(tmp_path, {"a": 10, "b": 10, name: 30})
    dataset = images.load(tmp_path)
    assert dataset.classes == ("a", "b")
    assert (dataset.train.labels == -1).sum() == 30
    assert (dataset.test.labels >= 0).all()


@pytest.mark.parametrize("names", [("seg_train", "seg_test", "seg_pred"), ("training_set", "test_set")])
def test_parts_of_a_data_set_are_not_taken_for_classes(tmp_path, names):
    for name in names:
        class_folders(tmp_path / name / name, {"a": 3, "b": 3})
    with pytest.raises(UserError, match=r"look like parts of a data set.*name them train and test"):
        images.load(tmp_path)


def test_two_folders_of_one_split_are_not_mixed_up(tmp_path):
    for name in ("train", "training"):
        class_folders(tmp_path / name, {"a": 3, "b": 3})
    with pytest.raises(UserError, match="two folders of train images"):
        images.load(tmp_path)


def test_an_image_to_which_several_links_lead_is_there_once(tmp_path):
    class_folders(tmp_path / "real", {"a": 5, "b": 5})
    (tmp_path / "real" / "a" / "latest").symlink_to(tmp_path / "real" / "a")
    (tmp_path / "linked").mkdir()
    for name in ("a", "b"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "real" / name)
    for root in ("real", "linked"):
        dataset = images.load(tmp_path / root)
        assert len(dataset.train.labels) + len(dataset.test.labels) == 10


def test_hidden_files_other_files_and_empty_folders_are_passed_over(tmp_path):
    class_folders(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "._0001.png").write_bytes(b"what a Mac leaves")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.png").write_bytes(b"")
    (tmp_path / ".cache" / "x.parquet").write_bytes(b"")
    dataset = images.load(tmp_path)
    assert dataset.classes == ("a", "b")
    assert len(dataset.train.labels) + len(dataset.test.labels) == 10
    assert dataset.skipped == ()


@pytest.mark.parametrize("folder", ["test/images", "test/unknown", "test", "val/images"])
def test_a_test_folder_without_labels_is_left_out_and_a_part_of_training_held_out(tmp_path, folder):
    class_folders(tmp_path / "train", {"a": 10, "b": 10})
    class_folders(tmp_path / Path(folder).parent, {Path(folder).name: 5})
    dataset = images.load(tmp_path)
    assert dataset.classes == ("a", "b")
    assert dataset.test.labels.bincount().tolist() == [2, 2]
    assert remark(dataset, "without labels").startswith(f"5 images without labels in {Path(folder).parts[0]} left out")


def test_tiny_imagenet_is_read_as_it_is_unpacked(tmp_path):
    for name in ("n01", "n02"):
        class_folders(tmp_path / "train" / name, {"images": 4})
        (tmp_path / "train" / name / f"{name}_boxes.txt").write_text("")
    validation = class_folders(tmp_path / "val", {"images": 3})
    lines = ["0002.png\tn01\t0\t0\t9\t9", "0000.png\tn02\t0\t0\t9\t9"]
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(lines))
    class_folders(tmp_path / "test", {"images": 5})
    dataset = images.load(tmp_path)
    assert dataset.classes == ("n01", "n02")
    assert torch.equal(dataset.test.pixels, stacked([validation[2], validation[0]]))
    assert dataset.test.labels.tolist() == [0, 1]
    assert remark(dataset, "other files") == "2 other files passed over: 2 .txt"


FORMS = [("Cat", "cat"), *((unicodedata.normalize(form, "Café"), "café") for form in ("NFC", "NFD"))]


@pytest.mark.parametrize(("train", "test"), [*FORMS, *((test, train) for train, test in FORMS)])
def test_classes_that_differ_between_splits_in_case_or_unicode_form_alone_are_the_same(tmp_path, train, test):
    class_folders(tmp_path / "train", {train: 3, "dog": 3})
    class_folders(tmp_path / "test", {test: 2, "dog": 1})
    dataset = images.load(tmp_path)
    assert sorted(dataset.classes) == sorted([train, "dog"])
    assert dataset.test.labels.bincount()[dataset.classes.index(train)] == 2
    assert remark(dataset, "spells classes", "test")


def test_classes_that_differ_in_case_within_a_split_are_two(tmp_path):
    class_folders(tmp_path / "train", {"A": 3, "a": 3, "B": 3})
    class_folders(tmp_path / "test", {"a": 2, "A": 1, "b": 1})
    dataset = images.load(tmp_path)
    assert dataset.classes == ("A", "B", "a")
    assert dataset.test.labels.tolist() == [0, 1, 2, 2]
    shutil.rmtree(tmp_path / "train" / "a")
    dataset = images.load(tmp_path)
    assert dataset.classes == ("A", "B", "a")
    assert dataset.test.labels.tolist() == [0, 1, 2, 2]
    assert remark(dataset, "that training does not have").endswith(": a")


def test_what_storage_and_systems_leave_between_the_images_is_passed_over(tmp_path):
    class_folders(tmp_path, {"a": 5, "b": 5})
    before = images.load(tmp_path)
    for junk in ("@eaDir", "__MACOSX", "lost+found"):
        shutil.copytree(tmp_path / "a", tmp_path / "b" / junk)
        shutil.copytree(tmp_path / "a", tmp_path / junk / "a")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"")
    after = images.load(tmp_path)
    assert (after.fingerprint, after.remarks) == (before.fingerprint, before.remarks)


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JPG", "pbm", "TIF"])
def test_every_suffix_of_a_known_format_is_read(tmp_path, suffix):
    content = encoded(picture(0), "PPM" if suffix == "pbm" else "TIFF" if suffix == "TIF" else "JPEG")
    assert stored(tmp_path, content, f".{suffix}").shape == (16, 16, 3)


def test_files_of_unknown_kinds_are_counted_and_classes_of_them_alone_named(tmp_path):
    class_folders(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "owl").mkdir()
    for number in range(7):
        (tmp_path / "owl" / f"{number}.HEIC").write_bytes(b"")
    (tmp_path / "a" / "noted").write_bytes(b"")
    (tmp_path / "loose.png").write_bytes(b"")
    dataset = images.load(tmp_path)
    assert dataset.classes == ("a", "b")
    assert remark(dataset, "other files") == "8 other files passed over: 7 .heic, 1 without a suffix"
    assert remark(dataset, "of a known kind") == "no image of a known kind in the folders owl"
    assert remark(dataset, "no class folder") == "1 image in no class folder passed over"


def test_files_of_unknown_kinds_are_told_where_nothing_is_left_without_them(tmp_path):
    (tmp_path / "owl").mkdir()
    (tmp_path / "owl" / "0.heic").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds no images; .*\(1 other file passed over: 1 .heic\)"):
        images.load(tmp_path)
    class_folders(tmp_path, {"a": 5})
    with pytest.raises(
        UserError, match=r"images of 1 classes; .*\(no image of a known kind in the folders owl; 1 other"
    ):
        images.load(tmp_path)


def test_folders_beside_those_of_splits_are_told(tmp_path):
    class_folders(tmp_path / "train", {"a": 10, "b": 10})
    class_folders(tmp_path / "Test images", {"a": 2, "b": 2})
    class_folders(tmp_path, {"bus": 3})
    told = remark(images.load(tmp_path), "beside")
    assert told == "7 images beside the folders of splits passed over, in Test images, bus"


def test_unlabelled_images_beside_the_training_folder_join_it(tmp_path):
    class_folders(tmp_path / "train", {"a": 10, "b": 10})
    class_folders(tmp_path, {"unlabeled": 6})
    dataset = images.load(tmp_path)
    assert (dataset.train.labels == -1).sum() == 6
    assert "unlabeled" not in " ".join(dataset.remarks)


@pytest.mark.parametrize(
    ("link", "folder"), [("kitty", "a"), ("0", "a"), ("b/more", "a"), ("test/a", "train/a"), ("test", "train")]
)
def test_links_that_put_one_folder_into_two_classes_or_splits_are_refused(tmp_path, link, folder):
    root = tmp_path / "train" if link.startswith("test") else tmp_path
    class_folders(root, {"a": 5, "b": 5})
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / folder)
    with pytest.raises(UserError, match=f"{link} and .*{folder} lead to the same folder.*remove one"):
        images.load(tmp_path)


def test_a_link_to_a_folder_above_leads_nowhere(tmp_path):
    class_folders(tmp_path, {"b": 5, "c": 5})
    before = images.load(tmp_path)
    (tmp_path / "a").symlink_to(tmp_path)
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    assert images.load(tmp_path).fingerprint == before.fingerprint


def test_a_folder_goes_by_its_own_name_and_not_by_a_links(tmp_path):
    class_folders(tmp_path / "train", {"a": 5, "b": 5})
    (tmp_path / "all").symlink_to(tmp_path / "train")
    assert len(images.load(tmp_path).train.labels) == 8


@pytest.mark.parametrize("other", ["segmentations", "annotations/trimaps", "Masks"])
@pytest.mark.parametrize("root", ["", "train"])
def test_images_and_their_annotations_are_not_two_classes(tmp_path, other, root):
    for folder in ("images", other):
        class_folders(tmp_path / root / folder, {"a": 3, "b": 3})
    with pytest.raises(UserError, match="look like kinds of files and not like classes; give the one"):
        images.load(tmp_path)


def test_where_the_classes_lie_one_folder_deeper_it_is_told_where(tmp_path):
    class_folders(tmp_path / "archive", {"a": 3, "b": 3})
    with pytest.raises(UserError, match=r"one folder only, archive, .* the folders a, b; .* give .*/archive"):
        images.load(tmp_path)
    class_folders(tmp_path / "archive_small", {"a": 3, "b": 3})
    told = remark(images.load(tmp_path), "each of the classes archive, archive_small holds the folders a, b")
    assert told.endswith(f"such as {tmp_path / 'archive'}")


def test_images_of_a_training_folder_without_class_folders_are_not_called_a_class(tmp_path):
    class_folders(tmp_path, {"train": 3, "test": 3})
    with pytest.raises(UserError, match="train holds images but no class folders"):
        images.load(tmp_path)


def test_a_folder_that_cannot_be_read_is_told():
    root, user = Path(tempfile.mkdtemp()), os.geteuid()
    try:
        class_folders(root, {"a": 5, "b": 5, "c": 5})
        root.chmod(0o755)
        (root / "c").chmod(0)
        if user == 0:
            os.seteuid(65534)  # to root nothing is closed
        dataset = images.load(root)
    finally:
        os.seteuid(user)
        (root / "c").chmod(0o755)
        shutil.rmtree(root)
    assert dataset.classes == ("a", "b")
    assert remark(dataset, "cannot be read") == "the folder c cannot be read and is left out (Permission denied)"


def test_names_that_are_not_utf8_become_valid_text(tmp_path):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/donn\xe9es"))
    for name in (b"caf\xe9", b"caf\xe8"):
        class_folders(root / "train", {os.fsdecode(name): 5})
        class_folders(root / "other", {os.fsdecode(name): 1})
    (root / "train" / os.fsdecode(b"caf\xe9") / os.fsdecode(b"\xff.png")).write_bytes(b"")
    (root / "train" / os.fsdecode(b"x.\xff")).write_bytes(b"")
    dataset = images.load(root)
    assert len(set(dataset.classes)) == 2
    assert len(dataset.skipped) == 1
    for text in (dataset.name, dataset.note, *dataset.classes, *dataset.skipped, *dataset.remarks):
        text.encode()
    images.save(dataset, tmp_path / "saved")
    assert images.open_saved(tmp_path / "saved").classes == dataset.classes


# ------------------------------------------------------------------------------------------------- kinds of images


def stored(tmp_path: Path, content: bytes, suffix: str, **options) -> np.ndarray:
    """What becomes of an image: uint8 [S, S, 3]."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / f"x{suffix}").write_bytes(content)
    return images.load(tmp_path, strict=True, **options).train.pixels[0].permute(1, 2, 0).numpy()


def test_a_grey_image_gets_three_equal_channels(tmp_path):
    grey = picture(0)[:, :, 0]
    assert (stored(tmp_path, encoded(grey), ".png") == grey[:, :, None]).all()


def test_a_16_bit_image_keeps_its_brightness(tmp_path):
    grey = picture(0)[:, :, 0]
    assert (stored(tmp_path, encoded(grey.astype(np.uint16) * 256), ".png") == grey[:, :, None]).all()


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


def test_what_is_transparent_shows_white_and_not_the_colour_that_it_hides(tmp_path):
    array = picture(0)
    alpha = np.full((16, 16), 255, np.uint8)
    alpha[:8] = 0
    alpha[8] = 51
    shown = array.copy()
    shown[:8] = 255
    shown[8] = np.round(array[8] * 0.2 + 255 * 0.8)
    made = stored(tmp_path / "rgba", encoded(np.dstack([array, alpha])), ".png")
    assert np.abs(made.astype(int) - shown).max() <= 1

    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(0, (0, 0, 16, 8))
    for kind in ("PNG", "GIF"):
        file = io.BytesIO()
        palette.save(file, kind, transparency=0)
        made = stored(tmp_path / kind, file.getvalue(), f".{kind.lower()}")
        assert (made[:8] == 255).all()
        assert (made[8:] == [0, 0, 255]).all()

    file = io.BytesIO()
    grey = Image.fromarray(np.repeat([[0], [90]], 8, 0).astype(np.uint8).repeat(16, 1))
    grey.save(file, "PNG", transparency=0)
    made = stored(tmp_path / "grey", file.getvalue(), ".png")
    assert (made[:8] == 255).all()
    assert (made[8:] == 90).all()


def test_palettes_and_opaque_alpha_become_colours(tmp_path):
    array = picture(0)
    opaque = np.dstack([array, np.full((16, 16), 255, np.uint8)])
    assert (stored(tmp_path / "alpha", encoded(opaque), ".png") == array).all()
    palette = Image.fromarray(array).quantize(256)
    file = io.BytesIO()
    palette.save(file, "PNG")
    expected = np.asarray(palette.convert("RGB"))
    assert (stored(tmp_path / "palette", file.getvalue(), ".png") == expected).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_the_way_its_camera_was_held(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(0), exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert (stored(tmp_path, content, ".png") == expected).all()


@pytest.mark.parametrize(
    "broken",
    [(256, 2, 4, b"abc\0"), (256, 9, 1, struct.pack("<i", -5)), (256, 11, 1, struct.pack("<f", 1.5))],
    ids=["width as text", "negative width", "width as a fraction"],
)
def test_a_broken_exif_tag_does_not_cost_the_image(tmp_path, broken):
    turn = (274, 3, 1, struct.pack("<HH", 6, 0))  # clockwise by 90 degrees
    entries = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in (turn, broken))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    array = picture(0)
    assert (stored(tmp_path, encoded(array, exif=exif), ".png") == np.rot90(array, -1)).all()


def test_exif_that_cannot_be_read_at_all_does_not_cost_the_image(tmp_path):
    array = picture(0)
    assert (stored(tmp_path, encoded(array, exif=b"Exif\0\0II*\0\xff\xff"), ".png") == array).all()


@pytest.mark.parametrize(("width", "height"), [(32, 32), (40, 24), (17, 31), (8, 8)])
def test_resizing_takes_the_central_square_as_torchvision_does(tmp_path, width, height):
    array = picture(3, width, height)
    made = stored(tmp_path, encoded(array), ".png", image_size=16)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    square = center_crop(resize(tensor, [16], antialias=True), [16])
    difference = made.astype(int) - square.permute(1, 2, 0).numpy()
    # torchvision rounds the longer side to a whole number of pixels before it crops: half a pixel at most.
    assert np.abs(difference).max() <= (1 if width == height else 14)
    assert np.abs(difference).mean() < 2.5


@pytest.mark.parametrize("qualities", [[75], [90], [60, 90]])
def test_the_note_tells_the_quality_of_jpegs(tmp_path, qualities):
    for quality in qualities:
        class_folders(tmp_path / "cifar10" / "train", {f"{quality}": 3, "x": 3}, kind="jpg", quality=quality)
    class_folders(tmp_path / "cifar10" / "test", {"x": 3}, kind="jpg", quality=qualities[-1])
    expected = f"JPEG-{qualities[0]}" if len(qualities) == 1 else "JPEG"
    assert images.load(tmp_path / "cifar10").note == f"CIFAR-10 ({expected})"


# --------------------------------------------------------------------------------------------------- damaged images


def damage(root: Path, content: bytes) -> str:
    (root / "a" / "0003.png").write_bytes(content)
    return "a/0003.png"


def warnings_in(text: str) -> list[str]:
    """The lines of stderr that do not tell the progress on a slow machine."""
    return [line for line in text.splitlines() if not line.startswith("decoding ")]


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


def test_a_damaged_image_in_parquet_is_named_by_row_and_path(tmp_path):
    parquet(tmp_path / "data" / "test.parquet", [0, 1])
    cells = [{"bytes": encoded(picture(i)), "path": f"{i}.png"} for i in range(9)]
    cells[4]["bytes"] = cells[4]["bytes"][:60]
    cells[6] = {"bytes": None, "path": "elsewhere.png"}
    cells[8] = None
    parquet(tmp_path / "data" / "train.parquet", [0, 1, 0] * 3, img=pa.array(cells, IMAGE))
    dataset = images.load(tmp_path)
    assert [line.split(": ")[0] for line in dataset.skipped] == [
        "data/train.parquet row 4 (4.png)",
        "data/train.parquet row 6 (elsewhere.png)",
        "data/train.parquet row 8",
    ]
    assert dataset.train.labels.tolist() == [0, 1, 0, 0, 0, 1]


def test_of_a_long_thin_image_the_middle_is_kept(tmp_path):
    thin = np.zeros((1, 60_000, 3), np.uint8)
    thin[:, 29_999:30_001] = 255
    assert (stored(tmp_path, encoded(thin), ".png", image_size=64) == 255).all()


# -------------------------------------------------------------------------------------------------------- bad input


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
    "no images": (lambda root: (root / "a").mkdir(), {}, "holds no images; it should hold"),
    "no class folders": (lambda root: (root / "x.png").write_bytes(encoded(picture(0))), {}, "no class folders"),
    "one class": (lambda root: class_folders(root, {"a": 5}), {}, "images of 1 classes"),
    "single images": (lambda root: class_folders(root, {"a": 1, "b": 1}), {}, "too few images to hold out"),
    "mixed sizes": (folder_of_mixed_sizes, {}, "differ in size .* 16x16 .* 24x24 .*--image-size"),
    "oblong": (folder_of_oblongs, {}, "20x16 px, not square; give --image-size"),
    "tiny": (lambda root: class_folders(root, {"a": 5, "b": 5}, size=4), {}, "4x4 px; 8 px is the least"),
    "all broken": (folder_of_broken_images, {}, "none of the training images"),
    "image size": (lambda root: class_folders(root, {"a": 5, "b": 5}), {"image_size": 4}, "4 px is too small"),
    "no limit": (lambda root: class_folders(root, {"a": 5, "b": 5}), {"limit": 0}, "limit of 0"),
    "limit": (lambda root: class_folders(root, {"a": 5, "b": 5, "c": 5}), {"limit": 2}, "2 images .* 3 classes"),
    "memory": (
        lambda root: class_folders(root, {"a": 5, "b": 5}),
        {"image_size": 1_000_000},
        "GiB of memory.*smaller --image-size",
    ),
    "no image column": (text_parquet, {}, "no image column .* its columns are text, label"),
    "no label column": (lambda root: parquet(root / "train.parquet", [0, 1], label=None), {}, "no column of integers"),
    "two label columns": (
        lambda root: parquet(root / "train.parquet", [0, 1], label=None, x=pa.array([0, 1]), y=pa.array([0, 1])),
        {},
        "several columns of integers; .* 'label'",
    ),
    "no labels": (lambda root: parquet(root / "train.parquet", [-1, None, -1]), {}, "of 0 classes"),
    "too large a label": (lambda root: parquet(root / "train.parquet", [0, 5], ["a", "b"]), {}, "label 5.*2 classes"),
    "not Parquet": (lambda root: (root / "train.parquet").write_bytes(b"PAR1"), {}, "cannot be read as Parquet"),
    "no training file": (lambda root: parquet(root / "test.parquet", [0, 1]), {}, "should contain 'train'"),
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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar-10", "did you mean cifar10"),
        ("CIFAR100", "did you mean cifar100"),
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
        images.cache_folder()


def test_a_folder_called_like_a_named_data_set_is_told(tmp_path, monkeypatch):
    class_folders(tmp_path / "shapes", {"a": 5, "b": 5})
    monkeypatch.chdir(tmp_path)
    dataset = images.load("shapes")
    assert len(dataset.train.labels) == 1000
    assert (
        remark(dataset, "./shapes") == "shapes is the name of a data set; the folder that is called so here is ./shapes"
    )
    assert len(images.load("./shapes").train.labels) == 8


def test_a_file_that_is_no_data_set_is_refused(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="neither a folder nor a Parquet file"):
        images.load(tmp_path / "x.zip")


# ---------------------------------------------------------------------------------------------------------- by name


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and no way to the network: the proxy is a port at which nobody listens."""
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{free.getsockname()[1]}")
            monkeypatch.delenv(name.upper(), raising=False)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        urllib.request.install_opener(None)  # it remembers the proxies of its first use
        yield tmp_path
    urllib.request.install_opener(None)


@pytest.mark.parametrize("name", images.NAMED)
def test_without_network_a_named_data_set_says_what_to_do(cache, name):
    with pytest.raises(UserError, match="could not be downloaded") as error:
        images.load(name)
    assert "\n" not in str(error.value)
    assert str(cache) in str(error.value)
    assert "--dataset PATH" in str(error.value)


def test_a_network_that_never_answers_is_given_up(cache, monkeypatch):
    monkeypatch.setattr(images, "SILENCE", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(UserError, match="timed out"):
            images.load("cifar10")
    assert socket.getdefaulttimeout() is None


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_cifar10_is_read_as_torchvision_stores_it(cache, monkeypatch):
    folder = cache / "cifar-10-batches-py"
    folder.mkdir()
    arrays = [picture(number, 32, 32) for number in range(60)]

    def write(name: str, content: dict) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, md5(folder / name)]

    def batch(name: str, chosen: range) -> list[str]:
        data = np.stack([arrays[i].transpose(2, 0, 1).reshape(-1) for i in chosen])
        return write(name, {"data": data, "labels": [i % 10 for i in chosen]})

    constructor = torchvision.datasets.CIFAR10
    train = [batch(f"data_batch_{n + 1}", range(n * 10, n * 10 + 10)) for n in range(5)]
    names = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(constructor, "train_list", train)
    monkeypatch.setattr(constructor, "test_list", [batch("test_batch", range(50, 60))])
    monkeypatch.setattr(constructor, "meta", {"filename": names[0], "key": "label_names", "md5": names[1]})
    dataset = images.load("cifar10")
    assert (dataset.name, dataset.note, dataset.classes) == ("cifar10", "CIFAR-10", tuple("abcdefghij"))
    assert torch.equal(dataset.train.pixels, stacked(arrays[:50]))
    assert torch.equal(dataset.test.pixels, stacked(arrays[50:]))
    assert dataset.train.labels.tolist() == [i % 10 for i in range(50)]
    assert dataset.train.pixels.is_contiguous()

    small = images.load("cifar10", image_size=16, limit=20)
    assert small.train.pixels.shape == (20, 3, 16, 16)
    assert small.train.labels.bincount().tolist() == [2] * 10
    assert small.note == "CIFAR-10; 20 of 50 training images; resized to 16 px"

    (folder / "test_batch").write_bytes(b"damaged")
    with pytest.raises(UserError, match="could not be downloaded"):
        images.load("cifar10")


def test_stl10_unlabelled_images_join_the_training_images_as_minus_one(cache, monkeypatch):
    folder = cache / "stl10_binary"
    folder.mkdir()
    arrays = [picture(number, 96, 96) for number in range(12)]
    for name, chosen in (("train", range(4)), ("unlabeled", range(4, 9)), ("test", range(9, 12))):
        # STL-10 stores columns first, and labels from 1.
        np.stack([arrays[i].transpose(2, 1, 0) for i in chosen]).tofile(folder / f"{name}_X.bin")
        (np.array([i % 2 for i in chosen], np.uint8) + 1).tofile(folder / f"{name}_y.bin")
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    constructor = torchvision.datasets.STL10
    files = {part: [f"{part}.bin", md5(folder / f"{part}.bin")] for part in ("train_X", "train_y", "unlabeled_X")}
    test = {part: [f"{part}.bin", md5(folder / f"{part}.bin")] for part in ("test_X", "test_y")}
    monkeypatch.setattr(constructor, "train_list", list(files.values()))
    monkeypatch.setattr(constructor, "test_list", list(test.values()))
    dataset = images.load("stl10")
    assert dataset.classes == ("airplane", "bird")
    assert dataset.train.labels.tolist() == [0, 1, 0, 1, -1, -1, -1, -1, -1]
    assert dataset.test.labels.tolist() == [1, 0, 1]
    assert torch.equal(dataset.train.pixels, stacked(arrays[:9]))


def test_fashionmnist_gets_three_channels(cache):
    folder = cache / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    arrays = np.stack([picture(number, 28, 28)[:, :, 0] for number in range(30)])
    for name, chosen in (("train", slice(20)), ("t10k", slice(20, 30))):
        pixels, labels = arrays[chosen], np.arange(30, dtype=np.uint8)[chosen] % 10
        header = struct.pack(">IIII", 0x803, len(pixels), 28, 28)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, len(labels)) + labels.tobytes())
    dataset = images.load("fashionmnist")
    assert dataset.classes[0] == "T-shirt/top"
    assert torch.equal(dataset.train.pixels, torch.from_numpy(arrays[:20])[:, None].repeat(1, 3, 1, 1))
    assert dataset.test.labels.tolist() == list(range(10))


def test_svhn_digits_are_read_upright(cache, monkeypatch):
    savemat = pytest.importorskip("scipy.io").savemat
    arrays = np.stack([picture(number, 32, 32) for number in range(15)])
    splits = {}
    for name, chosen in (("train", slice(10)), ("test", slice(10, 15))):
        labels = np.arange(15)[chosen] % 10
        file = cache / f"{name}_32x32.mat"
        savemat(file, {"X": arrays[chosen].transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
        splits[name] = ["http://localhost", file.name, md5(file)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)
    dataset = images.load("svhn")
    assert torch.equal(dataset.train.pixels, stacked(list(arrays[:10])))
    assert dataset.train.labels.tolist() == list(range(10))
    assert dataset.classes == tuple("0123456789")


# ----------------------------------------------------------------------------------------------------- the splits

LABELS = st.lists(st.integers(-1, 6), min_size=1, max_size=300)


@given(LABELS, st.floats(0.02, 0.5))
@example([0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 0.5)  # what four single images cannot give is taken from the fifth class
def test_a_validation_split_is_stratified_and_holds_no_unlabelled_image(labels, fraction):
    labels = torch.tensor(labels)
    train, validation = images.validation_split(labels, fraction)
    assert sorted(train.tolist() + validation.tolist()) == list(range(len(labels)))
    assert (train.diff() > 0).all()
    assert (validation.diff() > 0).all()
    assert (labels[validation] >= 0).all()
    counts = labels[labels >= 0].bincount()
    counts = counts[counts > 0]
    # A class gives at least one image if it has two, and keeps one: others make up for what this adds or takes.
    least, most, share = (counts - 1).clamp(max=1), counts - 1, fraction * counts
    forced = float((least - share).clamp(min=0).sum() + (share - most).clamp(min=0).sum())
    for label in set(labels.tolist()) - {-1}:
        count, held = int((labels == label).sum()), int((labels[validation] == label).sum())
        assert min(1, count - 1) <= held <= count - 1
        assert abs(held - fraction * count) < 2 + forced


@given(LABELS, st.integers(0, 2**31))
def test_a_validation_split_depends_on_the_labels_alone(labels, seed):
    labels = torch.tensor(labels)
    before = images.validation_split(labels)
    torch.manual_seed(seed)
    np.random.seed(seed)
    after = images.validation_split(labels.clone())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_validation_split_of_cifar10_sizes_is_pinned():
    labels = torch.arange(50_000) % 10
    train, validation = images.validation_split(labels)
    assert labels[validation].bincount().tolist() == [500] * 10
    assert len(train) == 45_000
    digest = hashlib.sha256(validation.numpy().astype("<i8")).hexdigest()
    assert digest[:16] == "2d779e968dc7c914"


def test_a_limit_keeps_the_same_stratified_images_each_time(tmp_path):
    class_folders(tmp_path / "train", {"a": 40, "b": 20, "unlabelled": 60})
    class_folders(tmp_path / "test", {"a": 20, "b": 10})
    whole, part = images.load(tmp_path), images.load(tmp_path, limit=30)
    assert sorted(part.train.labels.tolist()) == [-1] * 15 + [0] * 10 + [1] * 5
    assert part.test.labels.bincount().tolist() == [5, 3]
    every = {image.numpy().tobytes() for image in whole.train.pixels}
    assert all(image.numpy().tobytes() in every for image in part.train.pixels)
    assert images.load(tmp_path, limit=30).fingerprint == part.fingerprint
    assert part.fingerprint != whole.fingerprint
    assert images.load(tmp_path, limit=1000).fingerprint == whole.fingerprint


# --------------------------------------------------------------------------------------------- the decoded data set


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


def test_a_saved_data_set_is_opened_as_it_was_with_its_validation_split_last(tmp_path):
    class_folders(tmp_path / "data", {"a": 10, "b": 10})
    damage(tmp_path / "data", b"")
    dataset = images.load(tmp_path / "data")
    images.save(dataset, tmp_path / "saved")
    opened = images.open_saved(tmp_path / "saved")
    kept, held = images.validation_split(dataset.train.labels)
    order = torch.cat([kept, held])
    assert opened.validation == len(held) > 0
    for mine, its, places in ((dataset.train, opened.train, order), (dataset.test, opened.test, slice(None))):
        assert torch.equal(mine.pixels[places], its.pixels)
        assert torch.equal(mine.labels[places], its.labels)
    assert dataset.remarks
    for field in ("name", "classes", "fingerprint", "note", "skipped", "remarks"):
        assert getattr(opened, field) == getattr(dataset, field)
    assert [file.name for file in (tmp_path / "saved").iterdir()] == [images.SAVED]


def test_an_opened_data_set_is_mapped_from_its_file(tmp_path):
    images.save(images.load("shapes"), tmp_path)
    opened = images.open_saved(tmp_path)
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    assert str(tmp_path / images.SAVED) in mapped
    assert len(opened.train.labels) == 1000


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=40), st.integers(1, 20), st.integers(8, 11))
def test_a_data_set_of_any_size_is_opened_as_it_was_saved(labels, test, side):
    generator = torch.Generator().manual_seed(len(labels))

    def split(labels: list[int]) -> images.Split:
        pixels = torch.randint(0, 256, (len(labels), 3, side, side), dtype=torch.uint8, generator=generator)
        return images.Split(pixels, torch.tensor(labels))

    dataset = images.Dataset("x", split(labels), split([0] * test), tuple("abcde"), "f", "", ())
    with tempfile.TemporaryDirectory() as folder:
        images.save(dataset, folder)
        opened = images.open_saved(folder)
        order = torch.cat(images.validation_split(dataset.train.labels))
        assert torch.equal(opened.train.pixels, dataset.train.pixels[order])
        assert torch.equal(opened.train.labels, dataset.train.labels[order])
        assert torch.equal(opened.test.pixels, dataset.test.pixels)
        assert torch.equal(opened.test.labels, dataset.test.labels)


def test_a_saved_data_set_is_written_again_only_where_it_differs(tmp_path):
    shapes = images.load("shapes")
    images.save(shapes, tmp_path)
    written = (tmp_path / images.SAVED).stat()
    images.save(shapes, tmp_path)
    assert (tmp_path / images.SAVED).stat().st_ino == written.st_ino
    fewer = images.load("shapes", limit=80)
    images.save(fewer, tmp_path)
    assert images.open_saved(tmp_path).fingerprint == fewer.fingerprint


def test_a_saved_data_set_that_is_missing_or_damaged_is_refused_and_replaced(tmp_path):
    with pytest.raises(UserError, match="no saved data set"):
        images.open_saved(tmp_path)
    shapes = images.load("shapes", limit=80)
    images.save(shapes, tmp_path)
    content = (tmp_path / images.SAVED).read_bytes()
    (tmp_path / images.SAVED).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="no saved data set"):
        images.open_saved(tmp_path)
    images.save(shapes, tmp_path)
    assert images.open_saved(tmp_path).fingerprint == shapes.fingerprint


def test_on_a_full_disk_saving_is_refused_on_one_line_and_leaves_nothing(tmp_path):
    shapes = images.load("shapes")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(UserError, match="cannot be written") as error:
            images.save(shapes, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert not [*tmp_path.iterdir()]


def test_saving_takes_no_second_copy_of_the_images(tmp_path):
    script = """
import resource, sys
import torch
from bench.data import images
def save(count, folder):
    split = images.Split(torch.ones(count, 3, 224, 224, dtype=torch.uint8), torch.arange(count) % 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    images.save(images.Dataset("x", split, split, tuple("abcd"), "0" * 64, "", ()), folder)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / split.pixels.nbytes
save(100, sys.argv[1] + "/first")  # libraries are loaded
print(save(600, sys.argv[1] + "/second"))
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5


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


# ---------------------------------------------------------------------------------------- what is to be doubted


def test_a_sound_data_set_has_no_remarks(tmp_path):
    class_folders(tmp_path / "train", {"a": 300, "b": 300})
    class_folders(tmp_path / "test", {"a": 60, "b": 60})
    for file in (tmp_path / "test").rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    assert images.load(tmp_path).remarks == ()


def test_test_images_of_classes_that_training_does_not_have_are_counted(tmp_path):
    class_folders(tmp_path / "train", {"a": 5, "b": 5})
    class_folders(tmp_path / "test", {"a": 2, "extra": 3})
    told = remark(images.load(tmp_path), "that training does not have")
    assert told == "3 test images of classes that training does not have count as wrong: extra"


def test_test_images_that_are_training_images_too_are_counted(tmp_path):
    class_folders(tmp_path / "train", {"a": 5, "b": 5})
    class_folders(tmp_path / "test", {"b": 3})
    for number in (0, 2):
        shutil.copy(tmp_path / "train" / "a" / f"000{number}.png", tmp_path / "test" / "b" / f"000{number}.png")
    Image.fromarray(255 - picture(1)).save(tmp_path / "test" / "b" / "0001.png")
    told = remark(images.load(tmp_path), "training images too")
    assert told == "2 of 3 test images are training images too, pixel by pixel"


def test_labels_that_are_nearly_all_different_are_doubted(tmp_path):
    parquet(tmp_path / "train.parquet", [5, 6, 7, 8, 8])
    parquet(tmp_path / "test.parquet", [5, 6])
    assert remark(images.load(tmp_path), "numbers of images").startswith("5 labelled training images have 4 different")


def test_single_images_and_imbalance_are_told(tmp_path):
    class_folders(tmp_path / "train", {"a": 30, "b": 1, "c": 20})
    class_folders(tmp_path / "test", {"a": 9, "b": 1})
    dataset = images.load(tmp_path)
    assert remark(dataset, "only one") == "only one training image in b"
    told = remark(dataset, "largest class")
    assert told.startswith("the largest class (a) has 30 training images and the smallest 1: ")
    assert told.endswith("who always names one class is right for 90.0% of the test images")


def test_few_images_to_judge_by_are_told_with_what_one_is_worth(tmp_path):
    class_folders(tmp_path / "train", {"a": 40, "b": 40})
    class_folders(tmp_path / "test", {"a": 25, "b": 24})
    dataset = images.load(tmp_path)
    assert remark(dataset, "validation") == "only 8 validation images: each is worth 12.5 points of accuracy"
    assert remark(dataset, "each", "49 test") == "only 49 test images: each is worth 2.0 points of accuracy"


@pytest.mark.parametrize(
    ("train", "test", "enough"),
    [
        ({"a": 10, "b": 10}, {"a": 1, "b": 1}, True),
        ({"a": 10, "b": 10}, {"a": 1}, False),  # one test image
        ({"a": 10, "b": 1}, {"a": 3, "b": 3}, False),  # one validation image
        ({"a": 1, "b": 1}, {"a": 3, "b": 3}, False),  # none
    ],
)
def test_a_search_needs_images_to_judge_by(tmp_path, train, test, enough):
    class_folders(tmp_path / "train", train)
    class_folders(tmp_path / "test", test)
    dataset = images.load(tmp_path)
    if enough:
        images.check_enough(dataset)
        return
    with pytest.raises(UserError, match=r"too few images to search with: .* 20 labelled training images would do"):
        images.check_enough(dataset)


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
    words = ["--budget", "20cpu-minutes", "--limit", "50", "--dataset", "", "--run-dir", str(tmp_path)]
    assert run_bench.main(words) == 2
    (error,) = warnings_in(capsys.readouterr().err)
    assert error.startswith("error: ")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        images.save(images.load("shapes", limit=80), tmp_path / "file" / "below")
