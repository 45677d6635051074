"""What gives reason to doubt a result."""

import shutil

import numpy as np
import pytest
from PIL import Image

from bench.data import checks, images
from bench.errors import UserError
from tests.bench.data.builders import class_folders, parquet, picture, remark


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
    assert told.startswith("2 of 3 test images are training images too, pixel by pixel")


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
    class_folders(tmp_path / "train", {"a": 20, "b": 20})
    class_folders(tmp_path / "test", {"a": 25, "b": 24})
    dataset = images.load(tmp_path)
    assert (
        remark(dataset, "each", "40 labelled")
        == "only 40 labelled training images: each is worth 2.5 points of accuracy"
    )
    assert remark(dataset, "each", "49 test") == "only 49 test images: each is worth 2.0 points of accuracy"


@pytest.mark.parametrize(
    ("train", "test", "enough"),
    [
        ({"a": 2, "b": 1}, {"a": 1, "b": 1}, True),
        ({"a": 10, "b": 10}, {"a": 1}, False),  # one test image
        ({"a": 1, "b": 1}, {"a": 3, "b": 3}, False),  # none that another one could tell
    ],
)
def test_a_search_needs_images_to_judge_by(tmp_path, train, test, enough):
    class_folders(tmp_path / "train", train)
    class_folders(tmp_path / "test", test)
    dataset = images.load(tmp_path)
    if enough:
        checks.check_enough(dataset)
        return
    with pytest.raises(UserError, match=r"too few images to search with: .* 2 of each are the least$"):
        checks.check_enough(dataset)
