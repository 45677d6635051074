"""What a source gives becomes a data set: labels that count as none, groups, duplicates; from a truth in the pixels."""

import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.data import images
from bench.data.assembly import of_encoded, of_pixels
from bench.data.dataset import Dataset, Split
from bench.data.source import Asked, EncodedSource, EncodedSplit, PixelSource
from bench.errors import UserError
from tests.bench.data.builders import class_folders, encoded, picture, remark, stacked

CLASSES = ("cat", "dog")


def split(seeds: list[int], labels: list[int], patients: list[int] | None = None) -> EncodedSplit:
    """Pictures of these seeds; of these patients, by their paths."""
    of = patients or seeds
    names = [f"patient{patient}/{number}.png" for number, patient in enumerate(of)]

    def read(places):
        return ((names[place], encoded(picture(seeds[place]))) for place in places)

    return EncodedSplit(np.array(labels), read, names, stamp=repr((seeds, of)))


def made(
    train: EncodedSplit, test: EncodedSplit | None = None, classes: tuple[str, ...] = CLASSES, **values
) -> Dataset:
    return of_encoded(
        Path("x"), EncodedSource(train, test, classes), None, "crop", True, values.pop("limit", None), **values
    )


def shown(images: Split) -> list[bytes]:
    return [image.contiguous().numpy().tobytes() for image in images.pixels]


def truth(seeds: range) -> dict[bytes, int]:
    return {image: seed for seed, image in enumerate(shown(Split.of(stacked([*map(picture, seeds)]), torch.zeros(1))))}


TRUTH = truth(range(300))


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 8)), min_size=12, max_size=40), st.booleans())
def test_no_group_stands_in_two_splits_and_pixels_labels_and_groups_stay_together(of, unlabelled):
    labels = [0, 1, 0, 1, *[label for label, _ in of]]
    patients = [9, 10, 11, 12, *[patient for _, patient in of]]
    labels = [-1] * len(labels) if unlabelled else labels
    train = split([*range(len(labels))], labels, patients)
    dataset = made(train, classes=() if unlabelled else CLASSES, asked=Asked(group_by=r"patient(\d+)"))
    numbers = defaultdict(set)
    for part, pixels in ((part, shown(part)) for part in (dataset.train, dataset.test)):
        for image, label, group in zip(pixels, part.labels.tolist(), part.groups.tolist(), strict=True):
            seed = TRUTH[image]
            assert label == labels[seed]
            numbers[patients[seed]].add(group)
    assert all(len(of_patient) == 1 for of_patient in numbers.values())
    assert not {*dataset.train.groups.tolist()} & {*dataset.test.groups.tolist()}
    assert "no group divided" in dataset.note


def test_labels_of_one_class_count_as_none_and_that_is_told():
    dataset = made(split([*range(20)], [0] * 20))
    assert dataset.classes == ()
    assert {*dataset.train.labels.tolist(), *dataset.test.labels.tolist()} == {-1}
    assert (len(dataset.train), len(dataset.test)) == (16, 4)
    assert remark(dataset, "count as none") == (
        "the training images have labels only of the class cat, which count as none: what judges by labels needs two "
        "classes at least"
    )


def test_with_labels_of_one_class_the_test_images_that_were_given_stay_without_theirs():
    dataset = made(split([*range(20)], [0] * 20), split([*range(30, 36)], [0, 1, -1] * 2))
    assert [TRUTH[image] for image in shown(dataset.test)] == [*range(30, 36)]
    assert dataset.test.labels.tolist() == [-1] * 6


def test_without_labels_a_fixed_fifth_is_held_out_and_nothing_stumbles():
    dataset = made(split([*range(20)], [-1] * 20), classes=())
    assert sorted(TRUTH[image] for part in (dataset.train, dataset.test) for image in shown(part)) == [*range(20)]
    assert len(dataset.test) == 4
    assert "a fixed 20% held out" in dataset.note
    assert dataset.remarks == (
        "only 16 training images: what they tell of a training is rough",
        "only 4 test images: what they tell of a training is rough",
    )
    assert made(split([*range(20)], [-1] * 20), classes=()).fingerprint == dataset.fingerprint


def test_test_images_without_a_label_are_left_out_and_training_images_held_out_where_none_has_one():
    dataset = made(split([*range(20)], [0, 1] * 10), split([*range(30, 36)], [-1] * 6))
    assert {TRUTH[image] for part in (dataset.train, dataset.test) for image in shown(part)} == {*range(20)}
    assert remark(dataset, "test images without") == "6 test images without labels left out"
    some = made(split([*range(20)], [0, 1] * 10), split([*range(30, 36)], [-1, 0, 1] * 2))
    assert [TRUTH[image] for image in shown(some.test)] == [31, 32, 34, 35]
    assert some.test.labels.tolist() == [0, 1] * 2


def test_classes_of_which_nothing_could_be_read_count_as_none_and_the_reason_is_told(tmp_path):
    class_folders(tmp_path, {"a": 10, "b": 10})
    for file in (tmp_path / "b").iterdir():
        file.write_bytes(b"")
    dataset = images.load(tmp_path)
    assert dataset.classes == ()
    assert "only of the class a, which count as none: " in remark(dataset, "only of")
    assert "(b/0000.png: " in remark(dataset, "only of")


def jpeg(seed: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded(picture(seed), "JPEG", quality=75))))


def pixels(seeds: list[int], labels: list[int], changed: Sequence[int] = ()) -> Split:
    arrays = [*map(picture, seeds), *map(jpeg, changed)]
    return Split.of(stacked(arrays), torch.tensor(labels))


def test_duplicates_are_told_and_left_out_of_training_where_that_is_asked():
    # 4 is twice; 5 has two labels; 6 and, as a JPEG, 7 are test images; 8 has no label first and one then.
    seeds, labels = [0, 1, 2, 3, 4, 4, 5, 5, 6, 7, 8, 8], [0, 1, 0, 1, 0, 0, 0, 1, 1, 1, -1, 1]
    source = PixelSource("x", pixels(seeds, labels), pixels([6, 20, 21], [1, 0, 0, 1], [7]), CLASSES)
    told, dropped = (of_pixels("x", source, None, None, drop_duplicates=drop) for drop in (False, True))
    assert len(told.train) == 12
    assert remark(told, "--drop-duplicates") == "6 training images are such; --drop-duplicates leaves them out"
    assert [TRUTH[image] for image in shown(dropped.train)] == [0, 1, 2, 3, 4, 8]
    assert dropped.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert dropped.note == "x; 6 training images left out as duplicates"
    assert shown(dropped.test) == shown(told.test)
    assert remark(dropped, "as duplicates") == "6 training images left out as duplicates"
    named = made(split(seeds, labels), split([6, 20], [1, 0]), drop_duplicates=True)
    assert remark(named, "too") == (
        "1 of 2 test images are training images too, pixel by pixel: patient6/0.png is patient6/8.png"
    )
    assert remark(named, "more than one") == (
        "1 picture with more than one label, of which one at most is right: "
        "patient5/6.png (cat) and patient5/7.png (dog)"
    )


def test_where_no_group_can_be_held_out_that_is_told_in_a_line():
    with pytest.raises(UserError, match=r"^x has too few groups to hold out some of them for testing$"):
        made(split([*range(9)], [0, 1, 0] * 3, [0, 1, 0] * 3), asked=Asked(group_by=r"patient\d+"))


def test_where_all_training_images_are_duplicates_they_cannot_be_left_out():
    with pytest.raises(UserError, match="all training images are duplicates; leave out --drop-duplicates"):
        made(split([1, 2], [0, 1]), split([1, 2], [0, 1]), drop_duplicates=True)


def test_labels_that_duplicates_leave_of_one_class_count_as_none():
    dataset = made(split([1, 2, 3], [0, 0, 1]), split([3, 4], [1, 0]), drop_duplicates=True)
    assert dataset.classes == ()
    assert dataset.train.labels.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("asked", "option"),
    [(Asked(group="x"), "--group"), (Asked(group_by="x"), "--group-by"), (Asked(labels=Path("x")), "--labels")],
)
def test_of_images_that_are_no_files_nothing_of_files_is_asked(asked, option):
    with pytest.raises(UserError, match=f"^{option} is of images in files, and shapes has none; leave it out$"):
        images.load("shapes", asked=asked)


def test_the_embedded_set_has_no_labels_where_that_is_asked():
    dataset = images.load("shapes", asked=Asked(unlabelled=True), limit=100)
    assert (dataset.classes, {*dataset.train.labels.tolist()}, len(dataset.test)) == ((), {-1}, 40)
