"""The features of images as Parquet: what evaluations see, a row an image, whole or not at all, in bounded memory."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from algorithms.encoders import build_encoder
from algorithms.evaluation.features import raw_features
from algorithms.images.store import ResidentImages
from bench import files
from bench.commands.main import answer, ssl_bench
from bench.data import images
from bench.data.decoding import decode
from bench.errors import UserError
from bench.execution import embedding, networks, sources
from bench.execution.embedding import METADATA, embed
from tests.bench.data.builders import class_folders, encoded, parquet, picture, warnings_in
from tests.bench.execution.test_pretrained import OWN

ROOT = Path(__file__).resolve().parents[3]
RESNET8 = "resnet8=resnet8.pt"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with `mine.py` (a network for 12 px), a `resnet8` that was trained here, and `photos`: 9
    images of two classes of which one is not square."""
    (tmp_path / "mine.py").write_text(OWN)
    torch.manual_seed(3)
    torch.save(build_encoder("resnet8", 8).state_dict(), tmp_path / "resnet8.pt")
    told = {"asked": {"dataset": "leaves"}, "facts": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}}
    (tmp_path / "training.json").write_text(json.dumps(told))
    class_folders(tmp_path / "photos", {"cat": 5, "dog": 4})
    Image.fromarray(picture(7, 30, 20)).save(tmp_path / "photos" / "dog" / "0001.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents() -> dict[Path, bytes]:
    """Of all files below the working directory."""
    found = (path for path in Path().rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path: path.read_bytes() for path in found}


def features(path: str | Path) -> torch.Tensor:
    column = pq.read_table(path)["features"].combine_chunks()
    return torch.from_numpy(column.flatten().to_numpy().reshape(len(column), -1).copy())


def as_evaluated(source: str, path: str, **asked) -> dict[str, torch.Tensor]:
    """By the bytes of its pixels, the features of each image as a run of a frozen network has them, at its own size."""
    dataset = images.load(path, **asked)
    of, state = sources.find(source, Path(), dataset.statistics, image_size=asked["image_size"], own_size=True)
    frozen = networks.frozen(of, dataset.statistics, state)
    pixels = torch.cat([dataset.train.pixels, dataset.test.pixels])
    found = raw_features(frozen, ResidentImages.of(pixels, statistics=dataset.statistics))
    return {image.numpy().tobytes(): row for image, row in zip(pixels, found, strict=True)}


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize(("source", "size"), [("mine.py:pretrained", None), (RESNET8, 10)])
def test_features_are_those_that_evaluations_see(source: str, size: int | None, fit: str, grey: bool):
    if grey:
        for file in Path("photos").rglob("*.png"):
            Image.open(file).convert("L").save(file)
    embed(source, "photos", "features.parquet", image_size=size, fit=fit)
    expected = as_evaluated(source, "photos", image_size=size or 12, fit=fit)
    table = pq.read_table("features.parquet")
    pixels = [
        decode(Path("photos", path), size or 12, fit=fit, channels=1 if grey else 3).pixels.transpose(2, 0, 1)
        for path in table["path"].to_pylist()
    ]
    for row, image in zip(features("features.parquet"), pixels, strict=True):
        assert torch.allclose(row, expected[image.tobytes()], rtol=1e-4, atol=1e-5)


def test_a_row_is_an_image_with_its_path_its_split_and_its_label():
    class_folders(Path("set/train"), {"a": 3, "b": 2})
    class_folders(Path("set/val"), {"a": 1, "b": 1})
    class_folders(Path("set/test"), {"a": 1, "b": 1})
    class_folders(Path("set/loose"), {"": 1})
    table = pq.read_table(embed("mine.py:pretrained", "set"))
    assert table.schema.names == ["path", "split", "label", "features"]
    assert str(table.schema.field("features").type) == "fixed_size_list<element: float>[12]"
    rows = list(zip(*(table[name].to_pylist() for name in ("path", "split", "label")), strict=True))
    assert rows == [
        ("train/a/0000.png", "train", "a"),
        ("train/a/0001.png", "train", "a"),
        ("train/a/0002.png", "train", "a"),
        ("train/b/0000.png", "train", "b"),
        ("train/b/0001.png", "train", "b"),
        ("test/a/0000.png", "test", "a"),
        ("test/b/0000.png", "test", "b"),
        ("loose/0000.png", None, None),
        ("val/a/0000.png", "validation", "a"),
        ("val/b/0000.png", "validation", "b"),
    ]


def test_columns_of_which_nothing_is_known_are_left_out():
    class_folders(Path("flat"), {"": 3})
    assert pq.read_schema(embed("mine.py:pretrained", "flat")).names == ["path", "features"]
    assert pq.read_schema(embed("mine.py:pretrained", "photos")).names == ["path", "label", "features"]


def test_a_file_of_labels_and_parquet_and_a_door_name_their_images():
    Path("labels.csv").write_text("path,label\ncat/0001.png,young\ndog/0000.png,old\n")
    table = pq.read_table(embed("mine.py:pretrained", "photos", labels=Path("labels.csv")))
    labels = dict(zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert (labels["cat/0001.png"], labels["dog/0000.png"], labels["cat/0000.png"]) == ("young", "old", None)
    parquet(Path("table/train.parquet"), [0, 1, -1], ["owl", "elk"])
    table = pq.read_table(embed("mine.py:pretrained", "table"))
    assert table["path"].to_pylist() == ["0.png", "1.png", "2.png"]
    assert table["label"].to_pylist() == ["owl", "elk", None]
    Path("door.py").write_text(
        "import numpy as np\n"
        "def images():\n"
        "    made = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), dtype=np.uint8)\n"
        "    return made[:3], [0, 1, 0], made[3:], [1, 0], ('x', 'y')\n"
    )
    table = pq.read_table(embed("mine.py:pretrained", "door.py:images"))
    assert table["path"].to_pylist() == ["train/0", "train/1", "train/2", "test/0", "test/1"]
    assert table["label"].to_pylist() == ["x", "y", "x", "y", "x"]


def test_the_metadata_say_what_the_features_are():
    path = embed("mine.py:pretrained", "photos", fit="squash")
    assert path == Path("photos-mine-py-pretrained.parquet")
    about = json.loads(pq.read_schema(path).metadata[METADATA])
    of, _ = sources.find("mine.py:pretrained", Path(), embedding.IMAGENET, image_size=12, own_size=True)
    assert {name: about[name] for name in ("encoder", "weights", "image_size", "fit", "mean", "std", "images")} == {
        **{"encoder": of.name, "weights": of.hash, "image_size": 12, "fit": "squash"},
        **{"mean": [0.4] * 3, "std": [0.3] * 3, "images": "photos"},
    }


def test_the_same_again_is_the_same_file_in_place_of_the_former():
    first = embed("mine.py:pretrained", "photos", "f.parquet").read_bytes()
    assert embed("mine.py:pretrained", "photos", "f.parquet").read_bytes() == first
    assert embed("mine.py:pretrained", "photos", "f.parquet", image_size=16).read_bytes() != first


def test_rows_are_the_same_in_groups_and_batches_of_any_size(monkeypatch):
    whole = features(embed("mine.py:pretrained", "photos", "whole.parquet"))
    monkeypatch.setattr("algorithms.evaluation.features.PIXELS", 2 * 12**2)
    monkeypatch.setattr(embedding, "GROUP_BYTES", 3 * 4 * 12)
    path = embed("mine.py:pretrained", "photos", "parts.parquet")
    assert pq.ParquetFile(path).num_row_groups == 3
    assert torch.allclose(features(path), whole, atol=1e-6)


def test_images_that_cannot_be_read_are_left_out_and_named(capsys):
    name = "cat/0003.png"
    Path("photos", name).write_bytes(b"not an image")
    table = pq.read_table(embed("mine.py:pretrained", "photos"))
    assert len(table) == 8
    assert name not in table["path"].to_pylist()
    (warning,) = warnings_in(capsys.readouterr().err)
    assert warning.startswith("warning: 1 of 9 images could not be read and are left out")
    assert name in warning
    with pytest.raises(UserError, match=f"an image could not be read: {name}"):
        embed("mine.py:pretrained", "photos", "strict.parquet", strict=True)
    assert not Path("strict.parquet").exists()


def nothing() -> None:
    pass


def bands() -> None:
    for name in ("x", "y"):
        Path("bands", name).mkdir(parents=True)
        np.save(Path("bands", name, "0.npy"), np.zeros((8, 8, 5), dtype=np.uint8))


def unbounded() -> None:
    huge = "    made[0].weight.data *= 1e30; made[3].weight.data *= 1e30"
    code = OWN.replace("    made.image_size", f"{huge}\n    made.image_size")
    Path("mine.py").write_text(code)


REFUSED = {
    "no images": (lambda: Path("none").mkdir(), ["mine.py:pretrained", "none"], r"none.* holds no images"),
    "nothing there": (nothing, [RESNET8, "nowhere"], r"there is no data set and no path 'nowhere'"),
    "Parquet without images": (
        lambda: pq.write_table(pq.read_table(embed("mine.py:pretrained", "flat")).select(["features"]), "t.parquet"),
        ["mine.py:pretrained", "t.parquet"],
        r"t\.parquet has no image column",
    ),
    "a folder as output": (nothing, ["--output", "."], r"\. is a folder; give the name of a file"),
    "a file of another kind as output": (
        lambda: Path("notes.txt").write_text("mine"),
        ["--output", "notes.txt"],
        r"notes\.txt is there, and not of the same images and encoder",
    ),
    "Parquet of another kind as output": (
        lambda: parquet(Path("table.parquet"), [0]),
        ["--output", "table.parquet"],
        r"table\.parquet is there, and not of the same images and encoder",
    ),
    "features of other images as output": (
        lambda: embed("mine.py:pretrained", "flat", "f.parquet"),
        ["--output", "f.parquet"],
        r"f\.parquet is there, and not of the same images",
    ),
    "features by another encoder as output": (
        lambda: embed(RESNET8, "photos", "f.parquet", image_size=8),
        ["--output", "f.parquet"],
        r"f\.parquet is there, and not of the same images and encoder",
    ),
    "an output below a file": (nothing, ["--output", "mine.py/f.parquet"], r"mine\.py is no folder that you may"),
    "an output below nowhere": (nothing, ["--output", "/proc/none/f.parquet"], r"/proc .*give another --output"),
    "an output among the images": (nothing, ["--output", "photos/f.parquet"], r"would lie among the images"),
    "no size": (nothing, [RESNET8, "photos"], r"resnet8=resnet8\.pt does not say at which size .*--image-size"),
    "an encoder that is none": (nothing, ["resnet81", "photos"], r"'resnet81' has no weights"),
    "an encoder without weights": (nothing, ["resnet8", "photos"], r"write resnet8=FILE"),
    "truncated weights": (
        lambda: Path("resnet8.pt").write_bytes(Path("resnet8.pt").read_bytes()[:999]),
        [RESNET8, "photos", "--image-size", "8"],
        r"resnet8\.pt is no file of weights, or not the whole of one",
    ),
    "channels that it does not take": (
        bands,
        [RESNET8, "bands", "--image-size", "8"],
        r"takes images of 3 channels; these have 5",
    ),
    "a size that it does not take": (nothing, ["--image-size", "9" * 9], r"not a whole number from 8 to"),
    "no fit": (nothing, ["--fit", "fill"], r"--fit"),
    "features that are not finite": (unbounded, ["mine.py:pretrained", "photos"], r"features that are not finite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_gets_one_line_and_status_2_and_leaves_nothing(case: str, capsys):
    class_folders(Path("flat"), {"": 2})
    make, words, says = REFUSED[case]
    make()
    there = contents()
    words = words if not words[0].startswith("-") else ["mine.py:pretrained", "photos", *words]
    assert answer(ssl_bench, ["embed", *words], "ssl-bench") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert re.search(says, lines[-1])
    assert "Traceback" not in "".join(lines)
    assert contents() == there


def test_a_disk_without_room_is_refused_before_an_image_is_encoded(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 0, 100))
    monkeypatch.setattr(embedding, "raw_features", lambda *_: pytest.fail("an image is encoded"))
    with pytest.raises(UserError, match=r"the features take 0\.0 GiB, and .* has 0\.0 free; give another --output"):
        embed("mine.py:pretrained", "photos")


def test_a_disk_that_fills_is_one_line_and_leaves_what_was_there(monkeypatch):
    embed("mine.py:pretrained", "photos", "f.parquet", image_size=16)
    before = contents()

    def full(self, content):
        self.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise self.error

    monkeypatch.setattr(files._File, "write", full)
    with pytest.raises(UserError, match=r"f\.parquet cannot be written \(No space left on device\)"):
        embed("mine.py:pretrained", "photos", "f.parquet")
    assert contents() == before


def many(count: int) -> str:
    """Parquet of so many small images."""
    content = [encoded(picture(number, 8, 8)) for number in range(100)]
    folder = Path(f"many-{count}")
    folder.mkdir()
    pq.write_table(pa.table({"image": content * (count // 100)}), folder / "train.parquet", row_group_size=1000)
    return str(folder)


WIDE = """
from torch import nn


def wide(channels):
    made = nn.Sequential(nn.Conv2d(channels, 1024, 8), nn.Flatten())
    made.image_size = 8
    return made
"""
COMMAND = "import sys; from bench.commands.main import main; sys.exit(main())"
PEAK = "import resource, sys; from bench.execution.embedding import embed; embed(*sys.argv[1:]); "
PEAK += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"


def begun(program: str, *words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env=environment,
        stdout=-1,
        stderr=-1,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
    )


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images():
    Path("wide.py").write_text(WIDE)
    peaks = []
    for count in (2_000, 50_000):
        process = begun(PEAK, "wide.py:wide", many(count), f"{count}.parquet")
        told, errors = process.communicate()
        assert process.returncode == 0, errors
        peaks.append(int(told.split()[-1]))
        assert pq.ParquetFile(f"{count}.parquet").metadata.num_rows == count
    print(peaks)
    assert peaks[1] - peaks[0] < 128  # MiB, where the features are 195


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_what_was_there(number: signal.Signals):
    Path("wide.py").write_text(WIDE)
    folder = many(200_000)
    before = contents()
    process = begun(COMMAND, "embed", "wide.py:wide", folder, "--output", "f.parquet")
    assert "embedding images: " in process.stderr.readline()
    assert list(Path().glob(".f.parquet.*"))
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.splitlines()[-1]) == (130, "interrupted; no features are written")
    assert contents() == before
