"""An encoder as a graph of PyTorch's (`torch.export`), with its normalisation inside, that needs no code of its own."""

import copy
import warnings
from collections.abc import Callable
from typing import BinaryIO, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from algorithms.images.statistics import Statistics
from bench.errors import one_line


class Preprocessed(nn.Module):
    """An encoder of images float32 [B, C, S, S] of values 0 .. 1, which it normalises: features [B, width]."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, statistics: Statistics) -> None:
        super().__init__()
        self.encoder = encoder
        for name, values in statistics._asdict().items():
            self.register_buffer(name, torch.tensor(values)[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.encoder((images - self.mean) / self.std)
        return features


def preprocessed(encoder: nn.Module, statistics: Statistics) -> Preprocessed:
    """Of a copy on the CPU, as contiguous tensors."""
    own = copy.deepcopy(encoder).cpu().float().to(memory_format=torch.contiguous_format)
    return Preprocessed(own, statistics)


def program(encoder: nn.Module, statistics: Statistics, image_size: int) -> ExportedProgram:
    """The encoder as a graph, for any number of images of `image_size` px (`Preprocessed`). Raises ValueError where its
    code depends on what a graph does not know."""
    try:
        whole = preprocessed(encoder, statistics)
        images = torch.zeros(2, statistics.channels, image_size, image_size)  # of one image it would be for one alone
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            return torch.export.export(whole, (images,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # whatever a user's network makes of it
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"PyTorch cannot export it as a graph ({one_line(why)[:200]}).") from error


def writer(made: ExportedProgram) -> Callable[[BinaryIO], None]:
    """What writes the program, for `torch.export.load`, into an open file."""
    return lambda file: torch.export.save(made, cast("torch.types.FileLike", file))
