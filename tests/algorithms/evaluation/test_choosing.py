"""By what a search chooses where labels are few."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.evaluation.choosing import ENOUGH, judged

shares = st.floats(0, 1)


@given(knn=shares, instance=shares, labelled=st.integers(0, ENOUGH - 1))
def test_the_figure_is_a_share_between_both_and_labels_count_the_more_the_more_there_are(knn, instance, labelled):
    (found,) = judged({"knn_200": knn, "instance_accuracy": instance}, labelled).values()
    assert min(knn, instance) - 1e-9 <= found <= max(knn, instance) + 1e-9
    (more,) = judged({"knn_200": knn, "instance_accuracy": instance}, labelled + 1).values() or (knn,)
    assert abs(more - knn) <= abs(found - knn) + 1e-9


@given(instance=shares)
def test_without_labels_it_is_the_instance_accuracy(instance: float):
    assert judged({"instance_accuracy": instance}, 0) == {"judged": pytest.approx(instance)}


def test_enough_labels_need_no_other_figure():
    assert judged({"knn_200": 0.5, "instance_accuracy": 0.2}, ENOUGH) == {}


def test_an_encoder_whose_views_could_not_be_looked_at_is_the_worst():
    assert judged({"knn_200": 0.5}, 10) == {"judged": 0.0}
    assert not math.isnan(judged({}, 0)["judged"])
