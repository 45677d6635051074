"""Encoders that are trained on with labels, and networks that have only those."""

import pytest
import torch
from torch import nn

from algorithms.evaluation import classifier, few, finetune
from algorithms.evaluation.classifier import fixed
from algorithms.evaluation.few import DRAWS, draws
from algorithms.evaluation.knn import Evaluation
from tests.algorithms.evaluation.test_classifier import network, stripes

QUICK = (fixed(3e-2, 0.3, 40), fixed(1e-7, 1.0, 2))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name in ("FINE_TUNING", "FROM_SCRATCH"):
        monkeypatch.setattr(finetune, name, QUICK)
    monkeypatch.setattr(few, "FROM_SCRATCH", QUICK)


def judge(count: int = 90) -> Evaluation:
    images, labels = stripes(count)
    return Evaluation(images, labels, images, labels, 3)


def names(metric: str, *parts: object) -> set[str]:
    return {metric, f"{metric}_balanced", *(f"{metric}/{each}" for each in parts)}


@pytest.mark.slow
def test_figures_are_the_accuracies_with_a_tenth_and_with_all_labels():
    found = finetune.figures(network(), judge(), 0)
    assert found.keys() == names("finetune_10_percent", 0, 1, 2) | names("finetune_all", 0, 1, 2)
    assert found["finetune_all"] > 0.8
    assert found == finetune.figures(network(), judge(), 0)


def test_the_schedule_is_the_one_that_is_best_on_labels_that_were_held_out(monkeypatch):
    trained = []

    def noted(encoder, images, places, labels, classes, schedule, **settings):
        trained.append((schedule, set(places.tolist())))
        return trains(encoder, images, places, labels, classes, schedule, **settings)

    trains = classifier.train
    for module in (classifier, finetune):
        monkeypatch.setattr(module, "train", noted)
    for order in (QUICK, QUICK[::-1]):
        monkeypatch.setattr(finetune, "FINE_TUNING", order)
        trained.clear()
        finetune.figures(network(), judge(), 0)
        (first, held), (second, same), (chosen, all_labels) = trained[-3:]
        assert (first, second, chosen) == (*order, QUICK[0])
        assert held == same < all_labels == set(range(90))
        assert len(held) == 72


def test_where_no_label_can_be_held_out_the_first_schedule_is_taken(monkeypatch):
    trained = []
    monkeypatch.setattr(
        finetune, "train", lambda *given, **_: trained.append(given[5]) or classifier.Classifier(network(), 8, 3)
    )
    images, _ = stripes(3)
    labels = torch.tensor([0, 1, 2])
    finetune.figures(network(), Evaluation(images, labels, images, labels, 3), 0)
    assert trained == [QUICK[0]] * 2


@pytest.mark.slow
def test_scratch_trains_once_for_each_draw_and_for_all_labels_never(monkeypatch):
    evaluation, trained, chosen = judge(150), [], []

    def noted(*given, seed, **settings):
        trained.append((seed, given[2].tolist()))
        return classifier.train(*given, seed=seed, **settings)

    monkeypatch.setattr(few, "train", noted)
    monkeypatch.setattr(few, "choose", lambda *given, **_: chosen.append(given[2].tolist()) or QUICK[0])
    found = few.scratch(network(), evaluation, 7)
    parts = range(DRAWS)
    there = ("1", "5", "20", "1_percent", "10_percent")
    assert found.keys() == set().union(*(names(f"few_scratch_{number}", *parts) for number in there))
    assert trained[:DRAWS] == [
        (7 + draw, places.tolist()) for draw, places in enumerate(draws(evaluation.bank_labels, "1"))
    ]
    assert chosen == [draws(evaluation.bank_labels, "20")[0].tolist()]
    assert len(trained) == 3 * DRAWS  # of 150, 1 % are 1 a class, and 10 % 5 a class
    assert found["few_scratch_1_percent"] == found["few_scratch_1"]


@pytest.mark.parametrize("measure", [finetune.figures, few.scratch])
def test_an_encoder_that_is_not_finite_scores_nothing(measure):
    encoder = network()
    nn.init.constant_(encoder[0].weight, float("nan"))
    found = measure(encoder, judge(12), 0)
    assert found
    assert set(found.values()) == {0.0}


def test_the_time_that_they_take_is_told_before_it_is_taken():
    assert finetune.seconds(network(), judge(30)) > 0
    assert few.scratch_seconds(network(), judge(30)) > 0
