"""Archives stand for the folders that they were made of."""

import unicodedata
import zipfile
from pathlib import Path

import pytest
import torch

from bench.data import images
from bench.data.source import Asked
from bench.errors import UserError
from tests.bench.data import truth
from tests.bench.data.builders import class_folders
from tests.bench.data.test_archives import WAYS
from tests.bench.data.truth import counted, files_below, found, png, put, seen, tarred, zipped


def layout(root: Path) -> None:
    """Two classes with folders in them, splits, an unlabelled folder, images in no class, and what is of no use."""
    for name in ("cat", "dog"):
        put(root / "train" / name, name)
        put(root / "train" / name / "more", name, start=3)
        put(root / "test" / name, name, "test", 2)
    put(root / "train" / "unlabelled", "none", "other", 2)
    put(root / "train", "none", "train", 1)
    put(root / "__MACOSX" / "train" / "cat", "owl")
    (root / "readme.txt").write_text("of no use")


@pytest.mark.parametrize("name", WAYS)
def test_an_archive_is_read_as_the_folder_that_it_was_made_of(tmp_path, name):
    layout(tmp_path / "set")
    folder = found(tmp_path / "set")
    archive = found(WAYS[name](tmp_path / name, files_below(tmp_path / "set")))
    assert (archive.classes, archive.remarks) == (folder.classes, folder.remarks)
    assert counted(archive) == counted(folder)
    assert sorted(archive.train.names) == sorted(folder.train.names)


@pytest.mark.parametrize("name", ["deflated.zip", "plain.tar"])
def test_a_data_set_has_the_same_pixels_in_the_same_order_in_a_folder_and_in_an_archive(tmp_path, name):
    class_folders(tmp_path / "set", {"a": 10, "b": 10, "unlabelled": 3})
    folder = images.load(tmp_path / "set")
    archive = images.load(WAYS[name](tmp_path / name, files_below(tmp_path / "set")))
    assert archive.fingerprint == folder.fingerprint
    assert torch.equal(archive.train.pixels, folder.train.pixels)


def test_a_compressed_tar_whose_classes_are_mixed_is_read_in_its_order(tmp_path):
    names = [("dog", "cat")[number % 2] for number in range(9)]
    files = [(f"{name}/{number}.png", png(name, "train", number)) for number, name in enumerate(names)]
    rows = seen((source := found(tarred(tmp_path / "x.tgz", files, "gz"))).train, source.classes)
    assert rows == [((name, "train", number), name) for number, name in enumerate(names)]


def test_an_archive_one_folder_too_high_is_looked_into_and_flat_ones_have_no_labels(tmp_path):
    layout(tmp_path / "up" / "archive" / "set")
    source = found(zipped(tmp_path / "x.zip", files_below(tmp_path / "up")))
    assert source.classes == ("cat", "dog")
    assert truth.remark(source, "all images lie in archive/set, which is looked into")
    flat = [(f"{number}.png", png("cat", "train", number)) for number in range(4)]
    for path in (zipped(tmp_path / "f.zip", flat), tarred(tmp_path / "f.tar", flat)):
        source = found(path)
        assert counted(source) == {"train": {("cat", "train", None): 4}}
        assert source.classes == ()


def test_names_that_lead_out_of_an_archive_are_names(tmp_path):
    names = [("../../cat/0.png", "cat"), ("/dog/1.png", "dog"), ("./cat/2.png", "cat")]
    files = [(name, png(of, "train", number)) for number, (name, of) in enumerate(names)]
    for path in (zipped(tmp_path / "x.zip", files), tarred(tmp_path / "x.tar", files)):
        source = found(path)
        assert counted(source) == {"train": {("cat", "train", "cat"): 2, ("dog", "train", "dog"): 1}}
        assert all(".." not in name for name in source.train.names)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.tar", "x.zip"]


def test_of_two_files_of_one_name_in_a_tar_the_later_is_meant(tmp_path):
    files = [("a/0.png", png("cat")), ("b/0.png", png("dog")), ("a/0.png", png("owl"))]
    assert counted(found(tarred(tmp_path / "x.tar", files))) == {
        "train": {("owl", "train", "a"): 1, ("dog", "train", "b"): 1}
    }


@pytest.mark.parametrize("names", [("train.zip", "test.zip"), ("set_train.tar.gz", "set_val.zip")])
@pytest.mark.parametrize("again", [False, True])
def test_archives_of_splits_are_splits(tmp_path, names, again):
    layout(tmp_path / "set")
    expected = counted(found(tmp_path / "set"))
    for name, split in zip(names, ("train", "test"), strict=True):
        files = files_below(tmp_path / "set" / split)
        make = zipped if name.endswith("zip") else lambda path, files: tarred(path, files, "gz")
        make(tmp_path / "packed" / name, [(f"{split}/{path}" if again else path, content) for path, content in files])
    assert counted(found(tmp_path / "packed")) == expected


def test_an_archive_of_each_class_is_a_class_and_one_alone_is_what_there_is(tmp_path):
    for name in ("cat", "dog"):
        zipped(tmp_path / f"{name}.zip", [(f"{number}.png", png(name, "train", number)) for number in range(3)])
    assert counted(found(tmp_path)) == {"train": {("cat", "train", "cat"): 3, ("dog", "train", "dog"): 3}}
    layout(tmp_path / "one" / "set")
    zipped(tmp_path / "two" / "download.zip", files_below(tmp_path / "one"))
    assert found(tmp_path / "two").classes == ("cat", "dog")


def test_archives_beside_images_are_passed_over_and_told(tmp_path):
    for name in ("cat", "dog"):
        put(tmp_path / name, name)
    zipped(tmp_path / "cat.zip", [("0.png", png("owl"))])
    source = found(tmp_path)
    assert counted(source) == {"train": {("cat", "train", "cat"): 3, ("dog", "train", "dog"): 3}}
    assert "1 other file passed over: 1 .zip" in source.remarks


def test_a_damaged_archive_beside_whole_ones_is_refused(tmp_path):
    zipped(tmp_path / "train.zip", [("a/0.png", png("cat")), ("b/0.png", png("dog"))])
    (tmp_path / "test.zip").write_bytes(b"PK\3\4")
    with pytest.raises(UserError, match=r"test.zip cannot be read as an archive .*download it again"):
        found(tmp_path)


def test_shards_of_class_folders_are_one_folder(tmp_path):
    for number in range(3):
        files = [(f"{of}/{number}.png", png(of, "train", number)) for of in ("cat", "dog")]
        tarred(tmp_path / f"train-{number:04}.tar", files)
    assert counted(found(tmp_path)) == {"train": {("cat", "train", "cat"): 3, ("dog", "train", "dog"): 3}}
    tarred(tmp_path / "train-0003.tar", files)
    with pytest.raises(UserError, match=r"has cat/2.png in two archives; give one of them"):
        found(tmp_path)


def test_labels_in_an_archive_are_left_aside_where_a_user_says_so(tmp_path):
    layout(tmp_path / "set")
    path = zipped(tmp_path / "x.zip", files_below(tmp_path / "set"))
    source = found(path, Asked(unlabelled=True))
    assert source.classes == ()
    assert counted(source) == counted(found(tmp_path / "set", Asked(unlabelled=True)))


def test_tiny_imagenets_annotations_are_read_in_an_archive(tmp_path):
    for of in ("cat", "dog"):
        put(tmp_path / "set" / "train" / of / "images", of)
    put(tmp_path / "set" / "val" / "images", "dog", "val", 2)
    (tmp_path / "set" / "val" / "val_annotations.txt").write_text("000.png\tdog\t0\n001.png\tdog\t0\n")
    source = found(zipped(tmp_path / "x.zip", files_below(tmp_path / "set")))
    assert counted(source)["test"] == {("dog", "val", "dog"): 2}


def test_classes_of_an_archive_in_other_unicode_forms_join_and_names_need_be_no_text(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    files = [
        (f"train/{nfc}/0.png", png("cat")),
        ("train/tea/0.png", png("dog")),
        (f"test/{nfd}/1.png", png("cat", "test", 1)),
        ("train/\udcff/2.png", png("owl", number=2)),
    ]
    source = found(tarred(tmp_path / "x.tar", files))
    assert set(source.classes) == {nfc, "\\udcff", "tea"}
    assert source.test.labels.tolist() == [source.classes.index(nfc)]
    for text in (*source.classes, *source.train.names, *source.remarks):
        text.encode()


def test_a_damaged_image_in_an_archive_is_left_out_and_named(tmp_path):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    path = zipped(tmp_path / "x.zip", files_below(tmp_path / "set"), zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 255
    path.write_bytes(content)
    dataset = images.load(path)
    (skipped,) = dataset.skipped
    assert skipped == "a/0000.png: the archive is damaged here: its checksum is not right"


def test_a_stamp_changes_with_the_archive(tmp_path):
    path = zipped(tmp_path / "x.zip", [("a/0.png", png("cat")), ("b/0.png", png("dog"))])
    first = found(path).train.stamp
    assert found(path).train.stamp == first
    zipped(path, [("a/0.png", png("owl")), ("b/0.png", png("dog"))])
    assert found(path).train.stamp != first
