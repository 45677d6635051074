"""Runs on images without labels, and with few: what trains, what judges, and what is said of it."""

import dataclasses
import io
import json
import re
from pathlib import Path

import pytest
import torch

from algorithms import BASELINES, METHODS
from algorithms.evaluation.held_out import HeldOut
from algorithms.evaluation.knn import Evaluation
from algorithms.evaluation.metrics import CRITERIA
from algorithms.images.statistics import IMAGENET
from algorithms.images.store import pack
from algorithms.training.report import EpochReport
from bench.data import saved
from bench.data.dataset import Dataset, Split
from bench.errors import UserError
from bench.execution import benchmark, single, training
from bench.execution.configuration import Configuration, TrainingConfiguration
from bench.execution.progress import Progress
from bench.execution.settings import TrainingSettings
from bench.execution.training import Training
from bench.search.budget import Budget
from bench.search.fold import read
from bench.search.job import Job
from bench.search.search import Search
from bench.search.simulate import MemoryLedger
from bench.search.space import load
from bench.search.trials import Epoch, Trial
from tests.bench.search.driving import small

DOOR = """
import numpy as np

def images(count, seed):
    return np.random.RandomState(seed).randint(0, 256, (count, 3, 8, 8), dtype=np.uint8)

def unlabelled():
    return images(60, 0), np.full(60, -1), images(30, 1), np.full(30, -1), []
"""


def random_images(count: int, seed: int) -> torch.Tensor:
    pixels = torch.randint(0, 256, (count, 3, 16, 16), generator=torch.Generator().manual_seed(seed))
    return pixels.to(torch.uint8)


def pixels_of(packed: torch.Tensor) -> bytes:
    return packed.contiguous().numpy().tobytes()


def settings_of(folder: Path, train: list[int], test: list[int]) -> TrainingSettings:
    """Of random images with these labels."""
    splits = [
        Split.of(random_images(len(labels), seed), torch.tensor(labels)) for seed, labels in enumerate((train, test))
    ]
    classes = ("a", "b") if max(train) >= 0 else ()
    saved.save(Dataset("some", *splits, classes, "0" * 64, IMAGENET, "", ()), folder)
    return TrainingSettings("some", "0" * 64, 16, encoder="resnet8", device="cpu", data=str(folder))


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory) -> TrainingSettings:
    return settings_of(tmp_path_factory.mktemp("unlabelled"), [-1] * 64, [-1] * 32)


def job(stage: str, method: str, epochs: int = 1) -> Job:
    hyperparameters = load(method, 16).defaults if stage != "baseline" else {}
    return Job("t", method, stage, 0, hyperparameters, epochs, (epochs,))


# ---- what trains and what judges ----


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_without_labels_and_is_chosen_by_what_needs_none(unlabelled, method):
    (report,) = Training(unlabelled).build(job("search", method))
    assert report.metrics["judged"] == report.metrics["instance_accuracy"]
    assert not [name for name in report.metrics if "knn" in name or "purity" in name]


@pytest.mark.parametrize(("stage", "method"), [("confirm", "dino"), ("published", "simclr"), ("baseline", "pixels")])
def test_what_confirms_is_judged_by_the_criteria_of_the_held_out_images(unlabelled, stage, method):
    trainer = Training(unlabelled).build(job(stage, method))
    assert isinstance(trainer.evaluation, HeldOut)
    assert pixels_of(trainer.evaluation.images.packed) == pixels_of(pack(random_images(32, 1)))
    (report,) = trainer
    assert report.metrics.keys() == {metric.name for metric in CRITERIA}
    assert report.metrics == trainer.evaluation(trainer.method.judged_encoder)


def test_of_some_test_images_with_labels_these_alone_ask(tmp_path):
    settings = settings_of(tmp_path, [0, 1, -1, -1] * 8, [-1, 1, 0, -1, 1, -1])
    judge = training.on_test_images(settings.data, "cpu")
    assert isinstance(judge, Evaluation)
    assert judge.query_labels.tolist() == [1, 0, 1]
    assert pixels_of(judge.queries.gather(torch.arange(3))) == pixels_of(pack(random_images(6, 1)[[1, 2, 4]]))
    assert len(judge.bank) == 16


@pytest.mark.parametrize(("train", "test"), [([0, 1] * 8, [-1] * 4), ([-1] * 16, [0, 1, 0, 1])])
def test_where_only_one_side_has_labels_nothing_can_be_asked(tmp_path, train, test):
    settings = settings_of(tmp_path, train, test)
    assert isinstance(training.on_test_images(settings.data, "cpu"), HeldOut)


def test_with_few_labels_the_ceiling_trains_on_them_and_steps_without_one_do_no_harm(tmp_path):
    settings = settings_of(tmp_path, [0, 1, *[-1] * 126], [0, 1] * 4)
    *_, report = Training(settings).build(job("baseline", "supervised", epochs=3))
    assert 0 < report.loss < float("inf")
    assert "knn_200" in report.metrics


def test_an_evaluation_without_labels_is_calibrated(unlabelled):
    assert Training(unlabelled).calibrate(job("baseline", "random")).evaluation > 0


# ---- what a run makes of it ----


@pytest.fixture
def door(tmp_path) -> str:
    (tmp_path / "sets.py").write_text(DOOR)
    return f"{tmp_path / 'sets.py'}:unlabelled"


def asked(door: str, tmp_path: Path, **values) -> Configuration:
    budget = Budget.parse("20cpu-minutes")
    return Configuration(budget=budget, methods=("simclr",), dataset=door, run_dir=tmp_path / "run", **values)


@pytest.fixture
def planned(monkeypatch):
    """Calibrations measure nothing."""

    def calibrate(experiment):
        names = [*experiment.spaces, *experiment.baselines]
        seconds = {"epoch": 0.1, "evaluation": 0.1, "start": 0.0}
        return {"calibration": dict.fromkeys(names, seconds), "startup": 1.0, "choices": {}}

    monkeypatch.setattr(benchmark, "calibrate", calibrate)


def test_the_ceiling_is_left_out_and_the_plan_says_so(door, tmp_path, planned, capsys):
    outcome = benchmark.run(asked(door, tmp_path, dry_run=True))
    assert outcome.plan.experiment.baselines == ("pixels", "random")
    told = capsys.readouterr().out
    assert "60 training and 30 test images without labels" in told
    assert "It chooses without labels" in told
    assert "Left out of the baselines, as there are no labels: supervised." in told


def test_with_labels_all_baselines_are_there(tmp_path, planned):
    outcome = benchmark.run(asked("shapes", tmp_path, dry_run=True, limit=100))
    assert outcome.plan.experiment.baselines == tuple(BASELINES)


def test_a_protocol_by_labels_is_refused_in_a_line_and_nothing_is_written(door, tmp_path, planned):
    with pytest.raises(
        UserError, match=r"^the protocol 'knn' judges by labels, and these images have none; leave it"
    ) as error:
        benchmark.run(asked(door, tmp_path, protocols=("knn",)))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_protocol_by_labels_fails_a_job_in_the_same_line(unlabelled):
    with pytest.raises(UserError, match="the protocol 'knn' judges by labels"):
        Training(unlabelled).evaluate(dataclasses.replace(job("confirm", "simclr"), protocol="knn"), {})


def test_the_readme_keeps_its_table(door, tmp_path, planned):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- table:begin -->\nold\n<!-- table:end -->\n")
    with pytest.raises(
        UserError, match="are of test accuracies, and this run has no labels; leave out --update-readme"
    ):
        benchmark.run(asked(door, tmp_path, readme=readme))
    assert "old" in readme.read_text()


def test_one_method_alone_says_what_was_measured_without_calling_it_an_accuracy_of_classes(door, tmp_path, capsys):
    configuration = TrainingConfiguration(methods=("simclr",), dataset=door, run_dir=tmp_path / "run", epochs=1)
    path = benchmark.train(configuration)
    measured = json.loads((path / "training.json").read_text())["report"]["instance_accuracy"]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch 1 of 1")]
    assert line.endswith(f"instance accuracy {measured:.2%} (of held-out images, no labels)")
    assert "kNN" not in line


def test_with_labels_the_line_is_of_the_test_knn():
    report = EpochReport(1, 0.5, {"knn_200": 0.25, "instance_accuracy": 0.75})
    assert single._line(report, 1).endswith("test kNN 25.00%")


# ---- what is said while it runs ----


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({"knn_200": 0.5, "instance_accuracy": 0.25}, r", 50\.0% search"),
        ({"judged": 0.25, "instance_accuracy": 0.25}, r", instance accuracy 25\.0% search"),
        (
            {"judged": 0.3, "instance_accuracy": 0.25, "knn_200": 0.5},
            r", few labels and instance accuracy 30\.0% search",
        ),
    ],
)
def test_a_trials_end_is_told_with_the_name_of_its_figure_unless_that_is_an_accuracy(measured, said):
    stream, search = io.StringIO(), Search(small()[0], MemoryLedger())
    progress = Progress(search, stream)
    trial = Trial("a", search.next().job.method, "search", 0, 0, {}, {}, True, None, 1, [1], state="complete")
    trial.reports[1] = Epoch(1, 0.5, measured)
    progress.ended(trial)
    assert re.search(said, stream.getvalue())
    search.fold.trials["a"] = trial
    name = said.split(r" \d")[0].removeprefix(", ").rsplit(" ", 2)[0]
    expected = f"| best {trial.method} " if "instance" not in said else f"| best {name} {trial.method} "
    assert expected in progress._overall(1.0)


# ---- a whole run ----


@pytest.mark.slow
def test_a_run_without_labels_comes_to_a_table_in_which_nothing_is_an_accuracy_of_classes(door, tmp_path, capfd):
    outcome = benchmark.run(asked(door, tmp_path, epochs=1, seeds=2, searcher="none"))
    assert outcome.status == 0
    found = outcome.results()
    done = found.trainings[found.trainings.state == "complete"]
    assert set(done.method) == {"simclr", "pixels", "random"}
    assert done.test_instance_accuracy.notna().all()
    assert done.test_knn_200.isna().all()
    assert found.trials.failure.isna().all()
    assert not read(tmp_path / "run" / "ledger.jsonl").given_up
    lines = (tmp_path / "run" / "table.md").read_text().splitlines()
    heads = next(line for line in lines if line.startswith("| method"))
    assert "instance accuracy, held out, %" in heads
    assert "kNN" not in heads
    assert "kNN" not in capfd.readouterr().out.split("Methods stand in the order")[0].split("Plan:")[1]
