"""What workers make trainers with: named on the command line's side, made in each process."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from algorithms.training.report import EpochReport
from bench.search.job import Job


class Trainer(Protocol):
    """An iterator of epoch reports that can be stopped at any of them, saved and resumed.

    It may have `facts` (plain values that are the same in every epoch, for the record) and `notice` (what the user
    should know although the training goes on).
    """

    def __iter__(self) -> Iterator[EpochReport]: ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values: `torch.load(weights_only=True)` reads them."""

    def load_state_dict(self, state: Any) -> None: ...


@dataclass(frozen=True)
class Calibration:
    """What a job takes: seconds of an epoch and of an evaluation on one slot, and bytes of the device (0 on a CPU)."""

    epoch: float
    evaluation: float
    memory: int = 0
    """At the most that PyTorch held."""
    device_memory: int = 0
    """All that the device has."""


class Factory(Protocol):
    """Makes the trainers of a run. Each process makes one of its own, from the settings as JSON holds them."""

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Self: ...

    def prepare(self) -> None:
        """What a process does once, before its first job."""

    def build(self, job: Job) -> Trainer: ...

    def calibrate(self, job: Job) -> Calibration: ...

    def effective(self, job: Job) -> Mapping[str, Any]:
        """The hyper-parameters with which the job is trained: choices in which they do not differ are searched as
        one."""


def make(name: str, settings: Mapping[str, Any]) -> Factory:
    """The factory "module:Class" with these settings."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute).from_json(settings)
