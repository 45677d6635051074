"""What is in a .zip or .tar, in whatever state it is."""

import struct
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.archives import is_archive, opened, stem_of
from bench.errors import UserError
from tests.bench.data.truth import tarred, zipped

WAYS = {
    "stored.zip": lambda path, files: zipped(path, files, zipfile.ZIP_STORED),
    "deflated.zip": zipped,
    "bzip2.zip": lambda path, files: zipped(path, files, zipfile.ZIP_BZIP2),
    "plain.tar": tarred,
    "x.tar.gz": lambda path, files: tarred(path, files, "gz"),
    "x.tgz": lambda path, files: tarred(path, files, "gz"),
    "x.tar.bz2": lambda path, files: tarred(path, files, "bz2"),
    "x.txz": lambda path, files: tarred(path, files, "xz"),
}
FILES = [(f"a/{number:02}.bin", bytes([number]) * (100 * number)) for number in range(20)]


def contents(archive, numbers) -> list[bytes]:
    return [content() if callable(content) else content for content in archive.read(numbers)]


@pytest.mark.parametrize("name", WAYS)
@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=8), st.data())
@settings(max_examples=10, deadline=None)
def test_every_file_is_read_as_it_was_written_and_any_rising_choice_of_them(name, files, data):
    with TemporaryDirectory() as folder:
        path = WAYS[name](Path(folder, name), [(f"{number}/x", content) for number, content in enumerate(files)])
        archive = opened(path)
        assert archive.names == [f"{number}/x" for number in range(len(files))]
        assert list(archive.sizes) == [len(content) for content in files]
        chosen = sorted(data.draw(st.sets(st.sampled_from(range(len(files))))))
        assert contents(archive, chosen) == [files[number] for number in chosen]
        assert archive.told() == []


@pytest.mark.parametrize("name", ["deflated.zip", "plain.tar"])
def test_threads_read_at_once(tmp_path, name):
    archive = opened(WAYS[name](tmp_path / name, FILES))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(archive.content, [*range(20)] * 20)) == [content for _, content in FILES] * 20


NOISE = [(f"a/{number:02}", np.random.default_rng(number).bytes(2000)) for number in range(20)]


@pytest.mark.parametrize("name", WAYS)
@given(st.floats(0, 0.99))
@settings(max_examples=15, deadline=None)
def test_of_an_archive_that_is_cut_off_what_is_whole_is_read_and_it_is_told_or_all_is_refused(name, share):
    with TemporaryDirectory() as folder:
        path = WAYS[name](Path(folder, name), NOISE)
        content = path.read_bytes()
        end = int(share * len(content.rstrip(b"\0")))  # a .tar ends in zeros
        path.write_bytes(content[:end])
        try:
            archive = opened(path)
        except UserError as error:
            told, whole = str(error), []
        else:
            (told,) = archive.told()
            whole = contents(archive, range(len(archive.names)))
            assert f"what follows its first {len(whole)} file" in told
    assert told.endswith("download it again")
    assert whole == [content for _, content in NOISE[: len(whole)]]
    if name == "plain.tar":
        assert len(whole) == end // 2560 + (end % 2560 >= 2512)  # a header, the content, and what fills its block


@pytest.mark.parametrize("name", ["deflated.zip", "plain.tar"])
def test_a_damaged_file_in_a_zip_is_no_image_and_a_damaged_tar_is_told(tmp_path, name):
    path = WAYS[name](tmp_path / name, [(each, bytes(range(256)) * 8) for each, _ in FILES])
    content = bytearray(path.read_bytes())
    archive = opened(path)
    if name == "plain.tar":
        content[archive.starts[10] - 512 + 100] ^= 255  # in a header
    else:
        content[archive.starts[10] + 40 + len(FILES[10][0])] ^= 255
    path.write_bytes(content)
    archive = opened(path)
    if name == "plain.tar":
        assert archive.names == [each for each, _ in FILES[:10]]
        assert "damaged or cut off" in archive.told()[0]
    else:
        with pytest.raises(Exception, match=r"damaged here|invalid|incomplete"):
            archive.content(10)
        assert archive.content(11) == bytes(range(256)) * 8


def test_what_cannot_be_read_in_an_archive_is_counted(tmp_path):
    path = zipped(tmp_path / "x.zip", FILES[:3])
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\1\2")
    content[central + 8] |= 1  # encrypted
    path.write_bytes(content)
    archive = opened(path)
    assert archive.names == ["a/01.bin", "a/02.bin"]
    assert archive.told() == ["1 file in x.zip left out: 1 encrypted"]

    path = tarred(tmp_path / "x.tar", FILES[:2])
    with tarfile.open(path, "a") as file:
        for kind in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo("link")
            member.type, member.linkname = kind, "a/00.bin"
            file.addfile(member)
    assert opened(path).told() == ["3 files in x.tar left out: 2 links, 1 special files"]


def test_an_archive_that_is_wholly_encrypted_is_refused(tmp_path):
    path = zipped(tmp_path / "x.zip", FILES[:1])
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"\(1 file in x.zip left out: 1 encrypted\); unpack it"):
        opened(path)


def test_a_size_that_is_claimed_takes_no_memory(tmp_path):
    path = zipped(tmp_path / "x.zip", [("a/x", bytes(1000))])
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2") + 24
    content[at : at + 4] = struct.pack("<I", 5)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged here"):
        opened(path).content(0)
    content[at : at + 4] = struct.pack("<I", 2**31)
    path.write_bytes(content)
    with pytest.raises(UserError, match="larger than 1 GiB"):
        opened(path)


def test_names_in_a_zip_are_read_as_they_were_meant(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("café/1", b"")  # UTF-8, and said so
        file.writestr("caf\\2", b"")  # as a program of Windows writes it
    content = path.read_bytes()
    assert opened(path).names == ["café/1", "caf/2"]
    unsaid = bytearray(content)
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.index(mark) + flags
        unsaid[at : at + 2] = b"\0\0"
    path.write_bytes(unsaid)
    assert opened(path).names[0] == "café/1"
    path.write_bytes(unsaid.replace("é".encode(), b"\x82e"))  # in cp437
    assert opened(path).names[0] == "cafée/1"


def test_a_zip_of_more_than_65535_files_is_read(tmp_path):
    path = zipped(tmp_path / "x.zip", [(f"a/{number}", b"%d" % number) for number in range(65_600)])
    archive = opened(path)
    assert len(archive.names) == 65_600
    assert archive.content(65_599) == b"65599"


def test_a_compressed_archive_that_changes_while_it_is_read_is_refused(tmp_path):
    path = tarred(tmp_path / "x.tar.gz", FILES, "gz")
    archive = opened(path)
    tarred(path, FILES[:5], "gz")
    with pytest.raises(UserError, match="has changed"):
        contents(archive, [0, 10])


def test_archives_are_told_by_their_suffix():
    assert is_archive("X.TAR.GZ")
    assert not is_archive("x.gz")
    assert stem_of("train.v2.tar.gz") == "train.v2"
    assert stem_of("a.zip") == "a"
