"""The solver of logistic regressions against scikit-learn's."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression as Reference

from algorithms.evaluation import logistic
from algorithms.evaluation.logistic import LogisticRegression, axes


def problem(seed: int, count: int, width: int, classes: int, fall: float, separation: float):
    """Standardised features whose variances fall by `fall` decades from the first axis to the last, and labels that are
    the easier to tell the greater the `separation`; each class is there."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), generator.integers(0, classes, count - classes)])
    features = generator.normal(size=(count, width)) + separation * generator.normal(size=(classes, width))[labels]
    mix = np.linalg.qr(generator.normal(size=(width, width)))[0]
    features = features * 10.0 ** -np.linspace(0, fall / 2, width) @ mix
    features = (features - features.mean(0)) / features.std(0).clip(1e-12)
    return features.astype(np.float32), labels


def objective(features, labels, weight, bias, strength) -> float:
    logits = features.astype(np.float64) @ weight + bias
    logits -= logits.max(1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -logs[np.arange(len(labels)), labels].mean() + strength / 2 * (weight**2).sum()


def reference(features, labels, strength):
    """Weights [D, K] and biases [K]. Scikit-learn has one logit of two classes: two opposite ones of half its size have
    half the penalty, and so are its problem at twice the strength."""
    two = labels.max() == 1
    inverse = (1 + two) / (len(labels) * strength)
    made = Reference(C=inverse, tol=1e-10, max_iter=20_000).fit(features.astype(np.float64), labels)
    weight, bias = made.coef_.T, made.intercept_
    return (np.hstack([-weight, weight]) / 2, np.hstack([-bias, bias]) / 2) if two else (weight, bias)


def solve(features, labels, strength, classes):
    rows, basis = axes(torch.from_numpy(features)[None])
    regression = LogisticRegression(rows, torch.from_numpy(labels)[None], classes)
    shares = torch.full((1, 1, len(labels)), 1 / len(labels))
    found = regression.minimise(regression.start(1), shares, torch.full((1, 1), strength), tolerance=1e-9, most=5000)[
        0, 0
    ]
    return (basis[0] @ found[:, :-1].T).double().numpy(), found[:, -1].double().numpy()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(10, 300),
    width=st.sampled_from([1, 3, 16, 64, 200]),
    classes=st.integers(2, 8),
    fall=st.sampled_from([0.0, 3.0, 6.0, 10.0]),
    separation=st.sampled_from([0.0, 0.3, 3.0]),
    strength=st.sampled_from([10.0, 0.1, 1e-3, 1e-5, 1e-6]),
)
@example(seed=0, count=10, width=16, classes=2, fall=10.0, separation=0.3, strength=1e-5)  # flat and separable
@example(seed=10, count=10, width=3, classes=5, fall=10.0, separation=3.0, strength=1e-6)  # in 1,000 to 5,000 steps
def test_its_optimum_is_scikit_learn_s(seed, count, width, classes, fall, separation, strength):
    features, labels = problem(seed, count, width, classes, fall, separation)
    ours = objective(features, labels, *solve(features, labels, strength, classes), strength)
    theirs = objective(features, labels, *reference(features, labels, strength), strength)
    assert ours <= theirs + 1e-4


@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=40)
def test_axes_are_orthogonal_and_lose_nothing(seed, count, width):
    features = torch.randn(2, count, width, generator=torch.Generator().manual_seed(seed))
    features[1] *= 0 if seed % 3 == 0 else 1
    features[0, :, 0] = features[0, :, -1]
    rows, basis = axes(features)
    assert rows.shape[2] <= min(count, width)
    assert torch.allclose(rows @ basis.mT, features, atol=1e-4)
    gram = rows.mT @ rows
    off = gram - torch.diag_embed(gram.diagonal(dim1=1, dim2=2))
    assert off.abs().max() < 1e-3


def test_problems_solved_together_have_the_optima_that_they_have_alone(monkeypatch):
    made = [problem(seed, 60, 5, 3, 2.0, 1.0) for seed in range(3)]
    features, labels = (torch.from_numpy(np.stack(each)) for each in zip(*made, strict=True))
    strengths = torch.tensor([[0.1], [1e-3], [1e-2]])
    rows, basis = axes(features)
    regression = LogisticRegression(rows, labels, 3)
    shares = torch.full((3, 1, 60), 1 / 60)
    monkeypatch.setattr(logistic, "LOGITS", 100)  # in parts
    found = regression.minimise(regression.start(1), shares, strengths, tolerance=1e-9, most=1000)
    for place in range(3):
        weight, bias = solve(*made[place], strengths[place, 0].item(), 3)
        together = (basis[place] @ found[place, 0, :, :-1].T).double().numpy()
        of_both = [
            objective(*made[place], *each, strengths[place, 0].item())
            for each in ((weight, bias), (together, found[place, 0, :, -1].double().numpy()))
        ]
        assert of_both[0] == pytest.approx(of_both[1], abs=1e-6)


def test_the_share_of_a_row_is_what_it_counts():
    features, labels = problem(0, 40, 4, 3, 0.0, 1.0)
    rows, _ = axes(torch.from_numpy(features)[None])
    regression = LogisticRegression(rows, torch.from_numpy(labels)[None], 3)
    shares = torch.zeros(1, 2, 40)
    shares[0, 0, :20] = 1 / 20
    shares[0, 1] = 1 / 40
    strengths = torch.full((1, 2), 0.01)
    together = regression.minimise(regression.start(2), shares, strengths, tolerance=1e-8, most=1000)
    for way in range(2):
        alone = regression.minimise(
            regression.start(1), shares[:, way : way + 1], strengths[:, :1], tolerance=1e-8, most=1000
        )
        assert torch.allclose(together[:, way], alone[:, 0], atol=5e-3)
