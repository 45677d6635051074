"""Checkpoints: whole or not there, read without running code, and written so seldom that they cost little. PyTorch
comes with the first of them."""

import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.files import write_atomically

PART = 0.02
"""Checkpoints take at most about this part of a training's time."""


class Checkpoint:
    """A training's checkpoint at `path`, which is written anew now and then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved, self._took = time.monotonic(), 0.0

    def write_if_due(self, content: Callable[[], dict[str, Any]]) -> None:
        """Raises OSError; then the former checkpoint stands."""
        began = time.monotonic()
        if began - self._saved >= self._took / PART:
            write(self.path, content())
            self._saved = time.monotonic()
            self._took = self._saved - began


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values. Raises OSError."""
    import torch

    write_atomically(path, lambda file: torch.save(content, file))


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote, its tensors on the CPU. Raises UserError if the file is damaged, OSError if there is none."""
    import torch

    damage = (RuntimeError, OSError, ValueError, TypeError, LookupError, EOFError, pickle.UnpicklingError)
    with open(path, "rb") as file:
        try:
            content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except damage as error:  # OSError where a table of contents points before the file's beginning
            raise damaged(path) from error
    return content


def damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged; remove it, or begin anew with --fresh")
