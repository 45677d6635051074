"""Images that a user's own function gives."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from bench.data import door, images
from bench.errors import UserError
from tests.bench.data.builders import picture, remark, stacked

WRITTEN = """
import numpy as np
import torch

def split(count, seed, size=16):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    return pixels, np.arange(count) % 2

train, labels = split(40, 0)
test, test_labels = split(10, 1)
names = ["ant", "bee"]

def birds():
    return train, labels, test, test_labels, names
"""


def written(folder: Path, extra: str = "") -> str:
    """A file of a user's with the function `birds` and what is in `extra`."""
    (folder / "sets.py").write_text(WRITTEN + extra)
    return str(folder / "sets.py")


def training_pixels() -> torch.Tensor:
    """The training images of `written`."""
    scope = {}
    exec(WRITTEN, scope)
    return torch.from_numpy(scope["train"])


def test_a_function_in_a_file_gives_a_data_set(tmp_path):
    dataset = images.load(f"{written(tmp_path)}:birds")
    assert (dataset.name, dataset.note, dataset.skipped) == ("sets.py:birds", "sets.py:birds", ())
    assert dataset.classes == ("ant", "bee")
    assert torch.equal(dataset.train.pixels, training_pixels())
    assert dataset.train.labels.tolist() == [0, 1] * 20
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.test.pixels.shape == (10, 3, 16, 16)
    assert remark(dataset, "test images") == "only 10 test images: each is worth 10.0 points of accuracy"


def test_a_function_in_a_module_gives_the_same_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine_of_a_door").mkdir()
    written(tmp_path / "mine_of_a_door")
    dataset = images.load("mine_of_a_door.sets:birds")
    assert dataset.name == "mine_of_a_door.sets:birds"
    assert dataset.fingerprint == images.load(f"{tmp_path / 'mine_of_a_door' / 'sets.py'}:birds").fingerprint
    del sys.modules["mine_of_a_door.sets"]


def test_its_images_are_copied_resized_limited_and_known_by_their_fingerprint(tmp_path):
    birds = f"{written(tmp_path)}:birds"
    whole, small = images.load(birds), images.load(birds, image_size=8, limit=20)
    assert small.train.pixels.shape == (20, 3, 8, 8)
    assert small.test.pixels.shape == (5, 3, 8, 8)
    assert small.note == "sets.py:birds; 20 of 40 training images; resized to 8 px"
    whole.train.pixels.zero_()
    whole.train.labels.zero_()
    assert torch.equal(images.load(birds).train.pixels, training_pixels())
    assert images.load(birds).fingerprint == whole.fingerprint != small.fingerprint


def test_tensors_views_and_unlabelled_training_images_are_taken(tmp_path):
    extra = """
def tensors():
    channels_last = torch.from_numpy(train.copy()).permute(0, 2, 3, 1).contiguous()
    some = torch.where(torch.arange(40) < 30, torch.from_numpy(labels), -1).to(torch.int32)
    pixels = channels_last.permute(0, 3, 1, 2)
    return pixels, some, torch.from_numpy(test), test_labels.astype(np.uint64), ("ant", "bee")
"""
    dataset = images.load(f"{written(tmp_path, extra)}:tensors")
    assert torch.equal(dataset.train.pixels, training_pixels())
    assert dataset.train.packed.is_contiguous()
    assert dataset.train.labels.tolist() == [0, 1] * 15 + [-1] * 10
    assert dataset.test.labels.tolist() == [0, 1] * 5


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize(
    "rest",
    [
        "None, test, None, None",
        "None, test, None, names",
        "np.full(40, -1), test, np.full(10, -1), []",
        "None, test, test_labels, names",
    ],
)
def test_images_of_any_channels_may_have_no_labels(tmp_path, channels, rest):
    extra = f"""
def unlabelled():
    return train, {rest}
train, test = (np.tile(pixels, (1, 6, 1, 1))[:, :{channels}] for pixels in (train, test))
"""
    source = door.open(f"{written(tmp_path, extra)}:unlabelled")
    assert torch.equal(source.train.pixels, training_pixels().tile(1, 6, 1, 1)[:, :channels])
    assert source.classes == ()
    assert source.train.labels.tolist() == [-1] * 40
    assert source.test.labels.tolist() == [-1] * 10


def test_test_images_may_have_no_label(tmp_path):
    extra = """
def some():
    return train, labels, test, np.where(np.arange(10) < 4, test_labels, -1), names
"""
    source = door.open(f"{written(tmp_path, extra)}:some")
    assert source.test.labels.tolist() == [0, 1, 0, 1] + [-1] * 6
    assert source.classes == ("ant", "bee")


def test_a_path_comes_before_a_door(tmp_path):
    for split in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / "sets.py:birds" / split / name
            folder.mkdir(parents=True)
            Image.fromarray(picture(3)).save(folder / "0.png")
    dataset = images.load(tmp_path / "sets.py:birds")
    assert torch.equal(dataset.train.pixels, stacked([picture(3)] * 2))


GIVES = "returns \\(training images, training labels, test images, test labels, class names\\)"
BAD = {
    "a float": ("return train / 255, labels, test, test_labels, names", "training images .* float64; uint8"),
    "half": (
        "return torch.zeros(40, 3, 16, 16, dtype=torch.bfloat16), labels, test, test_labels, names",
        "training images .* are no array .*BFloat16",
    ),
    "channels last": (
        "return train.transpose(0, 2, 3, 1), labels, test, test_labels, names",
        r"training images .* \[40, 16, 16, 3\]; \[N, C, S, S\] is right",
    ),
    "one image": ("return train, labels, test[0], test_labels[:1], names", r"test images .* \[3, 16, 16\]; \[N, C"),
    "no image": ("return train, labels, test[:0], test_labels[:0], names", r"test images .* \[0, 3, 16, 16\]; \[N, C"),
    "oblong": ("return train[..., :8], labels, test, test_labels, names", r"\[40, 3, 16, 8\]; .* square"),
    "tiny": ("return train[..., :4, :4], labels, test, test_labels, names", "training .* 4 px; 8 px is the least"),
    "two sizes": ("return train, labels, test[..., :8, :8], test_labels, names", "16 px and 8 px; they must be of one"),
    "ragged": ("return [[1], [2, 3]], labels, test, test_labels, names", "training images .* are no array"),
    "float labels": ("return train, labels / 1, test, test_labels, names", "training labels .* float64; integers"),
    "texts": ("return train, ['ant'] * 40, test, test_labels, names", "training labels .* integers are right"),
    "one label too many": ("return train[:-1], labels, test, test_labels, names", r"\[40\]; one for each of 39 images"),
    "one hot": ("return train, np.eye(2, dtype=int)[labels], test, test_labels, names", r"\[40, 2\]; one for each"),
    "a large label": ("return train, labels + 1, test, test_labels, names", "from 1 to 2; -1 to 1 is right"),
    "a huge label": (
        "return train, labels.astype(np.uint64) + 2**63, test, test_labels, names",
        "from 9223372036854775808 to 9223372036854775809; -1 to 1 is right",
    ),
    "seventeen channels": (
        "return np.repeat(train, 6, 1)[:, :17], labels, test, test_labels, names",
        r"training images .* \[40, 17, 16, 16\]; .* 1 to 16 channels",
    ),
    "two numbers of channels": ("return train[:, :1], labels, test, test_labels, names", "have 1 and 3 channels"),
    "labels without names": ("return train, labels, test, test_labels, None", "from 0 to 1; -1 to -1 is right"),
    "one name": ("return train, labels, test, test_labels, 'ant'", "class names .* type str; a list of strings"),
    "a number of names": ("return train, labels, test, test_labels, 2", "class names .* type int; a list of strings"),
    "four things": ("return train, labels, test, test_labels", f"returns a tuple, 4 of them; .*{GIVES}"),
    "nothing": ("pass", f"returns a NoneType; .*{GIVES}"),
    "an exit": ("raise SystemExit(3)", f"cannot be made \\(SystemExit: 3\\); .*{GIVES}"),
    "an error": ("raise KeyError('no such\\nfile')", f"cannot be made \\(KeyError: .*no such.*{GIVES}"),
}


@pytest.mark.parametrize(("body", "message"), BAD.values(), ids=BAD)
def test_what_a_function_gives_wrongly_is_told_on_one_line(tmp_path, body, message):
    path = written(tmp_path, f"\ndef wrong():\n    {body}\n")
    with pytest.raises(UserError, match=message) as error:
        images.load(f"{path}:wrong")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("door", "message"),
    [
        ("sets.py:owls", "there is no data set .*owls'; give a path, or package.module:function or"),
        ("none.py:birds", "there is no data set .*none.py"),
        ("no_such_package_of_ours.sets:birds", "there is no data set 'no_such_package_of_ours.sets:birds'"),
        ("sets.py:names", f"is of type list; .*{GIVES}"),
        ("broken.py:birds", "cannot be imported .*SyntaxError.*"),
    ],
)
def test_a_door_that_leads_nowhere_is_refused_on_one_line(tmp_path, monkeypatch, door, message):
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    (tmp_path / "broken.py").write_text("def birds(:\n")
    with pytest.raises(UserError, match=message) as error:
        images.load(door)
    assert "\n" not in str(error.value)


def test_an_option_that_does_not_fit_is_refused_as_for_any_data_set(tmp_path):
    door = f"{written(tmp_path)}:birds"
    with pytest.raises(UserError, match="limit of 1 images is less than one of each of 2 classes"):
        images.load(door, limit=1)
