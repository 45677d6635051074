"""Class folders, and folders of splits."""

import os
import shutil
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.data import folders, images
from bench.data.source import Asked
from bench.data.tree import Tree
from bench.errors import UserError
from tests.bench.data import truth
from tests.bench.data.builders import class_folders, remark, stacked
from tests.bench.data.truth import counted, found, put, seen


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
        (tmp_path / "owl" / f"{number}.HEIC_").write_bytes(b"")
    (tmp_path / "a" / "noted").write_bytes(b"")
    dataset = images.load(tmp_path)
    assert dataset.classes == ("a", "b")
    assert remark(dataset, "other files") == "8 other files passed over: 7 .heic_, 1 without a suffix"
    assert remark(dataset, "of a known kind") == "no image of a known kind in the folders owl (7 .heic_)"


def test_files_of_unknown_kinds_are_told_where_nothing_is_left_without_them(tmp_path):
    (tmp_path / "owl").mkdir()
    (tmp_path / "owl" / "0.heic_").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds no images \(1 other file passed over: 1 .heic_\); give a folder"):
        images.load(tmp_path)
    class_folders(tmp_path, {"a": 5})
    source = truth.found(tmp_path)
    assert source.classes == ()
    assert truth.remark(source, "one class folder only, a")
    assert truth.remark(source, "no image of a known kind in the folders owl (1 .heic_)")


def test_folders_beside_those_of_splits_are_told(tmp_path):
    class_folders(tmp_path / "train", {"a": 10, "b": 10})
    class_folders(tmp_path / "pilot test", {"a": 2, "b": 2})
    class_folders(tmp_path, {"bus": 3})
    told = remark(images.load(tmp_path), "beside")
    assert told == "7 images beside the folders of splits passed over, in bus, pilot test"


def test_unlabelled_images_beside_the_training_folder_join_it(tmp_path):
    class_folders(tmp_path / "train", {"a": 10, "b": 10})
    class_folders(tmp_path, {"unlabeled": 6})
    dataset = images.load(tmp_path)
    assert (dataset.train.labels == -1).sum() == 6
    assert not any("passed over" in line for line in dataset.remarks)


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


CLASSES = ("cat", "dog")


def pairs(root: Path, split: str = "train", count: int = 3) -> None:
    """A class folder for each of `CLASSES`."""
    for name in CLASSES:
        put(root / name, name, split, count)


def rows(split: str, count: int = 3) -> dict[tuple[str, str, str], int]:
    """What `counted` says of what `pairs` made."""
    return {(name, split, name): count for name in CLASSES}


def unlabelled(split: str, count: int = 3) -> dict[tuple[str, str, None], int]:
    return {(name, split, None): count for name in CLASSES}


FOLDERS = st.lists(st.sampled_from(["a", "b", "2019", "é"]), max_size=3).map("/".join)


@given(st.dictionaries(FOLDERS, st.integers(1, 4), min_size=1, max_size=5), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_first_folder_is_the_label_of_all_images_below_it_unless_a_user_says_otherwise(folders, aside):
    tops = {path.split("/")[0] for path in folders} - {""}
    assume(len(tops) != 1)  # it would be looked into
    truth: dict[int, str | None] = {}
    with TemporaryDirectory() as folder:
        for path, count in folders.items():
            put(Path(folder, path), "cat", "train", count, start=len(truth))
            label = path.split("/")[0] or None
            truth |= dict.fromkeys(range(len(truth), len(truth) + count), None if aside else label)
        source = found(Path(folder), Asked(unlabelled=aside))
        assert {number: label for (_, _, number), label in seen(source.train, source.classes)} == truth
    assert source.classes == (() if aside else tuple(sorted(tops)))
    assert source.test is None


@pytest.mark.parametrize("folder", ["", "all", "all/more", "Unlabelled"])
def test_images_without_class_folders_are_unlabelled_and_it_is_told_what_would_give_them_labels(tmp_path, folder):
    put(tmp_path / folder, "cat", count=5)
    source = found(tmp_path)
    assert source.classes == ()
    assert counted(source) == {"train": {("cat", "train", None): 5}}
    assert truth.remark(source, "no image has a label").endswith("(--labels)")


def test_names_that_begin_with_a_class_are_no_class_folders(tmp_path):
    for name in CLASSES:
        put(tmp_path, name, suffix=f"_{name}.jpg")
    assert counted(found(tmp_path)) == {"train": unlabelled("train")}


def test_images_beside_class_folders_have_no_label_and_are_told(tmp_path):
    pairs(tmp_path)
    put(tmp_path, "none", count=2)
    source = found(tmp_path)
    assert counted(source) == {"train": rows("train") | {("none", "train", None): 2}}
    assert truth.remark(source, "2 images in no class folder").startswith("without a label")


@pytest.mark.parametrize("where", ["", "train"])
def test_a_single_folder_that_holds_folders_beside_images_is_told_with_where_to_go(tmp_path, where):
    put(tmp_path / where, "none", count=1)
    pairs(tmp_path / where / "archive")
    source = found(tmp_path)
    assert counted(source) == {"train": unlabelled("train") | {("none", "train", None): 1}}
    told = truth.remark(source, "one class folder only, archive")
    assert told.endswith(f"if the folders cat, dog in it are the classes or splits, give {tmp_path / where}/archive")


@pytest.mark.parametrize("test", ["test/cat", "test"])
def test_splits_without_labels_stay_splits(tmp_path, test):
    put(tmp_path / "train", "cat")
    put(tmp_path / test, "dog", "test")
    source = found(tmp_path)
    assert source.classes == ()
    assert counted(source) == {"train": {("cat", "train", None): 3}, "test": {("dog", "test", None): 3}}


def test_labels_that_are_left_aside_leave_the_splits_and_what_lies_beside_them_trains(tmp_path):
    for split, files in (("train", "train"), ("test", "test"), ("val", "val"), ("extra", "other")):
        pairs(tmp_path / split, files)
    for asked in (Asked(unlabelled=True), Asked(labels=Path("labels.csv"))):
        source = folders.find(Tree(tmp_path), asked)
        assert source.classes == ()
        assert counted(source) == {"train": unlabelled("train") | unlabelled("other"), "test": unlabelled("test")}
        assert source.note == "; its validation images left out"


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training_set/training_set", "test_set/test_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("dataset/train", "dataset/test"),
        ("archive/dataset/Training", "archive/dataset/Testing"),
        ("train2017", "val2017"),
        ("Train images", "test1"),
        ("train/images", "test/images"),
    ],
)
def test_splits_are_found_where_there_is_one_way_to_them(tmp_path, train, test):
    pairs(tmp_path / train)
    pairs(tmp_path / test, "test", 2)
    if "/" in train and "images" in train:
        put(tmp_path / "train" / "masks", "none")
    source = found(tmp_path)
    assert source.classes == CLASSES
    assert counted(source) == {"train": rows("train"), "test": rows("test", 2)}
    for first in dict.fromkeys(each.split("/")[0] for each in (train, test) if "/" in each):
        assert any(first in line for line in source.remarks)


def test_unlabelled_images_of_a_set_of_splits_with_one_word_more_are_told(tmp_path):
    pairs(tmp_path / "seg_train" / "seg_train")
    pairs(tmp_path / "seg_test" / "seg_test", "test")
    put(tmp_path / "seg_pred" / "seg_pred", "none", "other")
    source = found(tmp_path)
    assert counted(source) == {"train": rows("train"), "test": rows("test")}
    assert truth.remark(source, "beside the folders of splits") == (
        "3 images beside the folders of splits passed over, in seg_pred"
    )


@pytest.mark.parametrize("splits", [["test"], ["val"], ["test", "val"], ["seg_test", "seg_val"]])
def test_splits_without_training_images_are_one_pool(tmp_path, splits):
    for split in splits:
        pairs(tmp_path / split, split.removeprefix("seg_"))
    source = found(tmp_path)
    expected = {key: count for split in splits for key, count in rows(split.removeprefix("seg_")).items()}
    assert counted(source) == {"train": expected}
    if splits != ["seg_test"]:
        assert truth.remark(source, "no folder of training images", *splits)


def test_a_class_called_train_among_others_is_a_class(tmp_path):
    for name, of in (("train", "cat"), ("plane", "dog"), ("ship", "owl")):
        put(tmp_path / name, of)
    assert found(tmp_path).classes == ("plane", "ship", "train")


def test_words_of_splits_within_the_names_of_classes_are_no_splits(tmp_path):
    for name, of in (("drug test", "cat"), ("train station", "dog"), ("park", "owl")):
        put(tmp_path / name, of)
    assert counted(found(tmp_path)) == {
        "train": {("cat", "train", "drug test"): 3, ("dog", "train", "train station"): 3, ("owl", "train", "park"): 3}
    }


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["dev/cat", "test/cat", "prod/cat"], "dev, test, which look like parts of a data set.*name them train and"),
        (["pets_train/cat", "wild_test/cat"], "pets_train, wild_test, which look like parts"),
        (["val/cat", "valid/cat", "train/cat"], "two folders of validation images, val, valid"),
        (["a_train/cat", "a_test/cat", "b_train/cat", "b_test/cat"], "of several data sets .*give one of them"),
        (["a/train/cat", "a/test/cat", "b/train/cat", "b/test/cat"], "several data sets .a, b., each with its folders"),
        (["images/cat", "pictures/cat"], "images, pictures look like kinds of files and not like classes"),
        (["labels/cat", "masks/cat"], "labels, masks look like kinds of files"),
        (["images/cat", "masks/cat", "more/cat"], "images, masks, more, of which images, masks look like kinds"),
    ],
)
def test_folders_of_which_it_is_not_clear_what_they_are_are_refused(tmp_path, folders, message):
    for folder in folders:
        pairs(tmp_path / folder)
    with pytest.raises(UserError, match=message) as error:
        found(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("other", ["segmentations", "annotations/trimaps", "Masks"])
@pytest.mark.parametrize("root", ["", "train"])
def test_of_images_and_their_annotations_the_images_are_used(tmp_path, other, root):
    pairs(tmp_path / root / "images")
    pairs(tmp_path / root / other, "other")
    source = found(tmp_path)
    assert counted(source) == {"train": rows("train")}
    assert truth.remark(source, "images is used", other.split("/")[0])
    assert counted(found(tmp_path, Asked(unlabelled=True))) == {"train": unlabelled("train")}


def test_where_all_classes_hold_the_same_folders_it_is_told(tmp_path):
    for name in ("archive", "archive_small"):
        class_folders(tmp_path / name, {"a": 3, "b": 3})
    told = truth.remark(found(tmp_path), "each of the classes archive, archive_small holds the folders a, b")
    assert told.endswith(f"such as {tmp_path / 'archive'}")


def test_folders_of_one_name_in_two_unicode_forms_are_one_class(tmp_path):
    put(tmp_path / unicodedata.normalize("NFC", "café"), "cat")
    put(tmp_path / unicodedata.normalize("NFD", "café"), "cat", start=3)
    put(tmp_path / "tea", "dog")
    source = found(tmp_path)
    assert len(source.classes) == 2
    assert sorted(counted(source)["train"].values()) == [3, 6]
    assert truth.remark(source, "two Unicode forms")


def test_a_test_folder_of_one_known_class_is_not_looked_into(tmp_path):
    for name in CLASSES:
        put(tmp_path / "train" / name, name)
    for part in ("young", "old"):
        put(tmp_path / "test" / "cat" / part, "cat", "test", 2, start=len(part))
    assert counted(found(tmp_path))["test"] == {("cat", "test", "cat"): 4}


def test_a_stamp_changes_with_what_is_stored_and_with_nothing_else(tmp_path):
    pairs(tmp_path)
    first = found(tmp_path).train.stamp
    (tmp_path / "notes.txt").write_text("of no use")
    assert found(tmp_path).train.stamp == first
    stamps = {first}
    file = tmp_path / "cat" / "000.png"
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=times)  # as what unpacks and copies does
    stamps.add(found(tmp_path).train.stamp)
    file.rename(tmp_path / "cat" / "999.png")
    stamps.add(found(tmp_path).train.stamp)
    put(tmp_path / "dog", "dog", start=3)
    stamps.add(found(tmp_path).train.stamp)
    assert len(stamps) == 4


def test_masks_and_what_else_lies_beside_splits_do_not_train_unless_a_user_says_so(tmp_path):
    put(tmp_path / "train" / "good", "cat")
    put(tmp_path / "test" / "good", "cat", "test")
    put(tmp_path / "test" / "broken", "dog", "test")
    put(tmp_path / "ground_truth" / "broken", "owl", "other")
    put(tmp_path / "docs", "owl", "val")
    put(tmp_path, "none", "other")
    test = {("cat", "test", None): 3, ("dog", "test", None): 3}
    source = found(tmp_path)
    assert counted(source) == {"train": {("cat", "train", None): 3}, "test": test}
    assert truth.remark(source, "passed over, in").startswith("6 images beside")
    assert truth.remark(source, "3 images beside the folders of splits passed over")
    source = found(tmp_path, Asked(unlabelled=True))
    asked = {("cat", "train", None): 3, ("owl", "val", None): 3, ("none", "other", None): 3}
    assert counted(source) == {"train": asked, "test": test}
    assert truth.remark(source, "passed over, in ground_truth")


def test_data_sets_side_by_side_are_refused(tmp_path):
    for name in ("bottle", "cable"):
        put(tmp_path / name / "train" / "good", "cat")
        put(tmp_path / name / "test" / "good", "cat", "test")
    with pytest.raises(UserError, match=r"has several data sets \(bottle, cable\).*give one of them"):
        found(tmp_path)


def test_links_between_classes_matter_only_where_there_are_labels(tmp_path):
    pairs(tmp_path)
    (tmp_path / "kitty").symlink_to(tmp_path / "cat")
    with pytest.raises(UserError, match="lead to the same folder"):
        found(tmp_path)
    assert counted(found(tmp_path, Asked(unlabelled=True))) == {"train": unlabelled("train")}
