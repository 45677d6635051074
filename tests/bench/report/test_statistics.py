"""Intervals and the probability of rank 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtr

from bench.report.statistics import Estimate, probability_of_rank_1

T_TABLE = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 9: 2.2622, 10: 2.2281, 30: 2.0423, 120: 1.9799}


@pytest.mark.parametrize("degrees", T_TABLE)
def test_intervals_are_those_of_printed_tables(degrees):
    values = [0.0, *[1.0] * degrees]
    half_width = T_TABLE[degrees] * np.std(values, ddof=1) / np.sqrt(len(values))
    assert Estimate(dict(enumerate(values))).half_width == pytest.approx(half_width, rel=5e-5)


def test_interval_covers_the_true_mean_95_times_in_100():
    generator = np.random.default_rng(0)
    covered = 0
    for sample in generator.normal(0.8, 0.01, size=(2000, 3)):
        estimate = Estimate(dict(enumerate(sample.tolist())))
        covered += abs(estimate.mean - 0.8) <= estimate.half_width
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("values", [[0.80, 0.81, 0.79], [0.5, 0.9], [0.70, 0.71, 0.72, 0.73, 0.74, 0.75]])
def test_probability_of_rank_1_is_that_of_students_t_and_shared_on_a_tie(values):
    mean, error = np.mean(values), np.std(values, ddof=1) / len(values) ** 0.5
    for other in (mean - error, mean + 3 * error):
        found = probability_of_rank_1({"a": values, "b": [other, other]})
        assert found["a"] == pytest.approx(stdtr(len(values) - 1, (mean - other) / error), abs=0.015)
    tie = probability_of_rank_1({"a": [0.5, 0.5], "b": [0.5, 0.5]})
    assert tie == pytest.approx({"a": 0.5, "b": 0.5})


def test_probability_of_rank_1_leaves_out_methods_with_one_seed():
    found = probability_of_rank_1({"a": [0.9], "b": [0.5, 0.52], "c": [0.51, 0.52]})
    assert set(found) == {"b", "c"}
    assert probability_of_rank_1({"a": [0.9], "b": [0.5, 0.52]}) == {}


@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=5), min_size=2, max_size=6))
def test_probabilities_of_rank_1_sum_to_one(seeds):
    found = probability_of_rank_1({str(number): values for number, values in enumerate(seeds)})
    assert sum(found.values()) == pytest.approx(1)
