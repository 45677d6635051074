"""Which images train, which judge, and which a limit keeps."""

import hashlib

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from bench.data import images, splits
from tests.bench.data.builders import class_folders

LABELS = st.lists(st.integers(-1, 6), min_size=1, max_size=300)


@given(LABELS, st.floats(0.02, 0.5))
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
