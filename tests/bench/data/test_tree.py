"""The files below a folder: names, links, hidden files, what storage leaves."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from bench.data import images, saved
from bench.data.tree import Tree
from tests.bench.data import truth
from tests.bench.data.builders import class_folders, encoded, parquet, picture, remark, stored


def test_of_a_hugging_face_cache_the_newest_snapshot_is_read(tmp_path):
    root = tmp_path / "datasets--me--pets"
    for number, name in enumerate(["2" * 40, "1" * 40]):
        parquet(root / "blobs" / name, [0, 1] * 5, seed=100 * number)
        (root / "snapshots" / name).mkdir(parents=True)
        (root / "snapshots" / name / "train.parquet").symlink_to(f"../../blobs/{name}")
        os.utime(root / "snapshots" / name, (number, number))
    dataset = images.load(root)
    assert dataset.name == "datasets--me--pets"
    assert len(dataset.train.labels) + len(dataset.test.labels) == 10
    assert remark(dataset, "newest of 2 snapshots").startswith("1111")
    newest = dataset.fingerprint
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("2" * 40 + "\n")
    assert images.load(root).fingerprint != newest


def test_an_image_to_which_several_links_lead_is_there_once(tmp_path):
    class_folders(tmp_path / "real", {"a": 5, "b": 5})
    (tmp_path / "real" / "a" / "latest").symlink_to(tmp_path / "real" / "a")
    (tmp_path / "linked").mkdir()
    for name in ("a", "b"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "real" / name)
    for root in ("real", "linked"):
        dataset = images.load(tmp_path / root)
        assert len(dataset.train.labels) + len(dataset.test.labels) == 10


def test_hidden_files_other_files_and_empty_folders_are_passed_over(tmp_path):
    class_folders(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "._0001.png").write_bytes(b"what a Mac leaves")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.png").write_bytes(b"")
    (tmp_path / ".cache" / "x.parquet").write_bytes(b"")
    dataset = images.load(tmp_path)
    assert dataset.classes == ("a", "b")
    assert len(dataset.train.labels) + len(dataset.test.labels) == 10
    assert dataset.skipped == ()


def test_what_storage_and_systems_leave_between_the_images_is_passed_over(tmp_path):
    class_folders(tmp_path, {"a": 5, "b": 5})
    before = images.load(tmp_path)
    for junk in ("@eaDir", "__MACOSX", "lost+found"):
        shutil.copytree(tmp_path / "a", tmp_path / "b" / junk)
        shutil.copytree(tmp_path / "a", tmp_path / junk / "a")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"")
    after = images.load(tmp_path)
    assert (after.fingerprint, after.remarks) == (before.fingerprint, before.remarks)


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JPG", "pbm", "TIF"])
def test_every_suffix_of_a_known_format_is_read(tmp_path, suffix):
    content = encoded(picture(0), "PPM" if suffix == "pbm" else "TIFF" if suffix == "TIF" else "JPEG")
    assert stored(tmp_path, content, f".{suffix}").shape == (16, 16, 3)


def test_a_link_to_a_folder_above_leads_nowhere(tmp_path):
    class_folders(tmp_path, {"b": 5, "c": 5})
    before = images.load(tmp_path)
    (tmp_path / "a").symlink_to(tmp_path)
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    assert images.load(tmp_path).fingerprint == before.fingerprint


def test_a_folder_goes_by_its_own_name_and_not_by_a_links(tmp_path):
    class_folders(tmp_path / "train", {"a": 5, "b": 5})
    (tmp_path / "all").symlink_to(tmp_path / "train")
    assert len(images.load(tmp_path).train.labels) == 8


def test_a_folder_that_cannot_be_read_is_told():
    root, user = Path(tempfile.mkdtemp()), os.geteuid()
    try:
        class_folders(root, {"a": 5, "b": 5, "c": 5})
        root.chmod(0o755)
        (root / "c").chmod(0)
        if user == 0:
            os.seteuid(65534)  # to root nothing is closed
        source = truth.found(root)
    finally:
        os.seteuid(user)
        (root / "c").chmod(0o755)
        shutil.rmtree(root)
    assert source.classes == ("a", "b")
    assert truth.remark(source, "cannot be read") == "the folder c cannot be read and is left out (Permission denied)"


def test_names_that_are_not_utf8_become_valid_text(tmp_path):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/donn\xe9es"))
    for name in (b"caf\xe9", b"caf\xe8"):
        class_folders(root / "train", {os.fsdecode(name): 5})
        class_folders(root / "other", {os.fsdecode(name): 1})
    (root / "train" / os.fsdecode(b"caf\xe9") / os.fsdecode(b"\xff.png")).write_bytes(b"")
    (root / "train" / os.fsdecode(b"x.\xff")).write_bytes(b"")
    dataset = images.load(root)
    assert len(set(dataset.classes)) == 2
    assert len(dataset.skipped) == 1
    for text in (dataset.name, dataset.note, *dataset.classes, *dataset.skipped, *dataset.remarks):
        text.encode()
    saved.save(dataset, tmp_path / "saved")
    assert saved.open_saved(tmp_path / "saved").classes == dataset.classes


def test_what_is_no_file_is_passed_over_and_not_waited_for(tmp_path):
    class_folders(tmp_path, {"a": 5, "b": 5})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "b" / "nowhere.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "b" / "round.png").symlink_to("round.png")
    dataset = images.load(tmp_path)
    assert remark(dataset, "other file") == "1 other file passed over: 1 .png"
    assert [each.split(": ")[0] for each in sorted(dataset.skipped)] == ["b/nowhere.png", "b/round.png"]


def test_folders_within_folders_to_any_depth_are_listed_in_the_order_of_their_paths(tmp_path):
    folder = tmp_path
    for depth in range(300):
        folder = folder / "d"
        folder.mkdir()
        if depth % 100 == 0:
            class_folders(folder, {"": 2})
    tree = Tree(tmp_path)
    paths = [Path(*place, name) for place, name in tree.files()]
    assert len(paths) == 6
    assert paths == sorted(paths)
