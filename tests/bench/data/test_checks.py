"""What gives reason to doubt a result."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from algorithms.images.statistics import IMAGENET
from bench.data import checks, images
from bench.data.dataset import Dataset, Split
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


def pair(labels: list[int], groups: list[int] | None, tests: int, classes: tuple[str, ...]) -> Dataset:
    """Noise with these labels and groups to train on, and so many test images."""
    random = torch.Generator().manual_seed(0)
    train, test = (torch.randint(0, 256, (n, 3, 8, 8), generator=random).byte() for n in (len(labels), tests))
    train = Split.of(train, torch.tensor(labels), None if groups is None else torch.tensor(groups))
    asked = Split.of(test, torch.full((tests,), -1 if not classes else 0))
    return Dataset("x", train, asked, classes, "", IMAGENET, "", ())


@pytest.mark.parametrize(
    ("labels", "groups", "enough"),
    [
        ([0, 0, 1, 1], None, True),
        ([0, 0, 1, 1], [3, 4, 5, 6], True),
        ([0, 0, 1, 1], [3, 4, 5, 5], True),  # the images of class 1 tell each other no more
        ([0, 0, 1, 1], [3, 3, 5, 5], False),
        ([0, 0, 1, 1], [-5, -5, 5, 5], False),
        ([0, -1, 0, 1], [3, 4, 3, 5], False),
    ],
)
def test_images_of_one_group_alone_do_not_judge_each_other_in_a_search(labels, groups, enough):
    dataset = pair(labels, groups, 2, ("a", "b"))
    if enough:
        checks.check_enough(dataset)
        return
    with pytest.raises(UserError, match=r"0 of \d labelled training images have another .* and of another group"):
        checks.check_enough(dataset)


def test_a_class_whose_images_are_all_of_one_group_is_told():
    dataset = pair([0, 0, 1, 1, 1], [3, 4, 5, 5, 5], 2, ("a", "b"))
    (told,) = (line for line in checks.doubts(dataset.train, dataset.test, ("a", "b")) if "one group" in line)
    assert told.startswith("all training images of b are of one group")


@pytest.mark.parametrize(("train", "test", "enough"), [(4, 2, True), (3, 2, False), (4, 1, False)])
def test_a_search_without_labels_needs_images_too(train, test, enough):
    dataset = pair([-1] * train, None, test, ())
    if enough:
        checks.check_enough(dataset)
        return
    with pytest.raises(UserError, match=f"{train} for training and {test} for testing; 4 and 2 are the least where no"):
        checks.check_enough(dataset)


def test_why_labels_count_as_none():
    classes = ("a", "b")
    assert checks.why_unlabelled(np.array([0, 1, -1]), classes) == ""
    assert checks.why_unlabelled(np.array([-1, -1]), ()) == ""
    assert "labels of none of the classes, which count" in checks.why_unlabelled(np.array([-1, -1]), classes)
    assert "labels only of the class b, which count as none" in checks.why_unlabelled(np.array([1, 1, -1]), classes)
    assert checks.why_unlabelled(np.array([1]), classes, ["a is empty", "so"]).endswith("least (a is empty; so)")
