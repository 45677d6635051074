"""Images by name: the data sets that torchvision downloads and verifies."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
import torchvision

from bench.data.dataset import Split
from bench.data.source import PixelSource
from bench.errors import UserError, one_line
from bench.files import expanded

SILENCE = 30
"""Seconds after which a download that brings nothing is given up."""


@dataclass(frozen=True)
class Named:
    """A data set that torchvision downloads and verifies."""

    constructor: str
    title: str
    files: str
    """What to put into the cache by hand where there is no network."""
    train_split: str | None = None
    """What its constructor calls the training images, where it takes a `split` instead of `train`."""

    def open(self, cache: Path, train: bool) -> Any:
        """The `torchvision.datasets.VisionDataset` of one split; torchvision has no types."""
        which = {"split": self.train_split if train else "test"} if self.train_split else {"train": train}
        return getattr(torchvision.datasets, self.constructor)(cache, download=True, **which)


NAMED = {
    "cifar10": Named("CIFAR10", "CIFAR-10", "cifar-10-python.tar.gz"),
    "cifar100": Named("CIFAR100", "CIFAR-100", "cifar-100-python.tar.gz"),
    "stl10": Named("STL10", "STL-10", "stl10_binary.tar.gz", "train+unlabeled"),
    "svhn": Named("SVHN", "SVHN", "train_32x32.mat and test_32x32.mat", "train"),
    "fashionmnist": Named("FashionMNIST", "Fashion-MNIST", "FashionMNIST/raw/*-ubyte.gz (four files)"),
}


def cache_folder() -> Path:
    """Where downloads are kept: $SSL_BENCH_CACHE, else ~/.cache/ssl-bench. A torchvision root can serve as well."""
    return expanded(os.environ.get("SSL_BENCH_CACHE") or "~/.cache/ssl-bench", "set SSL_BENCH_CACHE to another folder")


def download(name: str) -> PixelSource:
    """The images of one of `NAMED`, which are downloaded once into `cache_folder()`.

    Raises UserError where they cannot be, or are not what they should be.
    """
    named, cache = NAMED[name], cache_folder()
    timeout = socket.getdefaulttimeout()
    # torchvision sets none: a network that swallows packets would hang it for ever.
    socket.setdefaulttimeout(SILENCE)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        train, test = named.open(cache, True), named.open(cache, False)
    except ModuleNotFoundError as error:
        raise UserError(f"{name} needs the package {error.name}; install it with pip") from None
    except Exception as error:  # of the network, the archive, the checksum or the disk
        why = one_line(error.reason if isinstance(error, URLError) else error)
        raise UserError(
            f"{named.title} could not be downloaded ({why}); put {named.files} into {cache}, or name a "
            f"folder of images instead (--dataset {f'./{name}' if Path(name).exists() else 'PATH'})"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
    classes = tuple(getattr(train, "classes", None) or (str(digit) for digit in range(10)))
    return PixelSource(named.title, _split(train), _split(test), classes)


def _split(images: Any) -> Split:
    """The pixels and labels that a torchvision data set holds, in one layout."""
    pixels = torch.as_tensor(images.data)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[1] != 3:
        pixels = pixels.permute(0, 3, 1, 2)
    labels = images.targets if hasattr(images, "targets") else images.labels
    return Split.of(pixels, torch.as_tensor(np.asarray(labels, dtype=np.int64)))
