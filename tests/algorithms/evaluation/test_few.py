"""Few labels: the draws of them, and what neighbours and probes make of those."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from algorithms.evaluation import few
from algorithms.evaluation.few import DRAWS, draws
from algorithms.evaluation.knn import PROTOCOLS, Evaluation, knn_predict
from algorithms.evaluation.linear import fit
from algorithms.evaluation.metrics import FEW_KNN, FEW_LINEAR, NUMBERS, part
from tests.algorithms.evaluation.test_knn import evaluation
from tests.algorithms.evaluation.test_linear import clusters

labels_of = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(torch.tensor)


@given(labels=labels_of, number=st.sampled_from(["1", "5", "20", "100"]))
def test_a_number_a_class_is_exactly_that_of_each_class_or_no_draw(labels, number):
    there, count = labels.unique(return_counts=True)
    found = draws(labels, number)
    assert len(found) == (DRAWS if count.min() >= int(number) else 0)
    for each in found:
        assert torch.equal(each, each.unique())  # rising, none twice
        assert torch.equal(labels[each].sort()[0], there.repeat_interleave(int(number)))


@given(labels=labels_of, number=st.sampled_from(["1_percent", "10_percent"]))
def test_a_share_is_that_of_each_class_and_at_least_one(labels, number):
    there, count = labels.unique(return_counts=True)
    share = int(number.split("_")[0]) / 100
    for each in draws(labels, number):
        assert torch.equal(each, each.unique())
        own = torch.bincount(labels[each])[there]
        assert (own >= 1).all()
        assert ((own - count * share).abs() <= 0.5 + 1e-6).logical_or(own == 1).all()


def test_all_labels_are_one_draw():
    assert [each.tolist() for each in draws(torch.tensor([2, 0, 2]), "all")] == [[0, 1, 2]]


def test_draws_differ_are_the_same_again_and_hold_those_of_fewer_labels():
    labels = torch.arange(120) % 3
    fewer, more = draws(labels, "5"), draws(labels, "20")
    assert len({tuple(each.tolist()) for each in fewer}) == DRAWS
    assert all(torch.equal(*both) for both in zip(fewer, draws(labels, "5"), strict=True))
    assert all(torch.isin(*both).all() for both in zip(fewer, more, strict=True))


def judged() -> tuple[Evaluation, torch.Tensor, torch.Tensor]:
    return evaluation(60, 30), clusters(60, apart=1.0)[0], clusters(30, apart=1.0, seed=1)[0]


def test_figures_are_means_over_draws_balanced_and_of_each_draw():
    judge, bank, queries = judged()
    found = few.figures(judge, bank, queries)
    there = [number for number in NUMBERS if number != "100"]
    names = {
        name
        for family in (FEW_KNN, FEW_LINEAR)
        for number in there
        for name in (
            family[number].name,
            family[number].balanced.name,
            *(part(family[number].name, draw) for draw in range(1 if number == "all" else DRAWS)),
        )
    }
    assert found.keys() == names
    for name in ("few_knn_5", "few_linear_5"):
        assert found[name] == pytest.approx(sum(found[f"{name}/{draw}"] for draw in range(DRAWS)) / DRAWS)
    assert found["few_linear_1"] < found["few_linear_20"]


def test_each_draw_is_judged_as_its_rows_would_be_alone(monkeypatch):
    judge, bank, queries = judged()
    monkeypatch.setattr(few, "TOGETHER", 3 * 15 * 8)  # not all draws fit at once
    found = few.figures(judge, bank, queries)
    for draw, rows in enumerate(draws(judge.bank_labels, "5")):
        labels = judge.bank_labels[rows]
        probe = fit(bank[rows], labels, 3)
        right = (probe.predict(queries) == judge.query_labels).double().mean()
        assert found[f"few_linear_5/{draw}"] == pytest.approx(right.item(), abs=0.04)
        near, asked = F.normalize(bank[rows], dim=1), F.normalize(queries, dim=1)
        (voted,) = knn_predict(asked, near, labels, 3, [(5, PROTOCOLS[1][1])])
        assert found[f"few_knn_5/{draw}"] == pytest.approx((voted == judge.query_labels).double().mean().item())


def test_with_all_labels_neighbours_are_those_of_knn_20():
    judge, bank, queries = judged()
    expected = judge.figures(torch.nn.Identity(), F.normalize(bank, dim=1), F.normalize(queries, dim=1))
    assert few.figures(judge, bank, queries)["few_knn_all"] == expected["knn_20"]


@pytest.mark.parametrize("place", [0, 1])
def test_features_that_are_not_finite_score_nothing(place: int):
    judge, *features = judged()
    healthy = few.figures(judge, *features)
    features[place][3, 2] = torch.inf
    assert few.figures(judge, *features) == dict.fromkeys(healthy, 0.0)


def test_the_time_that_it_takes_is_told_before_it_is_taken():
    told = few.seconds(64, 10_000, 1_000, 10, torch.device("cpu"))
    assert 0 < told < few.seconds(64, 100_000, 1_000, 10, torch.device("cpu"))
