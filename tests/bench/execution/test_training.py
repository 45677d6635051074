"""What a trial of a real run trains on, and what judges it."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from algorithms import METHODS
from algorithms.baselines import Pixels
from algorithms.evaluation import knn
from algorithms.evaluation.knn import Evaluation, LeaveOneOut
from algorithms.evaluation.neighbours import neighbours
from algorithms.images.statistics import IMAGENET
from algorithms.simclr import SimCLR
from algorithms.swav import SwAV
from algorithms.training.trainer import Trainer
from bench.data import saved
from bench.data.dataset import Dataset, Split
from bench.errors import UserError
from bench.execution import training
from bench.execution.calibration import _distinct
from bench.execution.settings import TrainingSettings
from bench.execution.training import Training
from bench.search import augmentation
from bench.search.job import CHOOSING, Job
from bench.search.space import load


@pytest.fixture
def settings(tmp_path) -> TrainingSettings:
    """Eighty training and twenty test images of two classes, each of one brightness of its own."""

    def split(first: int, count: int) -> Split:
        pixels = torch.arange(first, first + count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 16, 16)
        return Split.of(pixels.contiguous(), torch.arange(count) % 2)

    saved.save(Dataset("tiny", split(0, 80), split(100, 20), ("a", "b"), "0" * 64, IMAGENET, "", ()), tmp_path)
    return of("tiny", tmp_path, 16)


def of(dataset: str, folder: Path, size: int) -> TrainingSettings:
    """The settings of a run on the images that are saved in a folder."""
    return TrainingSettings(dataset, "0" * 64, size, encoder="resnet8", device="cpu", data=str(folder))


def trial(stage: str, method: str = "simclr", epochs: int = 1, **values: Any) -> Job:
    hyperparameters = load(method, 32).defaults if stage != "baseline" else {}
    return Job("t", method, stage, 0, values.pop("hyperparameters", hyperparameters), epochs, (epochs,), **values)


def build(job: Job, settings: TrainingSettings, **values: Any) -> Trainer:
    return Training(dataclasses.replace(settings, **values)).build(job)


def brightness(pixels: torch.Tensor) -> set[int]:
    return set(pixels[:, 0, 0, 0].tolist())


@pytest.mark.parametrize("stage", ["search", "baseline"])
def test_where_very_many_ask_a_calibration_asks_some_and_tells_what_all_would_take(settings, monkeypatch, stage):
    """The clock counts the pairs that are compared."""
    compared: list[int] = []

    def counted(queries: torch.Tensor, bank: torch.Tensor, *rest: object, **how: Any) -> Any:
        compared.append(len(queries) * len(bank))
        return neighbours(queries, bank, *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(knn, "neighbours", counted)
    trainer = build(trial(stage, "simclr" if stage == "search" else "pixels"), settings)
    monkeypatch.setattr(trainer, "clock", lambda: float(sum(compared)))
    evaluation = training.evaluation_of(trial(stage), settings)
    whole = training._seconds_of_an_evaluation(trainer, evaluation)
    assert whole == (80 * 80 if stage == "search" else 20 * (80 + 20))
    compared.clear()
    monkeypatch.setattr(training, "MOST_PAIRS", 1000)
    assert training._seconds_of_an_evaluation(trainer, evaluation) == pytest.approx(whole, rel=0.01)
    assert sum(compared) <= 1000 + 80


@pytest.mark.parametrize("stage", CHOOSING)
def test_what_a_run_chooses_by_trains_on_all_training_images_is_judged_among_them_and_opens_no_test_image(
    settings, stage, monkeypatch
):
    monkeypatch.setattr(training, "on_test_images", lambda *_: pytest.fail("the test images were asked for"))
    trainer = build(trial(stage), settings)
    judge = trainer.evaluation
    assert isinstance(judge, LeaveOneOut)
    assert judge.images is trainer.images
    assert brightness(trainer.images.packed) == set(range(80))
    assert judge.queries.tolist() == judge.encoded.tolist() == [*range(80)]
    (report,) = trainer
    assert {"knn_200", "knn_20", "rankme", "alpha_req", "lidar", "cluster_learnability"} <= report.metrics.keys()
    assert "purity_20" not in report.metrics


def test_no_more_images_ask_than_are_asked_for_and_of_each_class_its_share(settings, monkeypatch):
    monkeypatch.setattr(training, "QUERIES", 10)
    training.leave_one_out.cache_clear()
    judge = training.leave_one_out(settings.data, "cpu")
    assert judge.labels[judge.queries].bincount().tolist() == [5, 5]
    training.leave_one_out.cache_clear()


def test_images_of_one_group_do_not_judge_each_other(tmp_path):
    groups = torch.arange(20) // 4
    split = Split.of(torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8), torch.arange(20) % 2, groups)
    saved.save(Dataset("some", split, split.taken(torch.arange(4)), ("a", "b"), "0" * 64, IMAGENET, "", ()), tmp_path)
    judge = training.leave_one_out(str(tmp_path), "cpu")
    assert torch.equal(judge.groups, groups)
    training.leave_one_out.cache_clear()


def test_images_without_a_label_are_trained_on_and_neither_ask_nor_vote(tmp_path):
    labels = torch.tensor([-1, 0, -1, 1] * 5)
    split = Split.of(torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8), labels)
    dataset = Dataset(
        "some", split, Split.of(split.pixels[:4], labels[1:2].repeat(4)), ("a", "b"), "0" * 64, IMAGENET, "", ()
    )
    saved.save(dataset, tmp_path)
    searched, confirmed = (build(trial(stage), of("some", tmp_path, 8)) for stage in ("search", "confirm"))
    assert len(searched.images) == len(confirmed.images) == 20
    assert searched.evaluation.labels[searched.evaluation.encoded[searched.evaluation.queries]].min() >= 0
    assert len(searched.evaluation.queries) == len(confirmed.evaluation.bank) == 10


def test_search_and_confirmation_train_on_the_same_images_which_are_a_part_of_the_saved_file_and_no_copy(settings):
    searched, raced, confirmed = (build(trial(stage), settings) for stage in ("search", "race", "confirm"))
    assert searched.images is raced.images is confirmed.images is confirmed.evaluation.bank
    mapped = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if saved.IMAGES in line]
    ranges = [[int(end, 16) for end in line[0].split("-")] for line in mapped]
    for tensor in (searched.images.packed, confirmed.evaluation.queries.packed):
        assert any(start <= tensor.data_ptr() < stop for start, stop in ranges)


@pytest.mark.parametrize("stage", CHOOSING)
def test_a_run_chooses_by_no_training_that_has_met_the_labels(settings, stage):
    with pytest.raises(ValueError, match="'supervised' trains with labels, so a run cannot choose by"):
        build(trial(stage, "supervised"), settings)


@pytest.mark.parametrize("stage", ["confirm", "published", "ours", "baseline"])
def test_every_other_stage_trains_on_all_training_images_and_is_judged_on_test_images(settings, stage):
    trainer = build(trial(stage, "supervised" if stage == "baseline" else "simclr"), settings)
    assert isinstance(trainer.evaluation, Evaluation)
    assert brightness(trainer.images.packed) == set(range(80))
    assert brightness(trainer.evaluation.queries.packed) == set(range(100, 120))


def test_only_the_supervised_ceiling_is_given_labels(settings):
    assert build(trial("search"), settings).method.setting.labels is None
    assert build(trial("baseline", "supervised"), settings).method.setting.labels is not None


def test_raw_pixels_have_no_encoder_and_are_evaluated(settings):
    trainer = build(trial("baseline", "pixels"), settings)
    assert isinstance(trainer.method, Pixels)
    (report,) = trainer
    assert "knn_200" in report.metrics


def test_a_calibration_measures_steps_as_most_are_and_not_as_a_training_begins(settings, monkeypatch):
    used = []
    codes = SwAV.codes
    monkeypatch.setattr(SwAV, "codes", lambda self, *about: used.append(self.queue_used) or codes(self, *about))
    hyperparameters = load("swav", 32).defaults | {"queue_length": 64}
    Training(settings).calibrate(trial("search", "swav", epochs=4, hyperparameters=hyperparameters))
    assert used
    assert all(used)


def test_a_training_of_fewer_steps_than_a_calibration_takes_is_calibrated(settings):
    found = Training(settings).calibrate(trial("search"))
    assert found.epoch > 0
    assert found.evaluation > 0
    assert found.memory == found.device_memory == 0  # of a CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_calibration_on_a_gpu_tells_what_memory_it_took_of_how_much(settings):
    found = Training(dataclasses.replace(settings, device="cuda")).calibrate(trial("search"))
    assert 0 < found.memory < found.device_memory


@pytest.mark.slow
def test_a_trial_on_a_cpu_has_one_thread(settings):
    program = (
        "import json, sys, torch\nfrom bench.execution.training import Training\ntorch.set_num_threads(3)\n"
        "Training.from_json(json.loads(sys.argv[1])).prepare()\nprint(torch.get_num_threads())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, json.dumps(settings.to_json())],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == ["1"]


@pytest.mark.parametrize(("stage", "method"), [("search", "simclr"), ("baseline", "supervised")])
def test_a_limit_of_the_batch_size_holds_for_every_method_and_the_ceiling(settings, stage, method):
    assert build(trial(stage, method), settings).batch_size == 32
    assert build(trial(stage, method), settings, batch_size=16).batch_size == 16
    assert build(trial(stage, method), settings, batch_size=10**6).batch_size == 32


@pytest.mark.parametrize(("stage", "method"), [("search", "simclr"), ("confirm", "simclr"), ("baseline", "supervised")])
def test_a_halved_trial_has_half_the_images_in_a_step_and_half_the_learning_rate(settings, stage, method):
    whole, half = (build(trial(stage, method, halved=halved), settings) for halved in (False, True))
    assert (whole.batch_size, half.batch_size) == (32, 16)  # so few images allow 32 of the recipe's
    assert half.steps == len(half.images) // 16
    assert half.constant_rates.max().item() == pytest.approx(whole.constant_rates.max().item() / 2)
    assert half.facts["batch_size"] == half.facts["hyperparameters"].get("batch_size", 16) == 16
    (report,) = half
    assert "knn_200" in report.metrics


def test_half_a_batch_is_half_of_what_the_limit_leaves_and_never_less_than_two_images(settings):
    def batch_size(most: int) -> int:
        limited = dataclasses.replace(settings, batch_size=most)
        return Training(limited).effective(trial("search", "moco", halved=True))["batch_size"]

    assert [batch_size(most) for most in (2, 3, 16, 10**6)] == [2, 2, 8, 16]


def saved_images(folder: Path, count: int) -> TrainingSettings:
    """The settings of a run on `count` training images of two classes."""
    split = Split.of(torch.zeros(count, 3, 8, 8, dtype=torch.uint8), torch.arange(count) % 2)
    saved.save(
        Dataset("blank", split, Split.of(split.pixels[:8], split.labels[:8]), ("a", "b"), "0" * 64, IMAGENET, "", ()),
        folder,
    )
    return of("blank", folder, 8)


@pytest.mark.parametrize("count", [30, 4500])
@pytest.mark.parametrize("method", ["simclr", "moco", "pirl"])
def test_a_winner_is_confirmed_as_it_won(tmp_path, count, method):
    settings = saved_images(tmp_path, count)
    searched, confirmed = (build(trial(stage, method), settings) for stage in ("search", "confirm"))
    assert confirmed.hyperparameters == searched.hyperparameters
    assert confirmed.facts["hyperparameters"] == searched.facts["hyperparameters"]
    assert confirmed.batch_size == searched.batch_size
    assert build(trial("baseline", "supervised"), settings).batch_size == searched.batch_size


@pytest.mark.parametrize(
    ("count", "method", "left"),
    [
        (80, "simsiam", {"predictor_hidden": [128, 512]}),  # of twice 64 x 8, half
        (80, "moco", {"queue_length": [4096]}),
        (4000, "moco", {"queue_length": [1024, 4096]}),
        (4500, "moco", {}),  # 4,096 and 4,480
        (10_000, "byol", {}),
    ],
)
def test_choices_that_build_the_same_network_are_one(tmp_path, count, method, left):
    settings = saved_images(tmp_path, count)
    choices = load(method, 32).choices
    assert _distinct(trial("search", method), choices, Training(settings).effective) == left


def test_facts_name_what_differs_from_the_hyperparameters_on_record(settings):
    facts = build(trial("search", "simsiam"), settings, batch_size=16).facts
    widths = {"projector_hidden": 512, "projector_width": 512, "predictor_hidden": 256}
    assert facts["hyperparameters"] == widths | {"batch_size": 16}


def test_a_batch_of_one_is_refused_in_a_line(settings):
    with pytest.raises(UserError, match=r"^A batch_size of 1 is too small; two images are the least\.$"):
        build(trial("search"), settings, batch_size=1)


@pytest.fixture
def plain_process():
    """Puts back what `prepare` changes in this process."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = benchmark
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_with_deterministic_algorithms_and_twice_alike(settings, plain_process, method):
    Training(dataclasses.replace(settings, deterministic=True)).prepare()
    assert torch.are_deterministic_algorithms_enabled()
    first, second = ([*build(trial("search", method), settings)][-1] for _ in range(2))
    assert (first.loss, first.metrics) == (second.loss, second.metrics)


OWN = """
from algorithms.simclr import SimCLR

class Mine(SimCLR):
    pass

def network(image_size):
    from torch import nn
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


def test_a_method_of_the_users_own_is_trained_by_the_name_that_it_has_in_the_run(settings, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    methods = {"mine": f"{tmp_path / 'own.py'}:Mine"}
    job = dataclasses.replace(trial("search"), method="mine")
    own = Training.from_json(json.loads(json.dumps(dataclasses.replace(settings, methods=methods).to_json())))
    trainer = own.build(job)
    assert type(trainer.method).__name__ == "Mine"
    (report,) = trainer
    (ours,) = build(trial("search"), settings)
    assert (report.loss, report.metrics) == (ours.loss, ours.metrics)


def test_an_encoder_of_the_users_own_is_trained_and_a_door_that_leads_nowhere_is_refused_in_a_line(settings, tmp_path):
    (tmp_path / "own.py").write_text(OWN)

    def behind(door):
        return Training(dataclasses.replace(settings, encoder="own", encoder_door=f"{tmp_path / 'own.py'}:{door}"))

    trainer = behind("network").build(trial("search"))
    assert trainer.facts["encoder_parameters"] == 3 * 8 * 4 * 4 + 8
    assert [*trainer][-1].metrics
    with pytest.raises(UserError, match=r"there is no encoder '.*:nothing'; give package.module:function"):
        behind("nothing").build(trial("search"))


def test_without_labels_encoders_are_judged_by_the_presets_default_views_whatever_they_trained_with(settings):
    text = dataclasses.replace(settings, augment="text")
    for space in (load("simclr", 16), augmentation.with_preset(load("simclr", 16), "text", SimCLR, 16)):
        for recipe in space.recipes:
            judge = build(trial("search", hyperparameters=recipe), text).evaluation
            assert judge.augmentation == augmentation.defaults("text", 16)
            assert judge.augmentation.horizontal_flip_probability == 0
    assert build(trial("search"), settings).evaluation.augmentation is None


@pytest.mark.parametrize(("preset", "flip"), [(None, 0.5), ("texture", 0.5), ("text", 0.0)])
def test_the_ceiling_mirrors_no_text_and_is_else_as_ever(settings, preset, flip):
    ever = build(trial("baseline", "supervised"), settings)
    made = build(trial("baseline", "supervised"), settings, augment=preset)
    assert made.method.views == (dataclasses.replace(ever.method.views[0], flip=flip),)
    assert made.facts["hyperparameters"] == ever.facts["hyperparameters"]


@pytest.mark.parametrize("method", ["random", "pixels"])
def test_a_baseline_that_trains_nothing_has_no_views_to_change(settings, method):
    (report,) = build(trial("baseline", method), settings, augment="text")
    assert report.metrics["knn_200"] > 0
