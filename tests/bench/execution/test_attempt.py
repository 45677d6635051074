"""Attempts at trials, in this process: how they continue one another, and how they fail."""

import math

import pytest
import torch

from bench.execution import checkpoint
from bench.execution.attempt import Attempt
from bench.execution.factory import Trainers
from bench.search.job import Assignment, Job

FAKE = "tests.bench.fake_trainer:Fake"
TINY = "tests.bench.fake_trainer:Tiny"


def assignment(uid="a", attempt=1, known=0, epochs=5, limit=60.0, **hyperparameters):
    job = Job(uid, "m", "search", 7, hyperparameters, epochs, tuple(range(1, epochs + 1)))
    return Assignment(job, attempt, known, limit)


def steps(attempt, count):
    return [report for _ in range(count) for report in attempt.step().reports]


def content(reports):
    timing = ("seconds", "evaluation_seconds", "images_per_second")
    return [{k: v for k, v in report.to_json().items() if k not in timing} for report in reports]


@pytest.mark.slow
@pytest.mark.parametrize("factory", [FAKE, TINY])
def test_an_attempt_continues_the_one_before_it_exactly(tmp_path, monkeypatch, factory):
    settings = {"seconds": 0.0}
    whole = steps(Attempt(assignment("whole"), Trainers(factory, settings), tmp_path), 5)
    first = Attempt(assignment("a"), Trainers(factory, settings), tmp_path)
    told = steps(first, 1)
    monkeypatch.setattr(checkpoint, "PART", math.inf)  # a checkpoint each epoch
    untold = steps(first, 2)
    second = Attempt(assignment("a", attempt=2, known=1), Trainers(factory, settings), tmp_path)
    again = second.step().reports
    assert content(again) == content(untold)[: len(again)]
    assert again[0].epoch == 2
    rest = steps(second, 5 - again[-1].epoch)
    assert content(told + again + rest) == content(whole)


@pytest.mark.slow
def test_epochs_that_the_ledger_has_are_trained_again_but_not_told_again(tmp_path):
    settings = {"seconds": 0.0}
    whole = steps(Attempt(assignment("whole"), Trainers(TINY, settings), tmp_path), 5)
    lost = Attempt(assignment("a", attempt=2, known=3), Trainers(TINY, settings), tmp_path)  # no checkpoint is left
    assert [report.epoch for report in steps(lost, 4)] == [4]
    assert content(steps(lost, 1)) == content(whole[4:])


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_the_epochs_since_the_one_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PART", math.inf)
    whole = steps(Attempt(assignment("whole"), Trainers(TINY, {}), tmp_path), 5)
    steps(Attempt(assignment("a"), Trainers(TINY, {}), tmp_path), 2)
    told = steps(Attempt(assignment("a", attempt=2), Trainers(TINY, {}), tmp_path), 2)
    path = tmp_path / "checkpoints" / "a" / "attempt-2.pt"
    path.write_bytes(path.read_bytes()[:-100])
    third = Attempt(assignment("a", attempt=3, known=3), Trainers(TINY, {}), tmp_path)
    assert third._newest()["epoch"] == 2
    assert content(told + steps(third, 3)) == content(whole)


@pytest.mark.slow
def test_a_zombie_with_an_old_attempt_number_spoils_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PART", math.inf)
    settings = {"seconds": 0.0}
    whole = steps(Attempt(assignment("whole"), Trainers(FAKE, settings), tmp_path), 5)
    zombie = Attempt(assignment("a"), Trainers(FAKE, settings), tmp_path)
    told = steps(zombie, 2)
    alive = Attempt(assignment("a", attempt=2, known=2), Trainers(FAKE, settings), tmp_path)
    found = []
    for _ in range(4):  # they take turns, and the zombie is ahead
        steps(zombie, 1) if zombie._reports[-1].epoch < 5 else None
        found += alive.step().reports if (found or told)[-1].epoch < 5 else []
    assert content(told + found) == content(whole)
    files = {path.name: torch.load(path, weights_only=True) for path in (tmp_path / "checkpoints" / "a").glob("*.pt")}
    assert sorted(files) == ["attempt-1.pt", "attempt-2.pt"]
    third = Attempt(assignment("a", attempt=3), Trainers(FAKE, settings), tmp_path)
    assert third._newest()["epoch"] == files["attempt-2.pt"]["epoch"]


def test_an_error_of_the_trainer_is_told_in_a_line_with_its_place(tmp_path):
    attempt = Attempt(assignment(fault="exception"), Trainers(FAKE, {"seconds": 0.0}), tmp_path)
    steps(attempt, 2)
    answer = attempt.step()
    reason = answer.failure.text
    assert answer.failure.kind == "error"
    assert reason.startswith("ValueError: three is too many (fake_trainer.py:")
    assert "\n" not in reason


def test_a_factory_that_cannot_be_imported_fails_the_trial(tmp_path):
    answer = Attempt(assignment(), Trainers("no_such_module:factory", {}), tmp_path).step()
    assert answer.failure.text.startswith("ModuleNotFoundError")


def test_a_trainer_that_ends_early_fails_the_trial(tmp_path):
    attempt = Attempt(assignment(epochs=2), Trainers(FAKE, {"seconds": 0.0}), tmp_path)
    steps(attempt, 2)
    assert attempt.step().failure.text == "the trainer ended before epoch 2"
