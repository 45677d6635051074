"""What judges on images that were held out where none has a label."""

import dataclasses

import pytest
import torch
from torch import nn

from algorithms.baselines import Pixels
from algorithms.evaluation import held_out
from algorithms.evaluation.criteria import criteria
from algorithms.evaluation.features import encode, raw_features
from algorithms.evaluation.held_out import HeldOut
from algorithms.evaluation.metrics import CRITERIA
from algorithms.images.store import ResidentImages
from tests.algorithms.evaluation.test_knn import images, judged


def held(count: int = 60) -> HeldOut:
    return HeldOut(ResidentImages.of(images(count)))


def test_all_criteria_are_told_of_the_images_themselves_and_nothing_that_wants_a_label():
    method, judge = judged(), held()
    found = judge(method.judged_encoder)
    assert found.keys() == {metric.name for metric in CRITERIA}
    rows = encode(method.judged_encoder, judge.images)
    assert found["feature_std"] == pytest.approx(rows.std(0, correction=0).norm().item(), rel=1e-4)
    whole = criteria(method.judged_encoder, judge.images, raw_features(method.judged_encoder, judge.images))
    assert {name: found[name] for name in whole} == whole


def test_of_many_images_some_at_even_distances_are_looked_at(monkeypatch):
    monkeypatch.setattr(held_out, "SEEN", 12)
    judge = held(48)
    assert judge.encoded.tolist() == [*range(0, 48, 4)]
    assert judge.sizes == (12,)
    some = HeldOut(dataclasses.replace(judge.images, packed=judge.images.packed[::4]))
    encoder = Pixels.build_encoder("", 8)
    assert judge(encoder) == some(encoder)


def test_judging_changes_nothing_and_draws_nothing():
    method, judge = judged(), held()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = judge(method.judged_encoder)
    assert torch.equal(torch.rand(3), expected)
    assert judge(method.judged_encoder) == first
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_features_that_are_not_finite_score_nothing():
    method = judged()
    nn.init.constant_(method.encoder[0].weight, float("nan"))
    assert held()(method.judged_encoder) == {"instance_accuracy": 0.0, "feature_std": 0.0}


def test_a_representation_that_is_one_point_has_no_spread():
    method, judge = judged(), held()
    healthy = judge(method.judged_encoder)["feature_std"]
    nn.init.zeros_(method.encoder[1].weight)
    nn.init.ones_(method.encoder[1].bias)
    assert judge(method.judged_encoder)["feature_std"] < 1e-4 < healthy


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_images_are_judged_and_no_collapse_is_seen_in_their_likeness(count: int):
    found = held(count)(judged().judged_encoder)
    assert "feature_std" not in found
    assert 0 <= found["instance_accuracy"] <= 1
