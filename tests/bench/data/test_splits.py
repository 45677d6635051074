"""Which images train, which judge, and which a limit keeps."""

import hashlib

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from bench.data import images, splits
from tests.bench.data.builders import class_folders

LABELS = st.lists(st.integers(-1, 6), min_size=1, max_size=300)


@given(LABELS.filter(lambda labels: max(labels) >= 0), st.floats(0.02, 0.5))
@example([0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 0.5)  # what four single images cannot give is taken from the fifth class
def test_what_is_held_out_is_stratified_and_holds_no_unlabelled_image(labels, fraction):
    labels = torch.tensor(labels)
    train, held_out = splits.held_out_split(labels, fraction)
    assert sorted(train.tolist() + held_out.tolist()) == list(range(len(labels)))
    assert (train.diff() > 0).all()
    assert (held_out.diff() > 0).all()
    assert (labels[held_out] >= 0).all()
    counts = labels[labels >= 0].bincount()
    counts = counts[counts > 0]
    # A class gives at least one image if it has two, and keeps one: others make up for what this adds or takes.
    least, most, share = (counts - 1).clamp(max=1), counts - 1, fraction * counts
    forced = float((least - share).clamp(min=0).sum() + (share - most).clamp(min=0).sum())
    for label in set(labels.tolist()) - {-1}:
        count, held = int((labels == label).sum()), int((labels[held_out] == label).sum())
        assert min(1, count - 1) <= held <= count - 1
        assert abs(held - fraction * count) < 2 + forced


@given(LABELS, st.integers(0, 2**31))
def test_what_is_held_out_depends_on_the_labels_alone(labels, seed):
    labels = torch.tensor(labels)
    before = splits.held_out_split(labels)
    torch.manual_seed(seed)
    np.random.seed(seed)
    after = splits.held_out_split(labels.clone())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_what_is_held_out_of_cifar10_sizes_is_pinned():
    labels = torch.arange(50_000) % 10
    train, held_out = splits.held_out_split(labels, 0.1)
    assert labels[held_out].bincount().tolist() == [500] * 10
    assert len(train) == 45_000
    digest = hashlib.sha256(held_out.numpy().astype("<i8")).hexdigest()
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


@given(st.integers(2, 60_000))
def test_of_images_without_labels_a_fixed_fifth_is_held_out_and_at_most_as_many_as_the_criteria_see(count):
    train, held_out = splits.held_out_split(torch.full((count,), -1))
    assert sorted(train.tolist() + held_out.tolist()) == list(range(count))
    assert len(held_out) == max(1, min(round(0.2 * count), splits.MOST_UNLABELLED))
    assert torch.equal(held_out, splits.held_out_split(torch.full((count,), -1))[1])


def test_of_very_many_labelled_images_no_more_are_held_out_than_tell_an_accuracy():
    labels = torch.arange(1_000_000) % 3
    train, held_out = splits.held_out_split(labels)
    assert len(held_out) == splits.MOST_LABELLED
    assert len(train) + len(held_out) == len(labels)
    assert (torch.bincount(labels[held_out]) - splits.MOST_LABELLED / 3).abs().max() < 1
    assert "a fixed 50,000 of 1,000,000 held out" in splits.held_out_note(labels.numpy(), held_out)


def test_a_limit_keeps_its_share_of_test_images_without_labels():
    train, test = splits.limited(np.full(80, -1), np.full(20, -1), 40)
    assert (len(train), len(test)) == (40, 10)


# ---- groups ----

GROUPED = st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 30)), min_size=1, max_size=200).map(
    lambda pairs: (torch.tensor([label for label, _ in pairs]), np.array([group for _, group in pairs]))
)
"""Labels of images, and their groups."""


@given(GROUPED)
def test_no_group_is_divided_and_each_class_that_training_can_have_it_has(grouped):
    labels, groups = grouped
    train, held_out = splits.held_out_split(labels, groups=groups)
    assert not {*groups[train.numpy()]} & {*groups[held_out.numpy()]}
    assert not set(train.tolist()) & set(held_out.tolist())
    assert set(labels[train].tolist()) - {-1} == set(labels.tolist()) - {-1}
    # An image is in neither split only where it has no label and its group is held out.
    aside = np.setdiff1d(np.arange(len(labels)), np.concatenate([train, held_out]))
    if (labels >= 0).any():
        assert (labels[aside] == -1).all()
        assert (labels[held_out] >= 0).all()
    else:
        assert not len(aside)
    assert {*groups[aside]} <= {*groups[held_out.numpy()]}
    again = splits.held_out_split(labels.clone(), groups=groups.copy())
    assert torch.equal(train, again[0])
    assert torch.equal(held_out, again[1])


@given(GROUPED)
def test_what_the_groups_are_called_changes_nothing(grouped):
    labels, groups = grouped
    held_out = splits.held_out_split(labels, groups=groups)[1]
    assert torch.equal(held_out, splits.held_out_split(labels, groups=10**9 + 7 * groups)[1])


@given(st.lists(st.integers(1, 40), min_size=2, max_size=60), st.integers(0, 2**31))
def test_whole_groups_come_as_near_to_the_share_as_the_largest_group_lets_them(sizes, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    held_out = splits.held_out_split(torch.full((len(groups),), -1), groups=groups)[1]
    assert len(held_out) > 0
    assert abs(len(held_out) - 0.2 * len(groups)) <= max(sizes)


def test_where_each_image_is_a_group_of_its_own_as_many_of_each_class_are_held_out_as_without_groups():
    labels = torch.tensor([0] * 300 + [1] * 57 + [2] * 10 + [3] * 2 + [4] + [-1] * 40)
    train, held_out = splits.held_out_split(labels, groups=np.arange(len(labels)))
    whole = splits.held_out_split(labels)
    assert labels[held_out].bincount().tolist() == labels[whole[1]].bincount().tolist()
    assert len(train) == len(whole[0])


def test_patients_with_images_of_all_classes_are_held_out_with_about_a_fifth_of_each_class():
    random = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), random.integers(5, 40, 60))
    sick = random.random(60) < 0.3
    labels = np.where(random.random(len(patient)) < np.where(sick[patient], 0.6, 0.02), 1, 0)
    _, held_out = splits.held_out_split(torch.from_numpy(labels), groups=patient)
    shares = np.bincount(labels[held_out]) / np.bincount(labels)
    assert (abs(shares - 0.2) < 0.03).all()


def test_a_group_is_held_out_that_is_nearer_to_the_share_than_none():
    held_out = splits.held_out_split(torch.full((80,), -1), groups=np.repeat(np.arange(8), 10))[1]
    assert len(held_out) == 20  # of 16, to which 20 is nearer than 10


def test_of_two_groups_the_smaller_is_held_out_and_of_one_none():
    labels, groups = torch.tensor([0, 1] * 10), np.array([3] * 13 + [8] * 7)
    assert splits.held_out_split(labels, groups=groups)[1].tolist() == list(range(13, 20))
    assert not len(splits.held_out_split(labels, groups=np.zeros(20, dtype=int))[1])


def test_no_more_than_half_is_held_out_for_the_sake_of_one_class():
    # The images of class 1 are of two groups, both of which are mostly of class 0 and have most images.
    groups = np.array([0] * 60 + [1] * 60 + [*range(2, 12)])
    labels = torch.tensor([1, *[0] * 59, 1, *[0] * 59, *[0] * 10])
    _, held_out = splits.held_out_split(labels, groups=groups)
    assert 0 < len(held_out) <= len(labels) / 2
