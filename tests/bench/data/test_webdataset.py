"""WebDataset: samples in shards."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.source import Asked
from bench.errors import UserError
from tests.bench.data import truth
from tests.bench.data.truth import CLASSES, counted, found, png, samples, seen, shard, tarred

PAIR = ["cat", "dog"]


def numbers(*names: str) -> dict[str, str]:
    """What a label says of these classes in shards: their places, in ascending order."""
    return {name: str(CLASSES.index(name)) for name in names}


def beside(kind: str, labels: list[str]) -> list[tuple[str, bytes]]:
    """An image, and such a file, for each label."""
    images = [(f"{number}.png", png("cat", number=number)) for number in range(len(labels))]
    return images + [(f"{number}.{kind}", label.encode()) for number, label in enumerate(labels)]


@given(
    st.lists(st.lists(st.sampled_from(CLASSES[:3]), min_size=1, max_size=5), min_size=1, max_size=4),
    st.sampled_from(["", "gz"]),
    st.sampled_from(["cls", "json"]),
    st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_each_image_has_the_label_beside_it_whatever_the_order_of_the_files(shards, compression, label, reverse):
    with TemporaryDirectory() as folder:
        expected = {}
        for number, classes in enumerate(shards):
            start = 50 * number
            files = samples(classes, start=start, label=label)
            files = files[::2] + files[1::2] if reverse else files
            tarred(Path(folder, f"x-{number:05}.tar{'.gz' if compression else ''}"), files, compression)
            expected |= {(of, "train", start + i): of for i, of in enumerate(classes)}
        source = found(Path(folder))
        rows = dict(seen(source.train, source.classes))
    if len(set(expected.values())) < 2:
        assert source.classes == ()
        assert rows == dict.fromkeys(expected)
    else:
        called = numbers(*CLASSES) if label == "cls" else {name: name for name in CLASSES}
        assert rows == {key: called[of] for key, of in expected.items()}


def test_shards_of_splits_are_splits_and_gaps_in_a_series_are_told(tmp_path):
    shard(tmp_path / "train-000000.tar", PAIR * 2)
    shard(tmp_path / "train-000003.tar", PAIR, start=10)
    shard(tmp_path / "val-000000.tar", ["dog"], "val")
    (tmp_path / "sizes.json").write_text("{}")
    source = found(tmp_path)
    assert source.classes == ("0", "1")
    assert counted(source) == {
        "train": {("cat", "train", "0"): 3, ("dog", "train", "1"): 3},
        "test": {("dog", "val", "1"): 1},
    }
    assert truth.remark(source, "are missing") == "2 of the 4 shards of train are missing: 1, 2"
    assert truth.remark(source, "1 other file beside the shards passed over")
    shard(tmp_path / "of" / "a-00001-of-00003.tar", PAIR)
    shard(tmp_path / "of" / "a-00002-of-00003.tar", PAIR, start=10)
    assert truth.remark(found(tmp_path / "of"), "are missing") == "1 of the 3 shards of a are missing: 0"


def test_a_single_shard_is_read(tmp_path):
    source = found(shard(tmp_path / "x.tar", PAIR * 3))
    assert counted(source) == {"train": {("cat", "train", "0"): 3, ("dog", "train", "1"): 3}}
    assert source.train.names[0] == "000000.png"


@pytest.mark.parametrize("label", ["txt", "none"])
def test_captions_are_no_labels_and_it_is_told(tmp_path, label):
    for number in range(2):
        shard(tmp_path / f"{number:05}.tar", PAIR, start=10 * number, label=label)
    source = found(tmp_path)
    assert source.classes == ()
    assert counted(source) == {"train": {("cat", "train", None): 2, ("dog", "train", None): 2}}
    assert truth.remark(source, "no image has a label")


def test_labels_are_left_aside_where_a_user_says_so(tmp_path):
    shard(tmp_path / "train-0000.tar", PAIR * 2)
    shard(tmp_path / "test-0000.tar", PAIR, "test")
    source = found(tmp_path, Asked(unlabelled=True))
    assert source.classes == ()
    assert counted(source) == {
        "train": {("cat", "train", None): 2, ("dog", "train", None): 2},
        "test": {("cat", "test", None): 1, ("dog", "test", None): 1},
    }


def test_of_several_images_in_a_sample_it_is_told_which_is_taken(tmp_path):
    files = []
    for number, of in enumerate(PAIR * 2):
        files += [
            (f"{number}.mask.png", png("none", "other", number)),
            (f"{number}.png", png(of, "train", number)),
            (f"{number}.cls", str(CLASSES.index(of)).encode()),
        ]
    source = found(tarred(tmp_path / "x.tar", files))
    assert counted(source) == {"train": {("cat", "train", "0"): 2, ("dog", "train", "1"): 2}}
    assert truth.remark(source, "several images") == "samples have several images (png, mask.png); png is taken"


def test_shards_that_are_cut_off_or_no_shards_are_told_and_the_rest_is_read(tmp_path):
    for number in range(3):
        shard(tmp_path / f"train-{number:06}.tar", PAIR * 2, start=10 * number)
    path = tmp_path / "train-000001.tar"
    path.write_bytes(path.read_bytes()[: 4 * 1024 + 700])  # two samples are whole
    (tmp_path / "train-000002.tar").write_bytes(b"x")
    source = found(tmp_path)
    assert counted(source) == {"train": {("cat", "train", "0"): 3, ("dog", "train", "1"): 3}}
    assert truth.remark(source, "train-000001.tar is damaged or cut off: what follows its first 5 files is lost")
    assert truth.remark(source, "a shard is left out", "train-000002.tar")
    for each in tmp_path.iterdir():
        each.write_bytes(b"x")
    with pytest.raises(UserError, match=r"none of the 3 shards .* can be read; the first: .*download it again"):
        found(tmp_path)


@pytest.mark.parametrize("splits", [["test"], ["val", "test"]])
def test_shards_without_training_images_are_one_pool(tmp_path, splits):
    for number, split in enumerate(splits):
        shard(tmp_path / f"{split}-0000.tar", PAIR, split, start=10 * number)
    source = found(tmp_path)
    assert source.test is None
    assert len(source.train.labels) == 2 * len(splits)
    assert truth.remark(source, "no shards of training images")


def test_a_test_split_without_labels_is_left_out_and_told(tmp_path):
    shard(tmp_path / "train-0000.tar", PAIR * 2)
    shard(tmp_path / "test-0000.tar", PAIR, "test", label="none")
    source = found(tmp_path)
    assert source.test is None
    assert truth.remark(source, "2 test images without labels left out")


def test_class_folders_in_a_tar_with_notes_beside_their_images_are_no_samples(tmp_path):
    files = [(f"{of}/{number}.png", png(of, "train", number)) for number, of in enumerate(PAIR * 2)]
    files += [(name.replace("png", "txt"), b"0 0 1 1") for name, _ in files]
    source = found(tarred(tmp_path / "x.tar", files))
    assert counted(source) == {"train": {("cat", "train", "cat"): 2, ("dog", "train", "dog"): 2}}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (['{"label": 10}', '{"cls": 9}', '{"label": null}', "{}"], ("9", "10")),
        (['{"class": "b"}', '{"label": "a"}', '{"label": ""}', '{"label": -1}'], ("a", "b")),
        (['{"label": true}', '{"label": false}', "[]", "{}"], ("False", "True")),
        (['{"label": 1.0}', '{"label": 2}', "{}", "{}"], ("1", "2")),
    ],
)
def test_labels_in_json_are_integers_or_strings_and_what_is_empty_is_none(tmp_path, labels, classes):
    files = beside("json", labels)
    source = found(tarred(tmp_path / "x.tar", files))
    assert source.classes == classes
    assert sorted(source.train.labels.tolist()) == [-1, -1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (['{"label": [1]}', '{"label": 1}'], r"the label in .*0.json is \[1\]; labels are integers or strings"),
        (["{", '{"label": 1}'], "0.json is no JSON"),
        (['{"label": "a"}', '{"label": 1}'], "some labels in the shards .* are strings and some are integers"),
    ],
)
def test_labels_that_are_none_are_refused_on_one_line(tmp_path, labels, message):
    files = beside("json", labels)
    with pytest.raises(UserError, match=message) as error:
        found(tarred(tmp_path / "x.tar", files))
    assert "\n" not in str(error.value)
