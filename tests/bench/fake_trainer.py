"""Trainers for tests of the harness: curves without a network (`Fake`), and a real small network (`Tiny`).

A fake trial's hyper-parameters: `quality` (its accuracy goes towards it), `learning_rate` (best at 0.1), and `fault`,
which names what goes wrong: at the third epoch, but for "batch", with which memory is out before the first, unless the
trial is halved. Memory holds a `batch_size` of at most `settings["holds"]`. `settings["seconds"]` is how long an epoch
takes, `settings["start"]` what goes before the first, `settings["stateless"]` that there are no checkpoints, so that
the worker needs no PyTorch, `settings["trace"]` a file to which every life sign is appended: {"uid", "pid", "epoch",
"now": monotonic seconds, "niceness"}.
"""

import dataclasses
import itertools
import json
import math
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from algorithms.training.report import EpochReport
from bench.execution.factory import Calibration
from bench.search.job import CHOOSING, Job

FAULT_EPOCH = 3
SIGN = 0.05
"""Seconds between the life signs of a trial."""


def accuracy(hyperparameters: Mapping[str, Any], seed: int, epoch: int, epochs: int) -> float:
    """A learning curve: better with `quality`, best at learning rate 0.1, a little luck by seed."""
    distance = math.log10(hyperparameters.get("learning_rate", 0.1)) + 1
    top = hyperparameters.get("quality", 0.5) * math.exp(-(distance**2)) + 0.01 * math.sin(seed)
    return round(max(0.0, top) * (1 - math.exp(-3 * epoch / epochs)), 6)


def allocate(job: Job, settings: Mapping[str, Any]) -> None:
    """Raises where memory does not hold a batch of the job."""
    asked, halved = job.hyperparameters, job.halved
    too_large = asked.get("batch_size", 0) // (2 if halved else 1) > settings.get("holds", math.inf)
    if too_large or (asked.get("fault") == "batch" and not halved):
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB.")


class FakeTrainer:
    def __init__(self, job: Job, settings: Mapping[str, Any]) -> None:
        self.job, self.settings, self.epoch = job, settings, 0
        # Not imported: a calibration would take it for a start's time.
        worker = sys.modules.get("bench.execution.attempt")
        self.begins = worker and worker.current and worker.current.began  # on a busy machine long before now
        time.sleep(settings.get("start", 0.0))
        self.facts = {"encoder_parameters": 1000, "own_encoder": False, "device": "cpu"}

    def state_dict(self) -> dict[str, Any]:
        return {} if self.settings.get("stateless") else {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]

    def __iter__(self) -> "FakeTrainer":
        return self

    def __next__(self) -> EpochReport:
        if self.epoch >= self.job.epochs:
            raise StopIteration
        if self.begins:
            self._trace(self.begins)
            self.begins = None
        allocate(self.job, self.settings)
        self._sleep(self.settings.get("seconds", 0.1))
        self.epoch += 1
        loss, spread = 1.0 / self.epoch, 0.9
        if self.epoch == FAULT_EPOCH:
            loss, spread = self._fault(self.job.hyperparameters.get("fault"), loss, spread)
        evaluated = self.epoch in self.job.evaluate_at
        knn = accuracy(self.job.hyperparameters, self.job.seed, self.epoch, self.job.epochs)
        names = ("knn_200", "knn_20", *(() if self.job.stage in CHOOSING else ("purity_20",)))
        metrics = dict.fromkeys(names, knn) if evaluated else {}
        metrics |= {"feature_std": spread} if evaluated or spread < 0.5 else {}
        return EpochReport(
            self.epoch, loss, metrics, seconds=self.settings.get("seconds", 0.1), images_per_second=1000.0
        )

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            self._trace(now)
            time.sleep(min(SIGN, end - now))
        self._trace(time.monotonic())

    def _trace(self, now: float) -> None:
        if path := self.settings.get("trace"):
            entry = {"uid": self.job.uid, "pid": os.getpid(), "epoch": self.epoch, "now": now}
            entry["niceness"] = os.nice(0)
            with open(path, "a") as file:
                file.write(json.dumps(entry) + "\n")

    def _fault(self, fault: str | None, loss: float, spread: float) -> tuple[float, float]:
        once = fault and self.settings.get("once")  # a folder: each trial has its fault once
        if once:
            try:
                os.close(os.open(os.path.join(once, self.job.uid), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return loss, spread
        if fault == "nan":
            return math.nan, spread
        if fault == "infinity":
            return math.inf, spread
        if fault == "collapse":
            return loss, 0.001
        if fault == "exception":
            raise ValueError("three is too many")
        if fault == "untellable":
            return 1j, spread
        if fault == "memory":
            raise MemoryError("out of memory: tried to allocate 1 TiB")
        if fault == "hang":
            self._sleep(1e6)
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return loss, spread


class BrokenTrainer(FakeTrainer):
    def __next__(self) -> EpochReport:
        raise RecursionError("too deep")


class TinyTrainer:
    """A small network that learns made-up numbers, with momentum and dropout. `leaves` names what it leaves behind
    in the process when it ends."""

    def __init__(self, job: Job, settings: Mapping[str, Any]) -> None:
        import torch

        self.torch, self.job, self.epoch = torch, job, 0
        self.network = torch.nn.Sequential(
            torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(32, 4)
        )
        rate = job.hyperparameters.get("learning_rate", 0.1)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=rate, momentum=0.9)
        self.ballast = torch.zeros(settings.get("ballast", 0), dtype=torch.uint8)

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.torch.get_rng_state(),
            "ballast": self.ballast,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.torch.set_rng_state(state["random"])

    def __iter__(self) -> "TinyTrainer":
        return self

    def __next__(self) -> EpochReport:
        if self.epoch >= self.job.epochs:
            raise StopIteration
        began = time.monotonic()
        for _ in range(5):
            images = self.torch.randn(64, 16)
            loss = self.torch.nn.functional.cross_entropy(self.network(images), (images[:, 0] > 0).long())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.epoch += 1
        self._leave_behind(self.job.hyperparameters.get("leaves"))
        knn = 1 / (1 + loss.item())
        took = time.monotonic() - began
        metrics = dict.fromkeys(("knn_200", "knn_20", "purity_20"), knn) | {"feature_std": 0.9}
        return EpochReport(self.epoch, loss.item(), metrics, seconds=took, images_per_second=320 / took)

    def _leave_behind(self, what: str | None) -> None:
        torch = self.torch
        if what == "dtype":
            torch.set_default_dtype(torch.float64)
        if what == "random":
            torch.manual_seed(time.time_ns())
        if what == "backends":
            torch.set_num_threads(torch.get_num_threads() + 1)
            torch.set_float32_matmul_precision("medium")
            torch.backends.cudnn.benchmark = True
            torch.set_grad_enabled(self.epoch < 3)


@dataclass(frozen=True)
class Settings:
    """What a factory gets; `values` identify the run, `local` do not."""

    values: Mapping[str, Any] = field(default_factory=dict)
    local: Mapping[str, Any] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        return dict(self.values)

    def to_json(self) -> dict[str, Any]:
        return {**self.values, **self.local}


class Fake:
    """The factory of `FakeTrainer`s. If `settings["uneven"]` names a folder, every process leaves a file there, and
    those after the calibration and the first worker take three seconds more to start."""

    trainer: type = FakeTrainer

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> "Fake":
        return cls(settings)

    def prepare(self) -> None:
        if folder := self.settings.get("uneven"):
            for number in itertools.count():
                try:
                    os.close(os.open(os.path.join(folder, f"process-{number}"), os.O_CREAT | os.O_EXCL))
                    break
                except FileExistsError:
                    continue
            time.sleep(3 if number >= 2 else 0)

    def build(self, job: Job) -> Any:
        return self.trainer(job, self.settings)

    def evaluate(self, job: Job, encoder: Mapping[str, Any]) -> Any:
        return self.trainer(dataclasses.replace(job, epochs=1, evaluate_at=(1,)), self.settings)

    def encoder_state(self, trainer: Any) -> Mapping[str, Any] | None:
        return trainer.state_dict() or None

    def calibrate(self, job: Job) -> Calibration:
        allocate(job, self.settings)
        memory = (self.settings["memory"], 2**33) if "memory" in self.settings else ()
        return Calibration(self.settings.get("seconds", 0.1) * job.hyperparameters.get("slowness", 1), 0.0, *memory)

    def effective(self, job: Job) -> Mapping[str, Any]:
        return job.hyperparameters


class Broken(Fake):
    trainer = BrokenTrainer


class Tiny(Fake):
    trainer = TinyTrainer

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        import_module("torch")  # before a trial seeds it
