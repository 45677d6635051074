"""A network whose weights come from elsewhere, as a run keeps it: plain values, for the processes that train. Needs no
PyTorch; `bench.execution.sources` finds and makes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from algorithms.encoders import is_library
from bench import doors
from bench.files import slug


def is_own(network: str) -> bool:
    """Whether the name of a network is a door to the user's own, not one of ours or of a library."""
    return doors.is_door(network) and not is_library(network)


@dataclass(frozen=True)
class Pretrained:
    """A network whose weights are kept in a file of the run."""

    name: str
    """What tables call it."""
    network: str
    """The name of an encoder, or the door to what makes it."""
    file: str
    """Its state dict."""
    hash: str
    """Of the weights."""
    width: int
    """Its features."""
    image_size: int
    """At which it sees images, px."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """By which it wants them normalised."""
    trained_on: str | None
    """In words; None where nothing says it."""
    method: str | None = None
    """The name of the method that brings an encoder of its own in place of the network."""

    @property
    def identity(self) -> str:
        return f"{self.name}, {self.hash}"

    @property
    def key(self) -> str:
        """What tells it from all others, in letters, digits and hyphens."""
        return f"{slug(self.name)[:40]}-{self.image_size}px-{self.hash[:8]}"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
