"""The evaluation protocol against slow transcriptions of it."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from algorithms.baselines import Pixels
from algorithms.evaluation import choosing, knn
from algorithms.evaluation.features import encode, raw_features
from algorithms.evaluation.knn import Evaluation, LeaveOneOut, knn_predict, purity
from algorithms.images.statistics import IMAGENET
from algorithms.images.store import ResidentImages
from algorithms.method import Method, Setting


def vote(query, bank, labels, classes, k, temperature) -> list[float]:
    """Wu 2018, section 3.4, one query, plain Python."""
    similarity = [
        (sum(a * b for a, b in zip(query, row, strict=True)), label) for row, label in zip(bank, labels, strict=True)
    ]
    votes = [0.0] * classes
    for value, label in sorted(similarity, reverse=True)[:k]:
        votes[label] += math.exp(value / temperature)
    return votes


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), rows=st.integers(3, 60), k=st.integers(1, 80))
def test_predictions_are_the_weighted_vote_of_the_k_nearest(seed: int, rows: int, k: int):
    generator = torch.Generator().manual_seed(seed)
    bank = F.normalize(torch.randn(rows, 6, generator=generator, dtype=torch.float64), dim=1)
    queries = F.normalize(torch.randn(9, 6, generator=generator, dtype=torch.float64), dim=1)
    labels = torch.randint(0, 4, (rows,), generator=generator)
    (found,) = knn_predict(queries.float(), bank.float(), labels, 4, [(k, 0.1)])
    for query, prediction in zip(queries.tolist(), found.tolist(), strict=True):
        votes = vote(query, bank.tolist(), labels.tolist(), 4, k, 0.1)
        assert votes[prediction] == pytest.approx(max(votes), rel=1e-4)


def test_all_protocols_of_one_call_agree_with_calls_of_their_own():
    bank, queries = F.normalize(torch.randn(300, 8), dim=1), F.normalize(torch.randn(50, 8), dim=1)
    labels = torch.randint(0, 5, (300,))
    together = knn_predict(queries, bank, labels, 5, [(200, 0.1), (20, 0.07)])
    for protocol, found in zip([(200, 0.1), (20, 0.07)], together, strict=True):
        assert torch.equal(found, knn_predict(queries, bank, labels, 5, [protocol])[0])


def test_purity_is_the_share_of_same_label_neighbours_without_the_image_itself():
    features = F.normalize(torch.randn(40, 5), dim=1)
    labels = torch.randint(0, 3, (40,))
    shares = []
    for i in range(40):
        others = sorted((j for j in range(40) if j != i), key=lambda j: -(features[i] @ features[j]).item())[:20]
        shares.append(sum(labels[j] == labels[i] for j in others).item() / 20)
    assert purity(features, labels) == pytest.approx(sum(shares) / 40, abs=1e-6)


def test_purity_cannot_be_measured_on_a_single_image():
    assert purity(torch.ones(1, 1), torch.zeros(1, dtype=torch.long)) is None


@given(bank=st.integers(1, 40), queries=st.integers(1, 5), k=st.integers(1, 300), width=st.sampled_from([1, 300]))
@settings(max_examples=40)
def test_a_bank_of_any_size_has_neighbours(bank: int, queries: int, k: int, width: int):
    rows, asked = F.normalize(torch.randn(bank, width), dim=1), F.normalize(torch.randn(queries, width), dim=1)
    labels = torch.arange(bank) % 3
    (found,) = knn_predict(asked, rows, labels, 3, [(k, 0.1)])
    assert found.shape == (queries,)
    assert set(found.tolist()) <= set(labels.tolist())
    share = purity(rows, labels, k)
    assert share is None if bank == 1 else 0 <= share <= 1


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8)


def evaluation(bank: int = 60, queries: int = 30) -> Evaluation:
    stores = (ResidentImages.of(images(count)) for count in (bank, queries))
    return Evaluation(next(stores), torch.arange(bank) % 3, next(stores), torch.arange(queries) % 3, 3)


class Judged(Method):
    """A small network with batch norm."""

    @classmethod
    def build_encoder(cls, name, image_size, channels=3):
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        network.width = 4
        return network


def judged() -> Judged:
    return Judged(Setting(60, 8, 4, 1), Judged.build_encoder("", 8)).train()


def test_evaluation_runs_in_eval_mode_changes_no_statistics_and_restores_the_mode():
    method = judged()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    evaluation()(method.judged_encoder)
    assert method.training
    assert method.encoder[1].training
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_evaluation_draws_no_random_numbers():
    method, judge = judged(), evaluation()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    judge(method.judged_encoder)
    assert torch.equal(torch.rand(3), expected)


def test_a_representation_that_is_one_point_has_no_spread_and_a_healthy_one_has():
    method = judged()
    healthy = evaluation()(method.judged_encoder)["feature_std"]
    nn.init.zeros_(method.encoder[1].weight)
    nn.init.ones_(method.encoder[1].bias)
    assert evaluation()(method.judged_encoder)["feature_std"] < 1e-4 < healthy


@pytest.mark.parametrize("queries", [1, 2, 3])
def test_few_queries_are_judged_and_no_collapse_is_seen_in_their_likeness(queries: int):
    method = judged()
    whole = evaluation()
    alone = ResidentImages(whole.bank.packed[:1].repeat(queries, 1, 1, 1), whole.bank.statistics)
    alike = Evaluation(whole.bank, whole.bank_labels, alone, torch.zeros(queries, dtype=torch.long), 3)
    found = alike(method.encoder)
    assert ("purity_20" not in found) == (queries == 1)
    assert "knn_200" in found
    expected = torch.cat([encode(method.encoder, alike.queries), encode(method.encoder, alike.bank)])
    assert found["feature_std"] == pytest.approx(expected.std(0, correction=0).norm().item(), rel=1e-4)
    nn.init.zeros_(method.encoder[1].weight)
    nn.init.ones_(method.encoder[1].bias)
    assert alike(method.encoder)["feature_std"] < 1e-4  # a collapse is seen all the same


def test_features_that_are_not_finite_score_nothing():
    method = judged()
    nn.init.constant_(method.encoder[0].weight, float("nan"))
    assert set(evaluation()(method.judged_encoder).values()) == {0.0}


# ---- leave-one-out ----


def leave_one_out(labels: torch.Tensor, queries: list[int] | None = None, pixels: torch.Tensor | None = None):
    """Among images of these labels, of which these of the labelled ones ask; all, unless it is told."""
    asking = range(int((labels >= 0).sum())) if queries is None else queries
    stored = ResidentImages.of(images(len(labels)) if pixels is None else pixels, statistics=IMAGENET)
    return LeaveOneOut(stored, labels, max(1, int(labels.max()) + 1), torch.tensor([*asking], dtype=torch.long))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(-1, 3), min_size=4, max_size=40).filter(lambda of: sum(each >= 0 for each in of) > 1),
    st.data(),
)
def test_leave_one_out_is_the_vote_of_all_other_labelled_images(given_labels: list[int], data: st.DataObject):
    labels = torch.tensor(given_labels)
    labelled = [place for place, label in enumerate(given_labels) if label >= 0]
    queries = data.draw(st.lists(st.sampled_from(range(len(labelled))), min_size=1, unique=True))
    torch.manual_seed(len(given_labels))
    judge, encoder = leave_one_out(labels, queries), Judged.build_encoder("", 8)
    found = judge(encoder)
    rows = encode(encoder, judge.images).double().tolist()
    for name, k, temperature in (("knn_200", 200, 0.1), ("knn_20", 20, 0.07)):
        right, ties = 0, 0
        for asks in (labelled[query] for query in queries):
            others = [place for place in labelled if place != asks]
            bank, known = [rows[place] for place in others], [given_labels[place] for place in others]
            votes = vote(rows[asks], bank, known, judge.classes, k, temperature)
            own, best = votes[given_labels[asks]], max(votes)
            close = sum(value > 0.999 * best for value in votes) > 1  # which of two the rounding decides
            ties += close
            right += own == best and not close
        assert right <= round(found[name] * len(queries)) <= right + ties
    assert found["feature_std"] == pytest.approx(
        encode(encoder, judge.images).std(0, correction=0).norm().item(), rel=1e-4
    )


def test_no_image_has_a_vote_on_itself_and_a_copy_of_it_has_one():
    pixels = images(3)
    alone = leave_one_out(torch.tensor([0, 1, 2]), pixels=pixels)(Pixels.build_encoder("", 8))
    assert alone["knn_200"] == alone["knn_20"] == 0.0
    twice = leave_one_out(torch.tensor([0, 1, 2, 0, 1, 2]), pixels=pixels.repeat(2, 1, 1, 1))
    assert twice(Pixels.build_encoder("", 8))["knn_200"] == 1.0
    deceived = leave_one_out(torch.tensor([0, 1, 2, 1, 2, 0]), pixels=pixels.repeat(2, 1, 1, 1))
    assert deceived(Pixels.build_encoder("", 8))["knn_200"] == 0.0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 5)), min_size=2, max_size=30), st.data())
def test_no_image_has_a_vote_on_another_one_of_its_group(of: list[tuple[int, int]], data: st.DataObject):
    """As if each had a leave-one-out without its group, beside itself alone."""
    of = [(0, 6), (1, 7), *of]  # at least two groups, so that each image is judged by some
    labels, groups = torch.tensor([label for label, _ in of]), torch.tensor([group for _, group in of])
    labelled = (labels >= 0).nonzero()[:, 0]
    queries = torch.tensor(data.draw(st.lists(st.sampled_from(range(len(labelled))), min_size=1, unique=True)))
    torch.manual_seed(len(of))
    judge, encoder = leave_one_out(labels, queries.tolist()), Judged.build_encoder("", 8)
    found = dataclasses.replace(judge, groups=groups)(encoder)
    right = {"knn_200": 0.0, "knn_20": 0.0}
    for place in labelled[queries].tolist():
        others = labelled[groups[labelled] != groups[place]]
        bank = ResidentImages(judge.images.packed[others], IMAGENET)
        asks = ResidentImages(judge.images.packed[[place]], IMAGENET)
        alone = Evaluation(bank, labels[others], asks, labels[[place]], judge.classes)(encoder)
        for name in right:
            right[name] += alone[name] / len(queries)
    for name, accuracy in right.items():
        assert found[name] == pytest.approx(accuracy, abs=1e-5), name


def test_each_image_in_a_group_of_its_own_is_judged_as_without_groups_to_the_last_bit():
    labels, encoder = torch.arange(50) % 3, Judged.build_encoder("", 8)
    judge = leave_one_out(labels)
    assert dataclasses.replace(judge, groups=torch.arange(50).flip(0))(encoder) == judge(encoder)


def test_where_all_images_are_of_one_group_none_is_told():
    judge = leave_one_out(torch.tensor([0, 0, 0, 1]))
    found = dataclasses.replace(judge, groups=torch.full((4,), 9))(Judged.build_encoder("", 8))
    assert found["knn_200"] == found["knn_20"] == 0.0


def test_a_copy_in_the_same_group_has_no_vote():
    torch.manual_seed(0)
    pixels = images(4).repeat(2, 1, 1, 1)
    judge = leave_one_out(torch.tensor([0, 1, 0, 1] * 2), pixels=pixels)
    assert judge(Pixels.build_encoder("", 8))["knn_20"] == 1.0
    # Of each label one other picture is left, and two of the other label, of which all are as near to any.
    grouped = dataclasses.replace(judge, groups=torch.arange(4).repeat(2))
    assert grouped(Pixels.build_encoder("", 8))["knn_20"] < 1.0


def test_images_without_a_label_neither_vote_nor_ask_and_the_criteria_see_them():
    pixels, labels = images(30), torch.arange(30) % 3
    encoder = Judged.build_encoder("", 8)
    whole = leave_one_out(labels, pixels=pixels)(encoder)
    strangers = images(20)
    places = torch.randperm(50)  # among the others, not behind them
    mixed = torch.cat([labels, torch.full((20,), -1)])[places]
    judge = leave_one_out(mixed, pixels=torch.cat([pixels, strangers])[places])
    found = judge(encoder)
    assert (found["knn_200"], found["knn_20"]) == (whole["knn_200"], whole["knn_20"])
    assert found["rankme"] == pytest.approx(
        knn.criteria(encoder, judge.images, raw_features(encoder, judge.images))["rankme"]
    )
    assert found["rankme"] != whole["rankme"]


def test_of_many_images_without_a_label_no_more_are_encoded_than_the_criteria_want(monkeypatch):
    monkeypatch.setattr(knn, "SEEN", 12)
    labels = torch.full((200,), -1)
    labels[[3, 90, 150, 199]] = torch.tensor([0, 1, 0, 1])
    judge = leave_one_out(labels)
    assert judge.encoded[:4].tolist() == [3, 90, 150, 199]
    assert judge.sizes == (12,)
    assert len(set(judge.encoded.tolist())) == 12
    assert judge.encoded[4:].min() < 20 < 180 < judge.encoded[4:].max() + 20
    monkeypatch.setattr(knn, "SEEN", 3)
    assert leave_one_out(labels).sizes == (4,), "all that have labels vote"


def test_leave_one_out_changes_nothing_draws_nothing_and_sees_what_is_not_finite():
    method, judge = judged(), leave_one_out(torch.arange(60) % 3)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    judge(method.judged_encoder)
    assert torch.equal(torch.rand(3), expected)
    assert method.training
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    nn.init.constant_(method.encoder[0].weight, float("nan"))
    assert judge(method.judged_encoder) == {"knn_200": 0.0, "knn_20": 0.0, "feature_std": 0.0, "judged": 0.0}


def test_few_labels_are_judged_together_with_how_well_views_find_their_image():
    labels = torch.full((60,), -1)
    labels[:16] = torch.arange(16) % 3
    found = leave_one_out(labels)(judged().judged_encoder)
    assert found["judged"] == pytest.approx((4 * found["knn_200"] + 40 * found["instance_accuracy"]) / 44)


def test_without_labels_the_views_alone_judge():
    found = leave_one_out(torch.full((60,), -1))(judged().judged_encoder)
    assert found["judged"] == found["instance_accuracy"]
    assert "knn_200" not in found
    assert "rankme" in found
    method = judged()
    nn.init.constant_(method.encoder[0].weight, float("nan"))
    nothing = leave_one_out(torch.full((60,), -1))(method.judged_encoder)
    assert nothing == {"feature_std": 0.0, "judged": 0.0}, "not even a kNN of nothing"


def test_enough_labels_judge_alone(monkeypatch):
    monkeypatch.setattr(choosing, "ENOUGH", 60)
    assert "judged" not in leave_one_out(torch.arange(60) % 3)(judged().judged_encoder)


def test_a_representation_that_is_one_point_has_no_spread_among_the_training_images_either():
    method, judge = judged(), leave_one_out(torch.arange(60) % 3)
    healthy = judge(method.judged_encoder)["feature_std"]
    nn.init.zeros_(method.encoder[1].weight)
    nn.init.ones_(method.encoder[1].bias)
    assert judge(method.judged_encoder)["feature_std"] < 1e-4 < healthy


def test_an_image_of_the_bank_is_found_by_its_own_pixels():
    pixels, labels = ResidentImages.of(images(50)), torch.randint(0, 5, (50,))
    scores = Evaluation(pixels, labels, pixels, labels, 5)(Pixels.build_encoder("", 8))
    assert scores["knn_20"] > 0.9
