"""Class folders, and folders of splits."""

import shutil
import unicodedata
from pathlib import Path

import pytest
import torch

from bench.data import images
from bench.errors import UserError
from tests.bench.data.builders import class_folders, remark, stacked


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
    dataset = images.load(tmp_path)
    assert remark(dataset, "of a known kind") == "no image of a known kind in the folders owl"
    assert "only of the class a, which count as none" in remark(dataset, "only of")


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
