"""Encoders that trainings keep, and jobs that judge them again."""

import dataclasses
from pathlib import Path

import pytest
import torch

from algorithms.evaluation import classifier, few, finetune
from algorithms.evaluation.metrics import METRICS
from bench.data import images, saved
from bench.execution import kept
from bench.execution.answer import Answer
from bench.execution.attempt import Attempt
from bench.execution.factory import Trainers
from bench.execution.settings import TrainingSettings
from bench.execution.training import Training, opened
from bench.report.inspections import Images, Inspected
from bench.search.job import Assignment, Job
from bench.search.plan import judges
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


@pytest.fixture
def quickly(monkeypatch):
    """What trains with labels takes two steps."""
    for module, name in ((few, "FROM_SCRATCH"), (finetune, "FROM_SCRATCH"), (finetune, "FINE_TUNING")):
        monkeypatch.setattr(module, name, (classifier.fixed(1e-2, 1.0, 2),))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "stage", "protocol", "measures"),
    [
        ("simclr", "confirm", "linear", {"linear", "linear_balanced", "linear/0", "linear_strength"}),
        ("simclrv2", "confirm", "few", {"few_knn_1", "few_linear_1", "few_linear_1/9", "few_knn_all_balanced"}),
        ("simclr", "confirm", "finetune", {"finetune_all", "finetune_all_balanced", "finetune_all/0"}),
        ("supervised", "baseline", "linear", {"linear"}),
        ("supervised", "baseline", "scratch", {"few_scratch_1", "few_scratch_1/9"}),
        ("supervised", "baseline", "finetune", {"finetune_all"}),
    ],
)
def test_every_protocol_judges_what_it_should_and_says_before_how_long_that_takes(
    settings, tmp_path, quickly, method, stage, protocol, measures
):
    job = asked(method, stage)
    assert told(job, settings, tmp_path).failure is None
    found = told(judging(job, protocol), settings, tmp_path)
    assert found.failure is None
    metrics = found.reports[0].metrics
    assert measures <= metrics.keys()
    assert {METRICS[name.partition("/")[0]].protocol for name in metrics} == {protocol}
    assert all(0 <= value <= 1 for name, value in metrics.items() if name != "linear_strength")
    with torch.random.fork_rng():
        seconds = Training(settings).judging_seconds(job, [protocol])
    assert seconds[protocol] > 0


@pytest.mark.slow
def test_what_trains_from_scratch_knows_nothing_of_the_weights_that_a_training_has_left(settings, tmp_path, quickly):
    job = asked("supervised", "baseline")
    told(job, settings, tmp_path)
    first = told(judging(job, "scratch"), settings, tmp_path).reports[0].metrics
    state = kept.read(tmp_path, "a")
    torch.save({name: torch.zeros_like(tensor) for name, tensor in state.items()}, kept.path(tmp_path, "a"))
    assert told(judging(job, "scratch"), settings, tmp_path).reports[0].metrics == first
    assert told(judging(job, "linear"), settings, tmp_path).reports[0].metrics["linear"] < 0.3


def test_no_protocol_but_those_that_judge_a_method_is_measured(settings):
    names = ("linear", "few", "scratch", "finetune")
    expected = {"simclr": {"linear", "few", "finetune"}, "pixels": set(), "random": {"linear", "few"}}
    expected["supervised"] = {"linear", "scratch", "finetune"}
    for method, measured in expected.items():
        assert {name for name in names if judges(name, method)} == measured


@pytest.mark.parametrize("labels", [True, False])
def test_an_inspection_leaves_its_files_with_labels_and_without(settings, tmp_path, labels):
    if not labels:
        saved.save(without_any_label(opened(settings.data)), tmp_path / "data")
        settings = dataclasses.replace(settings, data=str(tmp_path / "data"))
    job = asked("simclr", "confirm")
    told(job, settings, tmp_path)
    answer = told(judging(job, "inspect"), settings, tmp_path)
    assert answer.failure is None
    assert answer.reports[0].metrics.keys() == {"trustworthiness"}
    images = Images.read(tmp_path)
    found = Inspected.read(tmp_path, "a", images)
    assert bool(found.confusion) == labels
    assert (max(images.labels) >= 0) == labels
    before = {path.name: path.read_bytes() for path in (tmp_path / "inspected").iterdir()}
    assert before.keys() == {"a.json", "images.json", "images.webp"}
    told(judging(job, "inspect"), settings, tmp_path)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "inspected").iterdir()}
    assert Training(settings).judging_seconds(job, ["inspect"])["inspect"] > 0


def without_any_label(dataset):
    """The same images."""
    train, test = (
        dataclasses.replace(split, labels=torch.full_like(split.labels, -1)) for split in (dataset.train, dataset.test)
    )
    return dataclasses.replace(dataset, train=train, test=test)
