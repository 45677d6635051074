"""Expected improvement by a Gaussian process."""

import numpy as np
import pytest
from scipy import stats

from bench.search.gaussian_process import _log_improvement, expected_improvement

NOBODY = np.empty((0, 2))


def rng():
    return np.random.default_rng(0)


def test_the_logarithm_of_the_improvement_is_that_of_its_definition_and_goes_on_where_that_is_lost():
    z = np.linspace(-4.9, 5, 200)
    assert _log_improvement(z) == pytest.approx(np.log(stats.norm.pdf(z) + z * stats.norm.cdf(z)))
    far = _log_improvement(np.array([-1e3, -20.0, -5.1, -5.0, -4.9]))
    assert np.isfinite(far).all()
    assert (np.diff(far) > 0).all()
    assert far[2] == pytest.approx(far[4], abs=1.5)


def test_most_is_expected_where_scores_rise_and_least_where_a_poor_one_is():
    points = np.array([[x, 0.5] for x in (0.0, 0.2, 0.4, 0.6)])
    scores = np.array([-1.0, -0.3, 0.3, 1.0])
    candidates = np.array([[0.0, 0.5], [0.3, 0.5], [0.8, 0.5]])
    found = expected_improvement(rng(), points, scores, NOBODY, candidates, [])
    assert list(np.argsort(found)) == [0, 1, 2]


def test_where_a_trial_runs_less_is_expected():
    points, scores = np.array([[0.2, 0.2], [0.8, 0.2]]), np.array([0.6, -0.6])
    candidates = np.array([[0.1, 0.7]])
    alone = expected_improvement(rng(), points, scores, NOBODY, candidates, [])
    beside = expected_improvement(rng(), points, scores, candidates, candidates, [])
    assert beside[0] < alone[0]


def test_a_choice_tells_of_its_other_trials_alone():
    points = np.array([[0.2, 0.0], [0.4, 0.0], [0.2, 2.0], [0.4, 2.0]])
    scores = np.array([1.0, 1.1, -1.0, -1.1])
    candidates = np.array([[0.3, 0.0], [0.3, 1.0], [0.3, 2.0]])
    found = expected_improvement(rng(), points, scores, NOBODY, candidates, [1])
    assert found[2] < found[0]
    swapped = expected_improvement(rng(), points, scores, NOBODY, candidates[[0, 2, 1]], [1])
    assert swapped == pytest.approx(found[[0, 2, 1]])


@pytest.mark.parametrize("scores", [[0.0, 0.0, 0.0], [1.0, -1.0, 0.0]])
def test_equal_points_and_equal_scores_are_no_trouble(scores):
    points = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    found = expected_improvement(
        rng(), points, np.array(scores), points[:1], np.random.default_rng(1).random((9, 2)), []
    )
    assert np.isfinite(found).all()
