"""What can be looked at of an encoder."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from algorithms.evaluation import inspection
from algorithms.evaluation.inspection import ASKED, MOST, NEIGHBOURS, Shown, inspect
from algorithms.evaluation.knn import Evaluation
from algorithms.images.store import ResidentImages


@given(st.lists(st.integers(0, 20), min_size=1, max_size=300))
@settings(deadline=None)
def test_classes_have_their_shares_of_the_map_and_ask_alike(labels):
    labels = torch.tensor(labels)
    shown = Shown.of(labels)
    assert torch.equal(labels[shown.images], shown.labels)
    assert len(shown.images.unique()) == len(shown.images) == min(MOST, len(labels))
    assert (shown.labels.diff() >= 0).all()
    asked = shown.labels[shown.asked]
    assert len(shown.asked.unique()) == len(shown.asked) == min(ASKED, len(labels))
    there, asking = labels.bincount(minlength=21), asked.bincount(minlength=21)
    # none asks twice more often than another class that has images left to ask
    assert all(
        asking[one] <= asking[other] + 1 for one in range(21) for other in range(21) if there[other] > asking[other]
    )


def test_of_many_images_every_class_is_on_the_map_as_often_as_among_all():
    labels = torch.arange(5 * MOST) % 8
    assert (Shown.of(labels).labels.bincount() == MOST // 8).all()
    without = Shown.of(torch.full((5 * MOST,), -1))
    assert without.images.diff().min() == without.images.diff().max() == 5
    assert len(without.asked) == ASKED


@pytest.fixture(autouse=True)
def fewer(monkeypatch):
    monkeypatch.setattr(inspection, "tsne", lambda rows, iterations=0: rows[:, :2].clone())


def evaluation(count: int = 60, classes: int = 3) -> tuple[nn.Module, Evaluation]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2 * count, 3, 4, 4), dtype=torch.uint8, generator=generator)
    labels = torch.arange(2 * count) % classes
    images[torch.arange(2 * count), labels] //= 3  # so that a class can be told
    store = ResidentImages.of(images)
    bank, queries = (dataclasses.replace(store, packed=part.contiguous()) for part in store.packed.split(count))
    return nn.Flatten(), Evaluation(bank, labels[:count], queries, labels[count:], classes)


def test_neighbours_and_confusions_are_those_of_the_features():
    encoder, asked = evaluation()
    found = inspect(encoder, asked)
    from algorithms.evaluation.features import encode

    bank, queries = encode(encoder, asked.bank), encode(encoder, asked.queries)
    rows = queries[found.shown.images]
    near = rows @ rows.T
    near.fill_diagonal_(-2)
    expected = near[found.shown.asked].topk(NEIGHBOURS).values
    torch.testing.assert_close(near[found.shown.asked].gather(1, found.neighbours), expected)
    assert 0 <= found.trustworthiness <= 1
    assert found.figures == {"trustworthiness": found.trustworthiness}
    matrix = torch.zeros(3, 3, dtype=torch.int64)
    for label, taken, times in found.confusion.tolist():
        matrix[label, taken] += times
    assert torch.equal(matrix.sum(1), asked.query_labels.bincount(minlength=3))
    right = asked.figures(encoder, bank, queries)["knn_200"]
    assert matrix.diagonal().sum().item() / matrix.sum().item() == pytest.approx(right)
    again = inspect(encoder, asked, (bank * 2, queries * 3))  # as any length gives
    assert torch.equal(again.neighbours, found.neighbours)
    assert torch.equal(again.confusion, found.confusion)


def test_without_labels_there_are_neighbours_and_a_map_alone():
    encoder, asked = evaluation()
    nothing = torch.full_like(asked.query_labels, -1)
    found = inspect(encoder, Evaluation(asked.queries, nothing, asked.queries, nothing, 0))
    assert len(found.confusion) == 0
    assert found.neighbours.shape == (ASKED, NEIGHBOURS)
    assert found.map.shape == (60, 2)


def test_features_that_are_not_finite_give_nothing():
    class Broken(nn.Module):
        def forward(self, images):
            return torch.full((len(images), 4), float("nan"))

    _, asked = evaluation()
    assert inspect(Broken(), asked) is None


def test_its_time_is_a_positive_number_with_labels_and_without():
    assert inspection.seconds(8, 50, 20, 3, torch.device("cpu")) > 0


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_images_have_as_many_neighbours_as_there_are(count):
    encoder, asked = evaluation(count, 1)
    assert inspect(encoder, asked).neighbours.shape == (min(ASKED, count), min(NEIGHBOURS, count - 1))
