"""Labels judge what was trained and train nothing: not one bit of it, and no image is judged by its own label.

The control of such a study: the labels are permuted at random, so that no image tells its label. Whatever is still
better than chance has met the labels that it is judged by.
"""

import dataclasses
import functools
from collections.abc import Iterator

import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from algorithms import BASELINES, METHODS
from algorithms.evaluation.knn import Evaluation, LeaveOneOut
from algorithms.images.store import ResidentImages
from algorithms.training.trainer import Trainer
from bench.data import images, saved
from bench.data.dataset import Split
from bench.execution.settings import TrainingSettings
from bench.execution.training import Training
from bench.search.job import CHOOSING, Job
from bench.search.space import load
from tests.daily import daily

pytestmark = pytest.mark.slow

ACCURACIES = ("knn_200", "knn_20", "purity_20")
RARE = 1e-6
"""How seldom guessing gives an accuracy outside the bounds, on each side."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """The saved images "with" their labels, and with labels "permuted" in the training and in the test images."""
    found = {kind: str(tmp_path_factory.mktemp(kind)) for kind in ("with", "permuted")}
    few, every = images.load("shapes", limit=192), images.load("shapes")
    generator = torch.Generator().manual_seed(0)

    def permuted(split: Split) -> Split:
        return Split.of(split.pixels, split.labels[torch.randperm(len(split.labels), generator=generator)])

    saved.save(dataclasses.replace(few, test=every.test), found["with"])
    train, test = permuted(few.train), permuted(every.test)
    saved.save(dataclasses.replace(few, train=train, test=test, fingerprint="0" * 64), found["permuted"])
    return found


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As workers train; on a busy machine also far quicker than with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def other_test_images(folders: dict[str, str], tmp_path_factory) -> str:
    """The saved images with their labels, and other test images with other labels in the place of theirs."""
    folder = str(tmp_path_factory.mktemp("other"))
    there = saved.open_saved(folders["with"])
    test = Split.of(255 - there.test.pixels, there.test.labels.flip(0))
    saved.save(dataclasses.replace(there, test=test, fingerprint="1" * 64), folder)
    return folder


@functools.cache
def trained(folder: str, method: str, stage: str = "published") -> tuple[Trainer, dict[str, float | None]]:
    """The method as a worker of a run trains it, for two epochs, and the last one's report."""
    settings = TrainingSettings("shapes", "0" * 64, 32, encoder="resnet8", device="cpu", data=folder)
    trainer = Training(settings).build(Job("t", method, stage, 1, load(method, 32).defaults, 2, (2,)))
    return trainer, [*trainer][-1].to_json()


def tensors(state: dict) -> Iterator[Tensor]:
    """Those of a trainer's state: weights, running statistics, queues, banks, momenta."""
    yield from state["method"].values()
    yield state["optimizer"]["steps"]
    yield from state["optimizer"]["momentum"] + state["optimizer"]["square"]


def same_to_the_last_bit(one: Trainer, other: Trainer) -> bool:
    pairs = zip(tensors(one.state_dict()), tensors(other.state_dict()), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def by_chance(evaluation: Evaluation | LeaveOneOut) -> tuple[float, float]:
    """Between what accuracies guessing lies."""
    count = len(evaluation.queries)
    return binom.ppf(RARE, count, 1 / evaluation.classes) / count, binom.isf(
        RARE, count, 1 / evaluation.classes
    ) / count


@pytest.mark.parametrize("stage", daily(CHOOSING, ["search"]))
@pytest.mark.parametrize("method", METHODS)
def test_no_figure_by_which_a_run_chooses_depends_on_the_test_images(
    folders: dict[str, str], other_test_images: str, method: str, stage: str
):
    trainer, report = trained(folders["with"], method, stage)
    other, same = trained(other_test_images, method, stage)
    assert same_to_the_last_bit(trainer, other)
    timed = ("seconds", "evaluation_seconds", "images_per_second")
    assert [report[name] for name in report if name not in timed] == [same[name] for name in same if name not in timed]
    assert "knn_200" in report


@pytest.mark.parametrize("stage", daily(["search", "published"], ["search"]))
@pytest.mark.parametrize("method", METHODS)
def test_no_bit_of_a_training_depends_on_labels(folders: dict[str, str], method: str, stage: str):
    trainer, report = trained(folders["with"], method, stage)
    permuted, other = trained(folders["permuted"], method, stage)
    assert torch.equal(trainer.images.packed, permuted.images.packed)
    labels, others = (saved.open_saved(folders[kind]).train.labels for kind in ("with", "permuted"))
    assert not torch.equal(labels, others)
    assert report["loss"] == other["loss"]
    assert same_to_the_last_bit(trainer, permuted)


def test_the_ceiling_is_the_one_training_that_depends_on_labels(folders: dict[str, str]):
    trainers = [trained(folders[kind], "supervised")[0] for kind in ("with", "permuted")]
    assert not same_to_the_last_bit(*trainers)


@pytest.mark.parametrize("method", [*METHODS, *BASELINES])
def test_labels_in_random_order_bring_every_accuracy_to_chance(folders: dict[str, str], method: str):
    trainer, report = trained(folders["permuted"], method)
    low, high = by_chance(trainer.evaluation)
    assert {name: report[name] for name in ACCURACIES if not low <= report[name] <= high} == {}


@pytest.mark.parametrize("method", METHODS)
def test_labels_in_random_order_are_not_told_by_the_other_training_images(folders: dict[str, str], method: str):
    """They may be told less often than by chance: an image's own label is missing among those that vote."""
    trainer, report = trained(folders["permuted"], method, "search")
    assert max(report["knn_200"], report["knn_20"]) <= by_chance(trainer.evaluation)[1]


def test_labels_in_their_order_are_told_by_the_other_training_images(folders: dict[str, str]):
    trainer, report = trained(folders["with"], "simclr", "search")
    assert report["knn_20"] > by_chance(trainer.evaluation)[1]


def test_a_training_image_with_a_vote_on_itself_is_noticed(folders: dict[str, str]):
    judge = trained(folders["permuted"], "simclr", "search")[0].evaluation
    whole = Evaluation(judge.images, judge.labels, judge.images, judge.labels, judge.classes)
    assert (
        whole(trained(folders["permuted"], "simclr", "search")[0].method.judged_encoder)["knn_20"] > by_chance(judge)[1]
    )


@pytest.mark.parametrize("method", ["pixels", "random", "simclr", "supervised"])
def test_labels_in_their_order_are_told_far_better_than_by_chance(folders: dict[str, str], method: str):
    trainer, report = trained(folders["with"], method)
    assert report["knn_20"] > by_chance(trainer.evaluation)[1]


def test_an_image_that_is_judged_by_its_own_label_is_noticed(folders: dict[str, str]):
    """What the bounds are for: judged images in the bank, with the labels that they are judged by."""
    trainer, _ = trained(folders["permuted"], "pixels")
    honest = trainer.evaluation
    leaking = Evaluation(
        ResidentImages(torch.cat([honest.bank.packed, honest.queries.packed]), honest.bank.statistics),
        torch.cat([honest.bank_labels, honest.query_labels]),
        honest.queries,
        honest.query_labels,
        honest.classes,
    )
    assert leaking(trainer.method.judged_encoder)["knn_20"] > by_chance(honest)[1]
