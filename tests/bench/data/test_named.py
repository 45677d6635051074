"""Data sets that torchvision downloads."""

import hashlib
import pickle
import socket
import struct
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from bench.data import images, named
from bench.errors import UserError
from tests.bench.data.builders import picture, stacked


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


@pytest.mark.parametrize("name", named.NAMED)
def test_without_network_a_named_data_set_says_what_to_do(cache, name):
    with pytest.raises(UserError, match="could not be downloaded") as error:
        images.load(name)
    assert "\n" not in str(error.value)
    assert str(cache) in str(error.value)
    assert "--dataset PATH" in str(error.value)


def test_a_network_that_never_answers_is_given_up(cache, monkeypatch):
    monkeypatch.setattr(named, "SILENCE", 0.3)
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
    assert dataset.train.packed.is_contiguous()

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


def test_fashionmnist_has_one_channel(cache):
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
    assert torch.equal(dataset.train.pixels, torch.from_numpy(arrays[:20])[:, None])
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
