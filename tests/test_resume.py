"""A method with a memory bank, whose process is killed in the middle of its training: a new process continues it to the
same bits, in attempts alone and in a run on Ray.

`python -m tests.test_resume attempt FOLDER NUMBER` and `python -m tests.test_resume run FOLDER` are the processes.
"""

import contextlib
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from algorithms.training.report import EpochReport
from algorithms.training.trainer import Trainer
from bench.data import images, saved
from bench.execution import checkpoint, driver, session
from bench.execution.attempt import Attempt
from bench.execution.factory import Trainers
from bench.execution.settings import TrainingSettings
from bench.execution.training import Training
from bench.execution.tune import RayTune
from bench.search.budget import Budget
from bench.search.experiment import Experiment
from bench.search.fold import Fold, read
from bench.search.job import Assignment, Job
from bench.search.plan import Costs, Plan
from bench.search.space import load

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
METHOD, EPOCHS = "pirl", 4
FACTORY = "tests.test_resume:MortalTraining"


def settings(folder: Path) -> TrainingSettings:
    return TrainingSettings("shapes", "0" * 64, 32, encoder="resnet8", device="cpu", data=str(folder))


class Mortal:
    """A trainer whose process is killed after the second epoch, in the first attempt at its trial. Every attempt adds
    a line to the file `log`: the epoch after which it began."""

    def __init__(self, trainer: Trainer, log: Path):
        self.trainer, self.method, self.log = trainer, trainer.method, log
        self.state_dict, self.load_state_dict = trainer.state_dict, trainer.load_state_dict

    def __iter__(self) -> Iterator[EpochReport]:
        first = not self.log.exists()
        with open(self.log, "a") as file:
            file.write(f"{self.trainer.epoch}\n")
        for report in self.trainer:
            yield report
            if first and report.epoch == 2:
                os.kill(os.getpid(), signal.SIGKILL)


class MortalTraining(Training):
    """The factory of a real run; its trainers are mortal where they confirm."""

    def build(self, job: Job) -> Trainer | Mortal:
        trainer = super().build(job)
        return trainer if job.stage == "search" else Mortal(trainer, Path(self.settings.data) / f"{job.uid}.log")


def confirming() -> Job:
    return Job("alone", METHOD, "published", 900_001, load(METHOD, 32).defaults, EPOCHS, (2, EPOCHS))


def attempt(folder: Path, number: int) -> None:
    """An attempt at `confirming`, to its end; its reports on stdout."""
    checkpoint.PART = math.inf  # after every epoch
    trainers = Trainers(FACTORY, settings(folder).to_json())
    trainers.prepare()
    worker, reports = Attempt(Assignment(confirming(), number, 0, 300.0), trainers, folder), []
    while not reports or reports[-1].epoch < EPOCHS:
        reports += worker.step().reports
    found = [report.to_json() for report in reports]
    print(json.dumps({"found": found, "undisturbed": undisturbed(folder, confirming())}))


def run(folder: Path) -> None:
    """A run on Ray, up to the end of a confirming trial whose worker has been killed; its reports on stdout."""
    calibration = {METHOD: Costs(0.2, 0.1, 0.1)}
    # Nothing to search, so that confirming comes after one trial, and a budget that no slow machine spends on it.
    space = load(METHOD, 32)
    fixed = {name: {key: entry[key] for key in ("default", "source")} for name, entry in space.entries.items()}
    spaces = {METHOD: dataclasses.replace(space, entries=fixed)}
    experiment = Experiment(spaces, FACTORY, settings(folder), baselines=(), epochs=EPOCHS, seeds=1)
    made = Plan(experiment, Budget("cpu", 3600.0), 2, 1.0, EPOCHS, calibration, 0.0, 300.0)

    def ended(fold: Fold) -> list[str]:
        return [one.uid for one in fold.trials.values() if one.stage != "search" and one.final and one.attempts > 1]

    def stop(fold: Fold) -> None:
        if ended(fold) and fold.closed is None:
            os.kill(os.getpid(), signal.SIGINT)

    session.RESULTS = 0.2
    with contextlib.suppress(driver.Interrupted):
        driver.run(made, folder / "run", RayTune(), on_results=stop)
    fold = read(folder / "run" / "ledger.jsonl")
    found = fold.trials[ended(fold)[0]]
    told = {"uid": found.uid, "state": found.state, "attempts": found.attempts}
    told["found"] = [report.to_json() for report in found.reports.values()]
    told["undisturbed"] = undisturbed(folder, found.job)
    print(json.dumps(told))


def undisturbed(folder: Path, job: Job) -> list[dict[str, Any]]:
    """The reports of the same training, never stopped; what it ends with is kept in `undisturbed.pt`."""
    factory = Training(settings(folder))
    factory.prepare()
    trainer = factory.build(job)
    reports = [report.to_json() for report in trainer]
    checkpoint.write(folder / "undisturbed.pt", trainer.state_dict())
    return reports


def process(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.test_resume", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def answer(done: subprocess.CompletedProcess) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def measured(reports: list[dict[str, Any]]) -> list[tuple]:
    """Of every report what a clock has no part in."""
    names = ("epoch", "loss", "knn_200", "knn_20", "purity_20", "feature_std")
    return [tuple(report.get(name) for name in names) for report in reports]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved.save(images.load("shapes", limit=200), tmp_path)
    return tmp_path


def equal(one: Any, other: Any) -> bool:
    """Nested states, to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def test_an_attempt_in_a_new_process_continues_a_memory_bank_to_the_same_bits(folder: Path):
    assert process("attempt", folder, 1).returncode == -signal.SIGKILL
    told = answer(process("attempt", folder, 2))
    assert (folder / "alone.log").read_text().split() == ["0", "2"]
    assert measured(told["found"]) == measured(told["undisturbed"])
    assert len(told["found"]) == EPOCHS
    ended = checkpoint.read(folder / "checkpoints" / "alone" / "attempt-2.pt")["state"]
    assert any("bank" in name for name in ended["method"])
    assert equal(ended, checkpoint.read(folder / "undisturbed.pt"))


def test_a_run_on_ray_confirms_to_the_same_bits_though_a_worker_is_killed(folder: Path):
    told = answer(process("run", folder))
    assert (told["state"], told["attempts"]) == ("complete", 2)
    first, second = (folder / f"{told['uid']}.log").read_text().split()
    assert first == "0"
    assert int(second) >= 1, "what was trained before the kill was trained again"
    assert measured(told["found"]) == measured(told["undisturbed"])


if __name__ == "__main__":
    what, place, *number = sys.argv[1:]
    attempt(Path(place), int(number[0])) if what == "attempt" else run(Path(place))
