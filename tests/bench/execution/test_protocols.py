"""Encoders that trainings keep, and jobs that judge them again."""

import dataclasses
from pathlib import Path

import pytest
import torch

from bench.data import images, saved
from bench.execution import kept
from bench.execution.answer import Answer
from bench.execution.attempt import Attempt
from bench.execution.factory import Trainers
from bench.execution.settings import TrainingSettings
from bench.search.job import Assignment, Job
from bench.search.space import load

REAL = "bench.execution.training:Training"


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> TrainingSettings:
    folder = tmp_path_factory.mktemp("data")
    saved.save(images.load("shapes", image_size=16, limit=160), folder)
    return TrainingSettings("shapes", "0" * 64, 16, encoder="resnet8", device="cpu", data=str(folder))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As workers train."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def asked(method: str, stage: str, uid: str = "a", **values) -> Job:
    hyperparameters = load(method, 16).defaults if stage != "baseline" else {}
    return Job(uid, method, stage, 3, hyperparameters, 1, (1,), **values)


def judging(job: Job, protocol: str = "knn") -> Job:
    """What judges the encoder that this job has left."""
    return dataclasses.replace(job, uid=f"{job.uid}-{protocol}", seed=4, protocol=protocol, of=job.uid)


def told(job: Job, settings: TrainingSettings, run_dir: Path) -> Answer:
    """By the first attempt at it, of its one epoch."""
    return Attempt(Assignment(job, 1, 0, 60.0), Trainers(REAL, settings.to_json()), run_dir).step()


@pytest.mark.parametrize(
    ("method", "stage"),
    [
        ("simclr", "confirm"),
        ("amdim", "published"),  # has an encoder of its own
        ("dino", "ours"),  # is judged by its teacher
        ("swav", "confirm"),
        ("random", "baseline"),
        ("supervised", "baseline"),
    ],
)
def test_an_encoder_that_was_kept_is_judged_as_when_its_training_ended(settings, tmp_path, method, stage):
    job = asked(method, stage)
    trained = told(job, settings, tmp_path)
    assert trained.failure is None
    assert trained.facts["encoder_file"] is True
    again = told(judging(job), settings, tmp_path)
    assert again.failure is None
    (first,), (second,) = trained.reports, again.reports
    assert second.metrics == first.metrics
    assert second.metrics["knn_200"] > 0
    assert second.epoch == 1
    assert "encoder_file" not in again.facts
    assert [path.name for path in (tmp_path / "encoders").iterdir()] == ["a.pt"]


def test_a_judgement_is_of_the_weights_in_the_file_and_trains_nothing(settings, tmp_path):
    job = asked("simclr", "confirm")
    trained = told(job, settings, tmp_path)
    state = kept.read(tmp_path, "a")
    before = {name: tensor.clone() for name, tensor in state.items()}
    other = asked("simclr", "confirm", "b", halved=True)
    assert told(other, settings, tmp_path).reports[0].metrics != trained.reports[0].metrics
    kept.path(tmp_path, "b").write_bytes(kept.path(tmp_path, "a").read_bytes())
    assert told(judging(other), settings, tmp_path).reports[0].metrics == trained.reports[0].metrics
    after = kept.read(tmp_path, "a")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("method", "stage"), [("simclr", "search"), ("pixels", "baseline")])
def test_what_searches_and_what_has_no_weights_leaves_no_encoder(settings, tmp_path, method, stage):
    answer = told(asked(method, stage), settings, tmp_path)
    assert answer.reports[0].metrics
    assert "encoder_file" not in answer.facts
    assert not (tmp_path / "encoders").exists()


def test_a_training_whose_encoder_cannot_be_written_counts_all_the_same_and_warns(settings, tmp_path):
    (tmp_path / "encoders").touch()
    answer = told(asked("simclr", "confirm"), settings, tmp_path)
    assert answer.reports[0].metrics
    assert answer.failure is None
    assert "encoder_file" not in answer.facts
    assert answer.warning == f"no checkpoint can be written to {tmp_path / 'encoders'}: Not a directory"


def test_an_encoder_is_kept_though_the_worker_died_before_it_told_the_last_epoch(settings, tmp_path):
    job = asked("simclr", "confirm")
    first = told(job, settings, tmp_path)
    kept.path(tmp_path, "a").unlink()
    second = Attempt(Assignment(job, 2, 0, 60.0), Trainers(REAL, settings.to_json()), tmp_path).step()
    assert second.reports == first.reports
    assert second.facts["encoder_file"] is True
    assert kept.path(tmp_path, "a").exists()


@pytest.mark.slow
def test_an_encoder_that_is_not_there_or_damaged_and_an_unknown_protocol_fail_the_job_in_a_line(settings, tmp_path):
    job = asked("simclr", "confirm")
    assert "a has left no encoder; it would be " in told(judging(job), settings, tmp_path).failure.text
    told(job, settings, tmp_path)
    reason = told(judging(job, "oracle"), settings, tmp_path).failure.text
    assert "there is no protocol 'oracle'; there are knn" in reason
    kept.path(tmp_path, "a").write_bytes(b"no encoder")
    assert "is damaged" in told(judging(job), settings, tmp_path).failure.text
