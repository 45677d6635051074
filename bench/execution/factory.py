"""What workers make trainers with: named on the command line's side, made in each process."""

import contextlib
import gc
import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from algorithms.training.report import EpochReport
from bench.search.job import Job


class Trainer(Protocol):
    """An iterator of epoch reports that can be stopped at any of them, saved and resumed.

    It may have `facts` (plain values that are the same in every epoch, for the record), `notice` (what the user should
    know although the training goes on) and `files` (contents by their paths in the run's folder, to be kept there).
    """

    def __iter__(self) -> Iterator[EpochReport]: ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values: `torch.load(weights_only=True)` reads them. Empty where it begins
        anew at once: then there are no checkpoints."""

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

    def evaluate(self, job: Job, encoder: Mapping[str, Any]) -> Trainer:
        """Of a job with a protocol: what has one epoch, the figures of the encoder, which `encoder_state` gave."""

    def encoder_state(self, trainer: Trainer) -> Mapping[str, Any] | None:
        """What is kept of a training's encoder when it has ended; None where there is nothing."""

    def calibrate(self, job: Job) -> Calibration: ...

    def judging_seconds(self, job: Job, protocols: Iterable[str]) -> Mapping[str, float]:
        """What judging the job's encoder takes on one slot, by those of the protocols that judge it. Asked where a run
        has protocols."""

    def effective(self, job: Job) -> Mapping[str, Any]:
        """The hyper-parameters with which the job is trained: choices in which they do not differ are searched as
        one."""


def make(name: str, settings: Mapping[str, Any]) -> Factory:
    """The factory "module:Class" with these settings."""
    module, _, attribute = name.partition(":")
    made: Factory = getattr(importlib.import_module(module), attribute).from_json(settings)
    return made


class Trainers:
    """The run's factory in this process: `name` is "module:Class", `settings` as JSON holds them."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self._name, self._settings = name, settings
        self._factory: Factory | None = None

    def prepare(self) -> None:
        """What a worker does before its first trial: imports, and what the factory prepares.

        An error here is left to the first trial, which meets it again and tells it.
        """
        with contextlib.suppress(Exception):
            self.factory.prepare()
        gc.collect()
        gc.freeze()  # what is there now stays: the collections between trials need not look at it again

    @property
    def factory(self) -> Factory:
        if self._factory is None:
            self._factory = make(self._name, self._settings)
        return self._factory
