import hashlib
import io
import json
import pickle
import socket
import struct
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2.functional import center_crop, resize

from bench import images
from bench.errors import UserError

CIFAR10 = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "cifar10"
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(seed: int, width: int = 16, height: int = 16) -> np.ndarray:
    """uint8 [height, width, 3], smooth enough to be recognised after a lossy format."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR))


def encoded(array: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of this size with next to no pixels in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def class_folders(root: Path, counts: dict[str, int], size: int = 16, kind: str = "png", **options) -> list[np.ndarray]:
    """`counts[name]` images in `root/name`; returns them, by folder and file name."""
    arrays = []
    for name in sorted(counts):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(counts[name]):
            arrays.append(picture(len(arrays), size, size))
            Image.fromarray(arrays[-1]).save(root / name / f"{number:04}.{kind}", **options)
    return arrays


def parquet(path: Path, labels: list, classes: list[str] | None = None, seed: int = 0, **columns) -> list[np.ndarray]:
    """A Parquet file as Hugging Face writes it, of one image for each label; returns the images."""
    arrays = [picture(seed + number) for number in range(len(labels))]
    cells = [{"bytes": encoded(array), "path": f"{number}.png"} for number, array in enumerate(arrays)]
    contents = {"img": pa.array(cells, IMAGE), "label": pa.array(labels, pa.int64())} | columns
    table = pa.table({name: column for name, column in contents.items() if column is not None})
    if classes:
        features = {"img": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)
    return arrays


def stacked(arrays: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


# --------------------------------------------------------------------------------------------------------- Parquet


def test_parquet_images_labels_and_class_names_are_read_as_hugging_face_wrote_them(tmp_path):
    first = parquet(tmp_path / "data/train-00000-of-00002.parquet", [0, 1, 2] * 5, ["ant", "bee", "cat"])
    second = parquet(tmp_path / "data/train-00001-of-00002.parquet", [2, None, -1], ["ant", "bee", "cat"], seed=50)
    test = parquet(tmp_path / "data/test-00000-of-00001.parquet", [1, 0], ["ant", "bee", "cat"], seed=90)
    dataset = images.load(tmp_path)
    assert dataset.classes == ("ant", "bee", "cat")
    assert torch.equal(dataset.train.pixels, stacked(first + second))
    assert dataset.train.labels.tolist() == [0, 1, 2] * 5 + [2, -1, -1]
    assert torch.equal(dataset.test.pixels, stacked(test))
    assert dataset.test.labels.tolist() == [1, 0]
    assert dataset.train.pixels.dtype == torch.uint8
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.note == f"{tmp_path.name} (PNG)"
    assert dataset.skipped == ()


def test_parquet_labels_without_names_become_classes_in_order(tmp_path):
    parquet(tmp_path / "train.parquet", [7, 3, 7, 3])
    parquet(tmp_path / "test.parquet", [3, 100])
    dataset = images.load(tmp_path)
    assert dataset.classes == ("3", "7", "100")
    assert dataset.train.labels.tolist() == [1, 0, 1, 0]
    assert dataset.test.labels.tolist() == [0, 2]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_parquet_labels_may_be_strings(tmp_path, kind):
    labels = ["cat", "ant", None, "cat", ""]
    parquet(tmp_path / "train.parquet", [0] * 5, label=pa.array(labels).cast(kind), caption=pa.array(labels))
    parquet(tmp_path / "test.parquet", [0] * 2, label=pa.array(["bee", "ant"]).cast(kind))
    dataset = images.load(tmp_path)
    assert dataset.classes == ("ant", "bee", "cat")
    assert dataset.train.labels.tolist() == [2, 0, -1, 2, -1]
    assert dataset.test.labels.tolist() == [1, 0]
    assert dataset.train.labels.dtype == torch.int64


def test_parquet_labels_may_be_booleans(tmp_path):
    parquet(tmp_path / "train.parquet", [0] * 3, label=pa.array([True, False, None]))
    parquet(tmp_path / "test.parquet", [0] * 2, label=pa.array([True, False]))
    dataset = images.load(tmp_path)
    assert dataset.classes == ("false", "true")
    assert dataset.train.labels.tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.parquet", "test.parquet"),
        ("train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("birds_TRAIN_1.parquet", "birds_val_1.parquet"),
        ("latest.parquet", "contest-test.parquet"),
    ],
)
def test_parquet_file_names_tell_the_splits(tmp_path, train, test):
    parquet(tmp_path / train, [0, 1, 1])
    parquet(tmp_path / test, [1, 0], seed=9)
    dataset = images.load(tmp_path)
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (3, 2)


def test_a_test_split_without_labels_gives_way_to_validation(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1])
    parquet(tmp_path / "test.parquet", [-1, -1, -1])
    validation = parquet(tmp_path / "validation.parquet", [1, 0], seed=30)
    assert torch.equal(images.load(tmp_path).test.pixels, stacked(validation))


def test_a_validation_split_beside_test_images_is_left_out_and_said_to_be(tmp_path):
    for split in ("train", "test", "validation"):
        parquet(tmp_path / f"{split}.parquet", [0, 1])
    dataset = images.load(tmp_path)
    assert len(dataset.train.labels) == len(dataset.test.labels) == 2
    assert "validation images left out" in dataset.note


def test_one_parquet_file_is_a_data_set_with_a_part_held_out(tmp_path):
    parquet(tmp_path / "birds.parquet", [0, 1] * 10)
    dataset = images.load(tmp_path / "birds.parquet")
    assert dataset.name == "birds"
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (16, 4)


def test_among_several_label_columns_the_first_with_class_names_counts(tmp_path):
    labels = {"fine_label": pa.array([4, 0, 2, 4]), "coarse_label": pa.array([0, 0, 1, 0]), "label": None}
    classes = {
        "fine_label": {"names": list("abcde"), "_type": "ClassLabel"},
        "coarse_label": {"names": list("xy"), "_type": "ClassLabel"},
    }
    parquet(tmp_path / "train.parquet", [0] * 4, **labels)
    table = pq.read_table(tmp_path / "train.parquet")
    metadata = {"huggingface": json.dumps({"info": {"features": classes}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "train.parquet")
    parquet(tmp_path / "test.parquet", [0] * 4, **labels)
    dataset = images.load(tmp_path)
    assert dataset.classes == tuple("abcde")
    assert dataset.train.labels.tolist() == [4, 0, 2, 4]


@pytest.mark.skipif(not CIFAR10.exists(), reason="the CIFAR-10 Parquet files are not beside the project")
def test_the_jpeg_copy_of_cifar10_is_read_exactly_and_says_what_it_is():
    dataset = images.load(CIFAR10, limit=500)
    assert dataset.note == "CIFAR-10 (JPEG-75); 500 of 50,000 training images"
    assert dataset.train.labels.bincount().tolist() == [50] * 10
    assert dataset.test.labels.bincount().tolist() == [10] * 10
    rows = pq.read_table(CIFAR10 / "test.parquet").to_pylist()
    pixels = {hashlib.sha256(np.asarray(Image.open(io.BytesIO(row["img"]["bytes"])))).digest() for row in rows}
    for image in dataset.test.pixels:
        assert hashlib.sha256(image.permute(1, 2, 0).contiguous().numpy()).digest() in pixels


# --------------------------------------------------------------------------------------------------- class folders


def test_class_folders_below_train_and_test_are_read(tmp_path):
    train = class_folders(tmp_path / "train", {"dog": 3, "cat": 4})
    test = class_folders(tmp_path / "test", {"dog": 2, "cat": 2})
    dataset = images.load(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert torch.equal(dataset.train.pixels, stacked(train))
    assert dataset.train.labels.tolist() == [0] * 4 + [1] * 3
    assert torch.equal(dataset.test.pixels, stacked(test))


def test_class_folders_below_val_are_the_test_images(tmp_path):
    class_folders(tmp_path / "train", {"dog": 3, "cat": 4})
    class_folders(tmp_path / "val", {"dog": 1, "cat": 1})
    assert images.load(tmp_path).test.labels.tolist() == [0, 1]


def test_without_test_images_a_fixed_stratified_fifth_is_held_out_and_the_note_says_so(tmp_path):
    arrays = class_folders(tmp_path, {"a": 50, "b": 10, "c": 5})
    dataset = images.load(tmp_path)
    assert dataset.test.labels.bincount().tolist() == [10, 2, 1]
    assert dataset.train.labels.bincount().tolist() == [40, 8, 4]
    assert "held out" in dataset.note
    every = {image.numpy().tobytes() for split in (dataset.train, dataset.test) for image in split.pixels}
    assert every == {image.contiguous().numpy().tobytes() for image in stacked(arrays)}
    assert torch.equal(images.load(tmp_path).test.pixels, dataset.test.pixels)


@pytest.mark.parametrize("name", ["unlabelled", "Unlabeled"])
def test_a_class_folder_called_unlabelled_joins_the_training_images_alone(tmp_path, name):
    class_folders(tmp_path, {"a": 10, "b": 10, name: 30})
    dataset = images.load(tmp_path)
    assert dataset.classes == ("a", "b")
    assert (dataset.train.labels == -1).sum() == 30
    assert (dataset.test.labels >= 0).all()


@pytest.mark.parametrize("names", [("seg_train", "seg_test", "seg_pred"), ("training_set", "test_set")])
def test_parts_of_a_data_set_are_not_taken_for_classes(tmp_path, names):
    for name in names:
        class_folders(tmp_path / name / name, {"a": 3, "b": 3})
    with pytest.raises(UserError, match=r"look like parts of a data set.*name them train and test"):
        images.load(tmp_path)


def test_two_folders_of_one_split_are_not_mixed_up(tmp_path):
    for name in ("train", "training"):
        class_folders(tmp_path / name, {"a": 3, "b": 3})
    with pytest.raises(UserError, match="two folders of train images"):
        images.load(tmp_path)


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


# ------------------------------------------------------------------------------------------------- kinds of images


def stored(tmp_path: Path, content: bytes, suffix: str, **options) -> np.ndarray:
    """What becomes of an image: uint8 [S, S, 3]."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / f"x{suffix}").write_bytes(content)
    return images.load(tmp_path, strict=True, **options).train.pixels[0].permute(1, 2, 0).numpy()


def test_a_grey_image_gets_three_equal_channels(tmp_path):
    grey = picture(0)[:, :, 0]
    assert (stored(tmp_path, encoded(grey), ".png") == grey[:, :, None]).all()


def test_a_16_bit_image_keeps_its_brightness(tmp_path):
    grey = picture(0)[:, :, 0]
    assert (stored(tmp_path, encoded(grey.astype(np.uint16) * 256), ".png") == grey[:, :, None]).all()


def test_palettes_and_alpha_become_colours(tmp_path):
    array = picture(0)
    transparent = np.dstack([array, np.full((16, 16), 77, np.uint8)])
    assert (stored(tmp_path / "alpha", encoded(transparent), ".png") == array).all()
    palette = Image.fromarray(array).quantize(256)
    file = io.BytesIO()
    palette.save(file, "PNG")
    expected = np.asarray(palette.convert("RGB"))
    assert (stored(tmp_path / "palette", file.getvalue(), ".png") == expected).all()


def test_a_photograph_is_turned_the_way_its_camera_was_held(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees to show it
    array = picture(0)
    assert (stored(tmp_path, encoded(array, exif=exif), ".png") == np.rot90(array, -1)).all()


@pytest.mark.parametrize(("width", "height"), [(32, 32), (40, 24), (17, 31), (8, 8)])
def test_resizing_takes_the_central_square_as_torchvision_does(tmp_path, width, height):
    array = picture(3, width, height)
    made = stored(tmp_path, encoded(array), ".png", image_size=16)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    square = center_crop(resize(tensor, [16], antialias=True), [16])
    difference = made.astype(int) - square.permute(1, 2, 0).numpy()
    # torchvision rounds the longer side to a whole number of pixels before it crops: half a pixel at most.
    assert np.abs(difference).max() <= (1 if width == height else 14)
    assert np.abs(difference).mean() < 2.5


@pytest.mark.parametrize("qualities", [[75], [90], [60, 90]])
def test_the_note_tells_the_quality_of_jpegs(tmp_path, qualities):
    for quality in qualities:
        class_folders(tmp_path / "cifar10" / "train", {f"{quality}": 3, "x": 3}, kind="jpg", quality=quality)
    class_folders(tmp_path / "cifar10" / "test", {"x": 3}, kind="jpg", quality=qualities[-1])
    expected = f"JPEG-{qualities[0]}" if len(qualities) == 1 else "JPEG"
    assert images.load(tmp_path / "cifar10").note == f"CIFAR-10 ({expected})"


# --------------------------------------------------------------------------------------------------- damaged images


def damage(root: Path, content: bytes) -> str:
    (root / "a" / "0003.png").write_bytes(content)
    return "a/0003.png"


def warnings_in(text: str) -> list[str]:
    """The lines of stderr that do not tell the progress on a slow machine."""
    return [line for line in text.splitlines() if not line.startswith("decoding ")]


DAMAGED = {
    "empty": b"",
    "text": b"not an image",
    "cut": encoded(picture(0, 64, 64))[:150],
    "bomb": png_header(60_000, 60_000),
    "large": png_header(10_000, 9_500),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\nshowpage\n",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_an_image_that_cannot_be_read_is_left_out_named_and_counted(tmp_path, capsys, content):
    class_folders(tmp_path, {"a": 10, "b": 10})
    name = damage(tmp_path, content)
    dataset = images.load(tmp_path)
    assert len(dataset.train.labels) + len(dataset.test.labels) == 19
    (skipped,) = dataset.skipped
    assert skipped.startswith(f"{name}: ")
    (warning,) = warnings_in(capsys.readouterr().err)
    assert warning.startswith("warning: 1 of 20 images could not be read")
    assert name in warning
    with pytest.raises(UserError, match=name):
        images.load(tmp_path, strict=True)


def test_many_damaged_images_make_one_line(tmp_path, capsys):
    class_folders(tmp_path, {"a": 30, "b": 30})
    for file in sorted(tmp_path.rglob("*.png"))[::2]:
        file.write_bytes(b"")
    assert len(images.load(tmp_path).skipped) == 30
    (warning,) = warnings_in(capsys.readouterr().err)
    assert "and 25 more" in warning


def test_a_damaged_image_in_parquet_is_named_by_row_and_path(tmp_path):
    parquet(tmp_path / "data" / "test.parquet", [0, 1])
    cells = [{"bytes": encoded(picture(i)), "path": f"{i}.png"} for i in range(9)]
    cells[4]["bytes"] = cells[4]["bytes"][:60]
    cells[6] = {"bytes": None, "path": "elsewhere.png"}
    cells[8] = None
    parquet(tmp_path / "data" / "train.parquet", [0, 1, 0] * 3, img=pa.array(cells, IMAGE))
    dataset = images.load(tmp_path)
    assert [line.split(": ")[0] for line in dataset.skipped] == [
        "data/train.parquet row 4 (4.png)",
        "data/train.parquet row 6 (elsewhere.png)",
        "data/train.parquet row 8",
    ]
    assert dataset.train.labels.tolist() == [0, 1, 0, 0, 0, 1]


def test_of_a_long_thin_image_the_middle_is_kept(tmp_path):
    thin = np.zeros((1, 60_000, 3), np.uint8)
    thin[:, 29_999:30_001] = 255
    assert (stored(tmp_path, encoded(thin), ".png", image_size=64) == 255).all()


# -------------------------------------------------------------------------------------------------------- bad input


def folder_of_mixed_sizes(root: Path) -> None:
    class_folders(root, {"a": 5, "b": 5})
    class_folders(root, {"c": 5}, size=24)


def folder_of_oblongs(root: Path) -> None:
    for name in ("a", "b"):
        (root / name).mkdir()
        for number in range(5):
            Image.fromarray(picture(0, 20, 16)).save(root / name / f"{number}.png")


def folder_of_broken_images(root: Path) -> None:
    class_folders(root, {"a": 5, "b": 5})
    for file in root.rglob("*.png"):
        file.write_bytes(b"")


def text_parquet(root: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), root / "train.parquet")


BAD = {
    "no images": (lambda root: (root / "a").mkdir(), {}, "holds no images; it should hold"),
    "no class folders": (lambda root: (root / "x.png").write_bytes(encoded(picture(0))), {}, "no class folders"),
    "one class": (lambda root: class_folders(root, {"a": 5}), {}, "images of 1 classes"),
    "single images": (lambda root: class_folders(root, {"a": 1, "b": 1}), {}, "too few images to hold out"),
    "mixed sizes": (folder_of_mixed_sizes, {}, "differ in size .* 16x16 .* 24x24 .*--image-size"),
    "oblong": (folder_of_oblongs, {}, "20x16 px, not square; give --image-size"),
    "tiny": (lambda root: class_folders(root, {"a": 5, "b": 5}, size=4), {}, "4x4 px; 8 px is the least"),
    "all broken": (folder_of_broken_images, {}, "none of the training images"),
    "image size": (lambda root: class_folders(root, {"a": 5, "b": 5}), {"image_size": 4}, "4 px is too small"),
    "no limit": (lambda root: class_folders(root, {"a": 5, "b": 5}), {"limit": 0}, "limit of 0"),
    "limit": (lambda root: class_folders(root, {"a": 5, "b": 5, "c": 5}), {"limit": 2}, "2 images .* 3 classes"),
    "memory": (
        lambda root: class_folders(root, {"a": 5, "b": 5}),
        {"image_size": 1_000_000},
        "GiB of memory.*smaller --image-size",
    ),
    "no image column": (text_parquet, {}, "no image column .* its columns are text, label"),
    "no label column": (lambda root: parquet(root / "train.parquet", [0, 1], label=None), {}, "no column of integers"),
    "two label columns": (
        lambda root: parquet(root / "train.parquet", [0, 1], label=None, x=pa.array([0, 1]), y=pa.array([0, 1])),
        {},
        "several columns of integers; .* 'label'",
    ),
    "no labels": (lambda root: parquet(root / "train.parquet", [-1, None, -1]), {}, "of 0 classes"),
    "too large a label": (lambda root: parquet(root / "train.parquet", [0, 5], ["a", "b"]), {}, "label 5.*2 classes"),
    "not Parquet": (lambda root: (root / "train.parquet").write_bytes(b"PAR1"), {}, "cannot be read as Parquet"),
    "no training file": (lambda root: parquet(root / "test.parquet", [0, 1]), {}, "should contain 'train'"),
    "strings and numbers": (
        lambda root: [
            parquet(root / "train.parquet", [0] * 2, label=pa.array(["a", "b"])),
            parquet(root / "test.parquet", [0, 1]),
        ],
        {},
        "'label' holds strings in .*train.parquet, but numbers in .*test.parquet",
    ),
    "another layout": (
        lambda root: [
            parquet(root / "train.parquet", [0, 1]),
            parquet(root / "test.parquet", [0, 1], label=None, y=pa.array([0, 1])),
        ],
        {},
        "test.parquet has no column 'label'",
    ),
}


@pytest.mark.parametrize(("make", "options", "message"), BAD.values(), ids=BAD)
def test_bad_data_gets_one_line_that_says_what_would_be_right(tmp_path, make, options, message):
    make(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        images.load(tmp_path, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar-10", "did you mean cifar10"),
        ("CIFAR100", "did you mean cifar100"),
        ("shape", "did you mean shapes"),
        ("/nowhere/at/all", "no path '/nowhere/at/all'; give a path, or one of shapes, cifar10"),
        ("imagenet", "give a path"),
    ],
)
def test_an_unknown_name_gets_the_nearest_names(name, message):
    with pytest.raises(UserError, match=message):
        images.load(name)


def test_a_file_that_is_no_data_set_is_refused(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="neither a folder nor a Parquet file"):
        images.load(tmp_path / "x.zip")


# ---------------------------------------------------------------------------------------------------------- by name


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and no way to the network: the proxy is a port at which nobody listens."""
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{free.getsockname()[1]}")
            monkeypatch.delenv(name.upper(), raising=False)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        urllib.request.install_opener(None)  # it remembers the proxies of its first use
        yield tmp_path
    urllib.request.install_opener(None)


@pytest.mark.parametrize("name", images.NAMED)
def test_without_network_a_named_data_set_says_what_to_do(cache, name):
    with pytest.raises(UserError, match="could not be downloaded") as error:
        images.load(name)
    assert "\n" not in str(error.value)
    assert str(cache) in str(error.value)
    assert "--dataset PATH" in str(error.value)


def test_a_network_that_never_answers_is_given_up(cache, monkeypatch):
    monkeypatch.setattr(images, "SILENCE", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(UserError, match="timed out"):
            images.load("cifar10")
    assert socket.getdefaulttimeout() is None


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_cifar10_is_read_as_torchvision_stores_it(cache, monkeypatch):
    folder = cache / "cifar-10-batches-py"
    folder.mkdir()
    arrays = [picture(number, 32, 32) for number in range(60)]

    def write(name: str, content: dict) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, md5(folder / name)]

    def batch(name: str, chosen: range) -> list[str]:
        data = np.stack([arrays[i].transpose(2, 0, 1).reshape(-1) for i in chosen])
        return write(name, {"data": data, "labels": [i % 10 for i in chosen]})

    constructor = torchvision.datasets.CIFAR10
    train = [batch(f"data_batch_{n + 1}", range(n * 10, n * 10 + 10)) for n in range(5)]
    names = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(constructor, "train_list", train)
    monkeypatch.setattr(constructor, "test_list", [batch("test_batch", range(50, 60))])
    monkeypatch.setattr(constructor, "meta", {"filename": names[0], "key": "label_names", "md5": names[1]})
    dataset = images.load("cifar10")
    assert (dataset.name, dataset.note, dataset.classes) == ("cifar10", "CIFAR-10", tuple("abcdefghij"))
    assert torch.equal(dataset.train.pixels, stacked(arrays[:50]))
    assert torch.equal(dataset.test.pixels, stacked(arrays[50:]))
    assert dataset.train.labels.tolist() == [i % 10 for i in range(50)]
    assert dataset.train.pixels.is_contiguous()

    small = images.load("cifar10", image_size=16, limit=20)
    assert small.train.pixels.shape == (20, 3, 16, 16)
    assert small.train.labels.bincount().tolist() == [2] * 10
    assert small.note == "CIFAR-10; 20 of 50 training images; resized to 16 px"

    (folder / "test_batch").write_bytes(b"damaged")
    with pytest.raises(UserError, match="could not be downloaded"):
        images.load("cifar10")


def test_stl10_unlabelled_images_join_the_training_images_as_minus_one(cache, monkeypatch):
    folder = cache / "stl10_binary"
    folder.mkdir()
    arrays = [picture(number, 96, 96) for number in range(12)]
    for name, chosen in (("train", range(4)), ("unlabeled", range(4, 9)), ("test", range(9, 12))):
        # STL-10 stores columns first, and labels from 1.
        np.stack([arrays[i].transpose(2, 1, 0) for i in chosen]).tofile(folder / f"{name}_X.bin")
        (np.array([i % 2 for i in chosen], np.uint8) + 1).tofile(folder / f"{name}_y.bin")
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    constructor = torchvision.datasets.STL10
    files = {part: [f"{part}.bin", md5(folder / f"{part}.bin")] for part in ("train_X", "train_y", "unlabeled_X")}
    test = {part: [f"{part}.bin", md5(folder / f"{part}.bin")] for part in ("test_X", "test_y")}
    monkeypatch.setattr(constructor, "train_list", list(files.values()))
    monkeypatch.setattr(constructor, "test_list", list(test.values()))
    dataset = images.load("stl10")
    assert dataset.classes == ("airplane", "bird")
    assert dataset.train.labels.tolist() == [0, 1, 0, 1, -1, -1, -1, -1, -1]
    assert dataset.test.labels.tolist() == [1, 0, 1]
    assert torch.equal(dataset.train.pixels, stacked(arrays[:9]))


def test_fashionmnist_gets_three_channels(cache):
    folder = cache / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    arrays = np.stack([picture(number, 28, 28)[:, :, 0] for number in range(30)])
    for name, chosen in (("train", slice(20)), ("t10k", slice(20, 30))):
        pixels, labels = arrays[chosen], np.arange(30, dtype=np.uint8)[chosen] % 10
        header = struct.pack(">IIII", 0x803, len(pixels), 28, 28)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, len(labels)) + labels.tobytes())
    dataset = images.load("fashionmnist")
    assert dataset.classes[0] == "T-shirt/top"
    assert torch.equal(dataset.train.pixels, torch.from_numpy(arrays[:20])[:, None].repeat(1, 3, 1, 1))
    assert dataset.test.labels.tolist() == list(range(10))


def test_svhn_digits_are_read_upright(cache, monkeypatch):
    savemat = pytest.importorskip("scipy.io").savemat
    arrays = np.stack([picture(number, 32, 32) for number in range(15)])
    splits = {}
    for name, chosen in (("train", slice(10)), ("test", slice(10, 15))):
        labels = np.arange(15)[chosen] % 10
        file = cache / f"{name}_32x32.mat"
        savemat(file, {"X": arrays[chosen].transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
        splits[name] = ["http://localhost", file.name, md5(file)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)
    dataset = images.load("svhn")
    assert torch.equal(dataset.train.pixels, stacked(list(arrays[:10])))
    assert dataset.train.labels.tolist() == list(range(10))
    assert dataset.classes == tuple("0123456789")


# ----------------------------------------------------------------------------------------------------- the splits

LABELS = st.lists(st.integers(-1, 6), min_size=1, max_size=300)


@given(LABELS, st.floats(0.02, 0.5))
@example([0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 0.5)  # what four single images cannot give is taken from the fifth class
def test_a_validation_split_is_stratified_and_holds_no_unlabelled_image(labels, fraction):
    labels = torch.tensor(labels)
    train, validation = images.validation_split(labels, fraction)
    assert sorted(train.tolist() + validation.tolist()) == list(range(len(labels)))
    assert (train.diff() > 0).all()
    assert (validation.diff() > 0).all()
    assert (labels[validation] >= 0).all()
    counts = labels[labels >= 0].bincount()
    counts = counts[counts > 0]
    # A class gives at least one image if it has two, and keeps one: others make up for what this adds or takes.
    least, most, share = (counts - 1).clamp(max=1), counts - 1, fraction * counts
    forced = float((least - share).clamp(min=0).sum() + (share - most).clamp(min=0).sum())
    for label in set(labels.tolist()) - {-1}:
        count, held = int((labels == label).sum()), int((labels[validation] == label).sum())
        assert min(1, count - 1) <= held <= count - 1
        assert abs(held - fraction * count) < 2 + forced


@given(LABELS, st.integers(0, 2**31))
def test_a_validation_split_depends_on_the_labels_alone(labels, seed):
    labels = torch.tensor(labels)
    before = images.validation_split(labels)
    torch.manual_seed(seed)
    np.random.seed(seed)
    after = images.validation_split(labels.clone())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_validation_split_of_cifar10_sizes_is_pinned():
    labels = torch.arange(50_000) % 10
    train, validation = images.validation_split(labels)
    assert labels[validation].bincount().tolist() == [500] * 10
    assert len(train) == 45_000
    digest = hashlib.sha256(validation.numpy().astype("<i8")).hexdigest()
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


# --------------------------------------------------------------------------------------------- the decoded data set


def test_a_fingerprint_is_that_of_pixels_and_labels_wherever_they_lie(tmp_path):
    class_folders(tmp_path / "one", {"a": 10, "b": 10})
    class_folders(tmp_path / "two", {"a": 10, "b": 10})
    first, second = images.load(tmp_path / "one"), images.load(tmp_path / "two")
    assert first.fingerprint == second.fingerprint
    assert len(bytes.fromhex(first.fingerprint)) == 32

    array = np.asarray(Image.open(tmp_path / "two" / "a" / "0003.png")).copy()
    array[5, 5, 1] ^= 1
    Image.fromarray(array).save(tmp_path / "two" / "a" / "0003.png")
    assert images.load(tmp_path / "two").fingerprint != first.fingerprint

    (tmp_path / "one" / "c").mkdir()
    (tmp_path / "one" / "b" / "0009.png").rename(tmp_path / "one" / "c" / "0000.png")
    assert images.load(tmp_path / "one").fingerprint != first.fingerprint


def test_a_saved_data_set_is_opened_as_it_was_with_its_validation_split_last(tmp_path):
    class_folders(tmp_path / "data", {"a": 10, "b": 10})
    damage(tmp_path / "data", b"")
    dataset = images.load(tmp_path / "data")
    images.save(dataset, tmp_path / "saved")
    opened = images.open_saved(tmp_path / "saved")
    kept, held = images.validation_split(dataset.train.labels)
    order = torch.cat([kept, held])
    assert opened.validation == len(held) > 0
    for mine, its, places in ((dataset.train, opened.train, order), (dataset.test, opened.test, slice(None))):
        assert torch.equal(mine.pixels[places], its.pixels)
        assert torch.equal(mine.labels[places], its.labels)
    for field in ("name", "classes", "fingerprint", "note", "skipped"):
        assert getattr(opened, field) == getattr(dataset, field)
    assert [file.name for file in (tmp_path / "saved").iterdir()] == [images.SAVED]


def test_an_opened_data_set_is_mapped_from_its_file(tmp_path):
    images.save(images.load("shapes"), tmp_path)
    opened = images.open_saved(tmp_path)
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    assert str(tmp_path / images.SAVED) in mapped
    assert len(opened.train.labels) == 1000


def test_a_saved_data_set_is_written_again_only_where_it_differs(tmp_path):
    shapes = images.load("shapes")
    images.save(shapes, tmp_path)
    written = (tmp_path / images.SAVED).stat()
    images.save(shapes, tmp_path)
    assert (tmp_path / images.SAVED).stat().st_ino == written.st_ino
    fewer = images.load("shapes", limit=80)
    images.save(fewer, tmp_path)
    assert images.open_saved(tmp_path).fingerprint == fewer.fingerprint


def test_a_saved_data_set_that_is_missing_or_damaged_is_refused_and_replaced(tmp_path):
    with pytest.raises(UserError, match="no saved data set"):
        images.open_saved(tmp_path)
    shapes = images.load("shapes", limit=80)
    images.save(shapes, tmp_path)
    content = (tmp_path / images.SAVED).read_bytes()
    (tmp_path / images.SAVED).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="no saved data set"):
        images.open_saved(tmp_path)
    images.save(shapes, tmp_path)
    assert images.open_saved(tmp_path).fingerprint == shapes.fingerprint


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        images.save(images.load("shapes", limit=80), tmp_path / "file" / "below")
