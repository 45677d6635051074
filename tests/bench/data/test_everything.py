"""Every image of a source can be had, also those that neither train nor test, each in its split."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data import images
from bench.data.source import Asked, EncodedSource
from tests.bench.data.builders import class_folders, parquet
from tests.bench.data.truth import files_below, shard, tarred, zipped


def found(path: Path, **asked) -> EncodedSource:
    _, source = images.find(path, Asked(everything=True, **asked))
    assert isinstance(source, EncodedSource)
    return source


def by_split(path: Path, **asked) -> dict[str, dict[str, str | None]]:
    """The label of each image, by its split and name."""
    source = found(path, **asked)
    splits = {"train": source.train} | ({source.judging: source.test} if source.test else {}) | dict(source.others)
    names = [*source.classes, None]
    return {
        split: {name: names[label] for name, label in zip(of.names, of.labels, strict=True)}
        for split, of in splits.items()
    }


def test_validation_images_stand_beside_test_images_with_their_labels(tmp_path):
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        class_folders(tmp_path / split, {"a": count, "b": count})
    splits = by_split(tmp_path)
    assert {split: len(of) for split, of in splits.items()} == {"train": 8, "test": 6, "validation": 4}
    assert splits["validation"]["val/b/0001.png"] == "b"
    assert images.find(tmp_path)[1].others == {}


def test_validation_images_that_judge_are_called_so(tmp_path):
    for split in ("train", "val"):
        class_folders(tmp_path / split, {"a": 4, "b": 4})
    assert {split: len(of) for split, of in by_split(tmp_path).items()} == {"train": 8, "validation": 8}


def test_images_of_no_class_and_beside_splits_are_there_without_a_label(tmp_path):
    class_folders(tmp_path / "train", {"a": 4, "b": 4})
    class_folders(tmp_path / "test", {"images": 5})
    class_folders(tmp_path, {"figures": 2})
    splits = by_split(tmp_path)
    assert {split: len(of) for split, of in splits.items()} == {"train": 8, "test": 5, "": 2}
    assert set(splits["test"].values()) | set(splits[""].values()) == {None}


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_all_is_the_same_in_an_archive(tmp_path, pack):
    for split in ("train", "val", "test"):
        class_folders(tmp_path / "set" / split, {"a": 4, "b": 4})
    suffix = {"zipped": "zip", "tarred": "tar"}[pack.__name__]
    assert by_split(pack(tmp_path / f"set.{suffix}", files_below(tmp_path / "set"))) == by_split(tmp_path / "set")


def test_parquet_has_validation_images_and_test_images_without_labels(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 4)
    parquet(tmp_path / "validation.parquet", [0, 1] * 2)
    parquet(tmp_path / "test.parquet", [-1] * 3)
    source = found(tmp_path)
    counts = {"train": len(source.train.labels), source.judging: len(source.test.labels)}
    counts |= {split: len(of.labels) for split, of in source.others.items()}
    assert counts == {"train": 8, "validation": 4, "test": 3}
    assert (source.others["test"].labels == -1).all()


def test_shards_have_those_of_all_splits_and_of_none(tmp_path):
    shard(tmp_path / "train-000.tar", ["cat", "dog"] * 3)
    shard(tmp_path / "test-000.tar", ["cat", "dog"], split="test")
    shard(tmp_path / "val-000.tar", ["dog"], split="val")
    shard(tmp_path / "more-000.tar", ["dog"] * 4)
    splits = by_split(tmp_path)
    assert {split: len(of) for split, of in splits.items()} == {"train": 6, "test": 2, "validation": 1, "": 4}


def test_a_file_of_labels_labels_all_images_and_says_their_splits(tmp_path):
    class_folders(tmp_path / "set", {"images": 9})
    rows = [f"{n:04}.png,{'ab'[n % 2]},{['train', 'val', 'test'][n % 3]}" for n in range(8)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,split", *rows]))
    splits = by_split(tmp_path / "set", labels=tmp_path / "labels.csv")
    assert {split: len(of) for split, of in splits.items()} == {"train": 4, "test": 2, "validation": 3}
    assert [label for _, label in sorted(splits["validation"].items())] == ["b", "a", "b"]


@settings(max_examples=15)
@given(counts=st.dictionaries(st.sampled_from(["test", "val", "extra", "unlabelled"]), st.integers(1, 4)))
def test_no_image_is_lost_and_none_is_there_twice(counts, tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    for name, count in {"train": 2, **counts}.items():
        class_folders(root / name, {"a": count, "b": count})
    names = sorted(name for of in by_split(root).values() for name in of)
    assert names == sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
