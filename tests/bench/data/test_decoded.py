"""Images are decoded once: whatever breaks a decoding, it goes on, and says nothing of a row that is not true."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from algorithms.images.statistics import measure
from bench.data import decoded, decoder, images
from bench.data.dataset import Dataset, fingerprint
from bench.data.decoded import DECODED, NOT_YET, UNREADABLE, DecodedFile, Facts
from bench.data.decoding import decode
from bench.data.source import Asked
from bench.errors import UserError
from tests.bench.data.builders import class_folders, damage, encoded, stacked

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each image that is decoded to be kept."""
    made: list[int] = []

    def pixels(self: decoded.Writer, row: int, pixels: np.ndarray, write=decoded.Writer.pixels) -> None:
        made.append(row)
        write(self, row, pixels)

    monkeypatch.setattr(decoded.Writer, "pixels", pixels)
    return made


def everything(dataset: Dataset) -> list[bytes]:
    return sorted(image.numpy().tobytes() for split in (dataset.train, dataset.test) for image in split.pixels)


def test_a_second_load_decodes_nothing_and_gives_the_same(tmp_path: Path, cache: Path, counted: list[int]):
    truth = class_folders(tmp_path / "set", {"a": 20, "b": 20})
    damage(tmp_path / "set", b"")
    first = images.load(tmp_path / "set")
    assert sorted(counted) == [row for row in range(40) if row != 3]
    second = images.load(tmp_path / "set")
    assert len(counted) == 39
    assert everything(first) == everything(second)
    assert everything(first) == sorted(each.numpy().tobytes() for each in stacked(truth[:3] + truth[4:]))
    for field in ("fingerprint", "statistics", "note", "skipped", "remarks", "classes"):
        assert getattr(first, field) == getattr(second, field)
    assert first.fingerprint == fingerprint(second.train, second.test)
    assert first.statistics == measure(second.train.parts())
    with pytest.raises(UserError, match=r"could not be read: a/0003\.png"):
        images.load(tmp_path / "set", strict=True)


def test_a_limit_decodes_its_images_alone_and_the_rest_comes_later(tmp_path: Path, cache: Path, counted: list[int]):
    class_folders(tmp_path / "set", {"a": 40, "b": 40})
    some = images.load(tmp_path / "set", limit=10)
    assert len(counted) == len(some.train) + len(some.test) < 20
    before = some.train.packed[some.train.rows].clone()
    every = images.load(tmp_path / "set")
    assert sorted(counted) == list(range(80)), "none twice"
    assert every.train.file == some.train.file
    assert torch.equal(some.train.packed[some.train.rows], before)


def test_an_image_that_changes_is_decoded_anew(tmp_path: Path, cache: Path):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    before = images.load(tmp_path / "set")
    shutil.copy(tmp_path / "set" / "b" / "0001.png", tmp_path / "set" / "a" / "0001.png")
    after = images.load(tmp_path / "set")
    assert before.fingerprint != after.fingerprint
    assert everything(before) != everything(after)


@pytest.mark.parametrize("part", ["images.npy", "marks", "about.json", "rows.jsonl"])
@pytest.mark.parametrize("how", ["cut", "removed", "nonsense"])
def test_a_damaged_cache_is_decoded_anew(tmp_path: Path, cache: Path, part: str, how: str):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    damage(tmp_path / "set", b"")
    before = images.load(tmp_path / "set")
    expected, told = everything(before), before.skipped
    (file,) = cache.rglob(part)
    if how == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif how == "removed":
        file.unlink()
    else:
        content = b"x" * 10 if part == "images.npy" else b"\xff" * file.stat().st_size
        with file.open("r+b") as opened:
            opened.write(content)
    again = images.load(tmp_path / "set")
    assert everything(again) == expected
    assert again.skipped == told


LOAD = """
import sys
from bench.data import images
dataset = images.load(sys.argv[1], image_size=16)
print(dataset.fingerprint, len(dataset.train), len(dataset.test))
"""


def begin(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, str(root)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_a_decoding_that_is_killed_goes_on_and_decodes_nothing_twice_that_was_durable(tmp_path: Path, cache: Path):
    truth = class_folders(tmp_path / "set", {"a": 300, "b": 300}, size=120)
    moments, killed, known = random.Random(0), 0, np.zeros(0, dtype=np.uint8)
    for _ in range(12):
        process = begin(tmp_path / "set")
        deadline = time.monotonic() + 60
        while process.poll() is None and not list(cache.rglob("marks")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.4))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
        for marks in cache.rglob("marks"):
            now = np.fromfile(marks, dtype=np.uint8)
            assert len(now) == 600 or not len(known), "what was durable stays"
            if len(known) == len(now):
                assert (now[known >= DECODED] == known[known >= DECODED]).all()
            known = now
    assert killed
    dataset = images.load(tmp_path / "set", image_size=16)
    expected = sorted(
        decode(encoded(each), 16, channels=3).pixels.transpose(2, 0, 1).tobytes()
        for each in truth  # type: ignore[union-attr]
    )
    assert everything(dataset) == expected


@pytest.mark.slow
def test_two_commands_at_once_decode_each_image_once_and_give_the_same(tmp_path: Path, cache: Path):
    class_folders(tmp_path / "set", {"a": 100, "b": 100}, size=100)
    both = [begin(tmp_path / "set") for _ in range(2)]
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert told[0][0] == told[1][0]


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, counted: list[int]
):
    class_folders(tmp_path / "set", {"a": 100, "b": 100})
    monkeypatch.setattr(decoder, "DURABLE_EVERY", 0.0)
    write = os.pwrite

    def full(file: int, content: bytes, offset: int) -> int:
        if len(counted) > 120 and len(content) == 3 * 16 * 16:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(UserError, match=r"No space left on device.*it continues, or set SSL_BENCH_CACHE") as caught:
            images.load(tmp_path / "set")
    assert "\n" not in str(caught.value)
    (marks,) = cache.rglob("marks")
    done = int((np.fromfile(marks, dtype=np.uint8) >= DECODED).sum())
    assert 0 < done <= 121
    counted.clear()
    images.load(tmp_path / "set")
    assert len(counted) == 200 - done


def test_a_disk_without_room_for_all_is_refused_before_one_is_decoded(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, counted: list[int]
):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    free = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free._replace(free=1000))
    with pytest.raises(UserError, match=r"20 decoded images take .* GiB, and .* free; set SSL_BENCH_CACHE"):
        images.load(tmp_path / "set")
    assert not counted


def test_a_cache_that_cannot_be_written_to_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(UserError, match=r"cannot be kept in .*file/below.* \(Not a directory\)"):
        images.load(tmp_path / "set")


def test_deep_images_are_shown_by_one_range_and_another_range_leaves_a_run_alone(tmp_path: Path, cache: Path):
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(10):
            array = np.full((8, 8), 100 * number + 50 * (name == "b"), np.uint16)
            Image.fromarray(array).save(tmp_path / "set" / name / f"{number}.png")
    first = images.load(tmp_path / "set")
    before = first.train.packed[first.train.rows].clone()
    Image.fromarray(np.full((8, 8), 60_000, np.uint16)).save(tmp_path / "set" / "a" / "bright.png")
    second = images.load(tmp_path / "set")
    assert first.train.file != second.train.file
    assert torch.equal(first.train.packed[first.train.rows], before)
    assert int(second.train.packed[second.train.rows].max()) <= 255 * 60_000 / 65_535 + 1
    assert images.load(tmp_path / "set").fingerprint == second.fingerprint


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_rows_are_what_was_written_and_marks_say_so(tmp_path_factory, fates: list[int], channels: int, order):
    folder = tmp_path_factory.mktemp("decoded")
    pixels = np.random.default_rng(0).integers(0, 256, (len(fates), 8, 8, channels), dtype=np.uint8)
    rows = list(range(len(fates)))
    order.shuffle(rows)
    for part in (rows[::2], rows[1::2]):
        file = DecodedFile(folder, len(fates), 8, channels)
        with file.writing(len(part)) as writer:
            for row in part:
                if fates[row] == 1:
                    writer.unreadable(row, f"{row}: broken")
                elif fates[row] > 1:
                    writer.pixels(row, pixels[row])
                    writer.decoded(row, "AB"[fates[row] - 2])
    opened = DecodedFile(folder, len(fates), 8, channels)
    for row, fate in enumerate(fates):
        assert opened.marks[row] == (NOT_YET, UNREADABLE, *opened.marks[[row, row]])[fate]
        if fate == 1:
            assert opened.why[row] == f"{row}: broken"
        if fate > 1:
            assert opened.kinds_of(np.array([row])) == {"AB"[fate - 2]}
            assert (opened.opened()[row].numpy() == pixels[row].transpose(0, 2, 1)).all()
    assert opened.decoded(np.arange(len(fates))).tolist() == [fate > 1 for fate in fates]


def test_a_fact_is_found_once_and_again_where_its_file_is_damaged(tmp_path: Path):
    found: list[int] = []

    def find() -> list[object]:
        found.append(1)
        return [len(found), ("a", 0.5)]

    assert Facts(tmp_path / "facts.json").recall("one", find) == [1, ["a", 0.5]]
    assert Facts(tmp_path / "facts.json").recall("one", find) == [1, ["a", 0.5]]
    assert Facts(tmp_path / "facts.json").recall("other", find)[0] == 2
    (tmp_path / "facts.json").write_text("{torn")
    assert Facts(tmp_path / "facts.json").recall("one", find)[0] == 3


def test_a_file_larger_than_all_memory_is_mapped(tmp_path: Path):
    """Of a private map that could be written to the kernel would want so much memory to be there."""
    with open("/proc/meminfo") as file:
        there = sum(int(line.split()[1]) * 1024 for line in file if line.startswith(("MemTotal", "SwapTotal")))
    images_ = 2 * there // (512 * 16 * 512)
    file_ = DecodedFile(tmp_path, images_, 512, 16)
    with file_.writing(1) as writer:
        writer.pixels(images_ - 1, np.full((512, 512, 16), 7, np.uint8))
        writer.decoded(images_ - 1, "PNG")
    opened = file_.opened()
    assert opened.nbytes > there
    assert opened[-1].unique().tolist() == [7]


@pytest.mark.parametrize("what", ["decode", "channels_of"])
def test_an_image_that_the_disk_did_not_give_once_is_read_the_next_time(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, counted: list[int], what: str
):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    read = getattr(decoder, what)

    def broken(encoded: Path, *size: object, **how: object) -> object:
        if what == "channels_of" or encoded.name == "0003.png":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return read(encoded, *size, **how)

    with monkeypatch.context() as patch:
        patch.setattr(decoder, what, broken)
        if what == "decode":
            dataset = images.load(tmp_path / "set")
            assert [each.split(":")[0] for each in dataset.skipped] == ["a/0003.png", "b/0003.png"]
        else:
            with pytest.raises(UserError, match=r"none of the images .* could be read.*Stale file handle"):
                images.load(tmp_path / "set")
    counted.clear()
    assert images.load(tmp_path / "set").skipped == ()
    assert len(counted) == (2 if what == "decode" else 20), "what was durable is not decoded again"


def test_channels_that_were_told_without_all_headers_are_found_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (16, 16), 10 * number).save(tmp_path / "set" / name / f"{number}.png")
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / "set" / "a" / "red.png")
    read = decoder.channels_of

    def broken(encoded: Path) -> int:
        if encoded.name == "red.png":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(encoded)

    with monkeypatch.context() as patch:
        patch.setattr(decoder, "channels_of", broken)
        assert images.load(tmp_path / "set").train.channels == 1
    dataset = images.load(tmp_path / "set")
    assert (dataset.train.channels, dataset.skipped) == (3, ())


def test_a_line_that_a_power_cut_tore_costs_its_own_image_alone(tmp_path: Path, cache: Path, counted: list[int]):
    class_folders(tmp_path / "set", {"a": 20, "b": 20})
    damage(tmp_path / "set", b"")
    told = images.load(tmp_path / "set").skipped
    (lines,), (marks,) = cache.rglob("rows.jsonl"), cache.rglob("marks")
    lines.write_text('{"row": 3, "wh')
    known = np.fromfile(marks, dtype=np.uint8)
    known[3] = NOT_YET
    known.tofile(marks)
    counted.clear()
    for _ in range(2):  # the second reads what the first has added to the torn line
        assert images.load(tmp_path / "set").skipped == told
    assert not counted


@pytest.mark.parametrize(
    ("part", "content"),
    [
        *(("rows.jsonl", f"{line}\n") for line in ("5", "{}", '{"row": 999, "why": ""}', '{"row": "a", "why": ""}')),
        *(("rows.jsonl", f"{line}\n") for line in ('{"row": -1, "why": ""}', '{"row": 3, "values": 1}', "null")),
        *(("about.json", content) for content in ("[]", '{"kinds": 5}', '{"kinds": [1]}')),
    ],
)
def test_what_says_something_else_of_the_rows_is_not_believed(tmp_path: Path, cache: Path, part: str, content: str):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    damage(tmp_path / "set", b"")
    before = images.load(tmp_path / "set")
    next(cache.rglob(part)).write_text(content)
    again = images.load(tmp_path / "set")
    assert (again.skipped, again.note) == (before.skipped, before.note)
    assert everything(again) == everything(before)


def test_what_was_told_of_classes_is_told_with_their_names_of_today(tmp_path: Path, cache: Path):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    shutil.copy(tmp_path / "set" / "a" / "0000.png", tmp_path / "set" / "b" / "copy.png")
    for names in (("cat", "dog"), ("lion", "wolf")):
        lines = [
            f"{path.relative_to(tmp_path / 'set')},{names['ab'.index(path.parent.name)]}"
            for path in sorted((tmp_path / "set").rglob("*.png"))
        ]
        (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]))
        dataset = images.load(tmp_path / "set", asked=Asked(labels=tmp_path / "labels.csv"))
        (told,) = (remark for remark in dataset.remarks if "more than one label" in remark)
        assert all(f"({name})" in told for name in names), told
