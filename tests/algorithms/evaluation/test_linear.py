"""The linear probe: standardised features, a strength by cross-validation, figures on test images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegressionCV

from algorithms.evaluation import linear
from algorithms.evaluation.linear import FOLDS, STRENGTHS, WITHOUT_FOLDS, fit, fit_each, folds
from tests.algorithms.evaluation.test_knn import evaluation


def clusters(count: int, *, width: int = 8, classes: int = 3, apart: float = 1.0, seed: int = 0):
    """Features [N, D] around the centres of their classes, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(7))
    return torch.randn(count, width, generator=generator) + apart * centres[labels], labels


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_chooses_as_scikit_learn_does():
    features, labels = clusters(400, width=40, apart=0.4)
    queries, _ = clusters(400, width=40, apart=0.4, seed=1)
    probe = fit(features, labels, 3)
    rows, asked = (((each - probe.mean) / probe.std).numpy() for each in (features, queries))
    split = [(np.flatnonzero(folds(labels) != fold), np.flatnonzero(folds(labels) == fold)) for fold in range(FOLDS)]
    inverse = [1 / (len(labels) * 0.8 * strength) for strength in STRENGTHS]
    theirs = LogisticRegressionCV(Cs=inverse, cv=split, scoring="neg_log_loss", max_iter=5000).fit(rows, labels.numpy())
    assert probe.strength == pytest.approx(1 / (len(labels) * 0.8 * theirs.C_[0]), rel=1e-5)
    alike = torch.from_numpy(theirs.predict(asked)) == probe.predict(queries)
    assert alike.float().mean() > 0.97


def test_the_scale_and_place_of_features_change_nothing():
    features, labels = clusters(90)
    scale, shift = torch.logspace(-0.3, 0.3, 8), torch.linspace(-5, 5, 8)
    first, moved = fit(features, labels, 3), fit(features * scale + shift, labels, 3)
    assert first.strength == moved.strength
    assert first.strength in STRENGTHS
    asked = torch.randn(200, 8)
    assert (first.predict(asked) == moved.predict(asked * scale + shift)).float().mean() > 0.98


def test_constant_features_count_for_nothing():
    features, labels = clusters(60)
    with_constant = torch.cat([features, torch.full((60, 2), 1000.1)], 1)
    first, second = fit(features, labels, 3), fit(with_constant, labels, 3)
    assert second.weight[8:].abs().max() == 0
    elsewhere = with_constant.clone()
    elsewhere[:, 8:] = -7
    assert torch.equal(first.predict(features), second.predict(elsewhere))


def test_a_feature_that_hardly_varies_in_few_images_does_not_rule_others():
    features, labels = clusters(9, width=20, apart=3.0)
    features[:, :5] = 0
    features[0, :5] = 1e-4
    queries, truth = clusters(300, width=20, apart=3.0, seed=1)
    assert (fit(features, labels, 3).predict(queries) == truth).float().mean() > 0.9


def test_features_that_are_all_alike_are_classified_by_the_commonest_label():
    labels = torch.tensor([0, 1, 1, 1, 2, 2])
    probe = fit(torch.full((6, 4), 3.7), labels, 3)
    assert probe.predict(torch.randn(5, 4)).tolist() == [1] * 5


@given(
    count=st.integers(2, 30),
    width=st.sampled_from([1, 5, 60]),
    classes=st.integers(2, 6),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1.0, 1e-30, 1e15]),
)
@settings(max_examples=30)
def test_any_labels_give_a_probe_that_predicts_only_classes_it_has_seen(count, width, classes, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    features = scale * torch.randn(count, width, generator=generator)
    labels = torch.randint(0, classes, (count,), generator=generator)
    probe = fit(features, labels, classes + 1)
    assert probe.weight.shape == (width, classes + 1)
    assert all(torch.isfinite(each).all() for each in (probe.mean, probe.std, probe.weight))
    assert set(probe.predict(torch.randn(50, width, generator=generator)).tolist()) <= set(labels.tolist())


@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=60).map(torch.tensor))
def test_folds_hold_a_share_of_each_class_and_never_the_whole(labels):
    fold = folds(labels)
    assert torch.equal(fold, folds(labels))
    for label in labels.unique():
        own = fold[labels == label]
        if len(own) == 1:
            assert own.item() == -1
            continue
        counts = torch.bincount(own, minlength=FOLDS)
        assert counts.max() - counts.min() <= 1
        assert counts.max() < len(own)


def test_features_that_no_number_can_square_are_survived():
    features = 1e37 * torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    assert fit(features, torch.arange(40) % 3, 3).predict(features).shape == (40,)


def test_where_no_class_has_two_images_the_strength_is_fixed():
    features, labels = clusters(3, apart=5.0)
    probe = fit(features, labels, 3)
    assert probe.strength == WITHOUT_FOLDS
    assert torch.equal(probe.predict(features), labels)


def test_data_sets_fitted_together_are_as_they_are_alone():
    made = [clusters(40, seed=seed) for seed in range(3)]
    features, labels = (torch.stack(each) for each in zip(*made, strict=True))
    asked = torch.randn(200, 8)
    for own, together in zip(made, fit_each(features, labels, 3), strict=True):
        alone = fit(*own, 3)
        assert together.strength == alone.strength
        assert torch.allclose(together.weight, alone.weight, atol=1e-2)
        assert (together.predict(asked) == alone.predict(asked)).float().mean() > 0.98


def test_it_draws_no_random_numbers_and_says_the_same_again():
    features, labels = clusters(50)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = fit(features, labels, 3)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(fit(features, labels, 3).weight, first.weight)


def test_figures_are_the_accuracy_the_balanced_one_each_class_s_and_the_strength():
    judge = evaluation(60, 30)
    bank, queries = clusters(60, apart=2.0)[0], clusters(30, apart=2.0, seed=1)[0]
    found = linear.figures(judge, bank, queries)
    assert found.keys() == {"linear", "linear_balanced", "linear/0", "linear/1", "linear/2", "linear_strength"}
    probe = fit(bank, judge.bank_labels, 3)
    assert found["linear"] == (probe.predict(queries) == judge.query_labels).double().mean()
    assert found["linear_strength"] == probe.strength
    assert found["linear"] > 0.8


@pytest.mark.parametrize("place", [0, 1])
def test_features_that_are_not_finite_score_nothing(place: int):
    judge = evaluation(60, 30)
    features = [torch.randn(60, 8), torch.randn(30, 8)]
    healthy = linear.figures(judge, *features)
    features[place][3, 2] = torch.nan
    assert linear.figures(judge, *features) == dict.fromkeys(healthy, 0.0)


def test_the_time_that_it_takes_is_told_before_it_is_taken():
    told = linear.seconds(64, 10_000, 1_000, 10, torch.device("cpu"))
    assert 0 < told < linear.seconds(64, 100_000, 1_000, 10, torch.device("cpu"))
