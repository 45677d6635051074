"""Intervals and the probability of rank 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtr, stdtrit

from bench.report.statistics import Estimate, OverDraws, probability_of_rank_1

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


def drawn(values, by_draws=False):
    """Of a matrix, seeds by draws."""
    return OverDraws.of({seed: dict(enumerate(map(float, row))) for seed, row in enumerate(values)}, by_draws)


@pytest.mark.parametrize(("seeds", "of_seeds", "of_draws", "rest"), [(3, 1, 1, 0.5), (3, 0, 1, 0.2), (5, 1, 0.2, 1)])
def test_interval_over_draws_and_seeds_covers_the_true_mean_95_times_in_100_or_more(seeds, of_seeds, of_draws, rest):
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(1500):
        values = of_seeds * generator.normal(size=(seeds, 1)) + of_draws * generator.normal(size=(1, 10))
        estimate = drawn(values + rest * generator.normal(size=(seeds, 10)))
        covered += abs(estimate.mean) <= estimate.half_width
    assert 0.935 <= covered / 1500 <= 0.995


def test_interval_over_draws_alone_is_students_t():
    values = [0.3, 0.5, 0.4, 0.7]
    assert drawn([values], by_draws=True).half_width == Estimate(dict(enumerate(values))).half_width
    assert drawn([values]).half_width is None, "of one seed nothing says how others differ"
    assert drawn([[0.5]], by_draws=True).half_width is None


def test_interval_of_all_labels_is_that_of_seeds():
    assert drawn([[0.3], [0.5], [0.4]]).half_width == Estimate({1: 0.3, 2: 0.5, 3: 0.4}).half_width


def test_interval_over_draws_and_seeds_is_welch_and_satterthwaites():
    values = np.array([[0.1, 0.2, 0.4], [0.2, 0.5, 0.3]])
    parts = [(values.mean(0).var(ddof=1) / 3, 2), (values.mean(1).var(ddof=1) / 2, 1)]
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / degrees for variance, degrees in parts)
    assert drawn(values).half_width == pytest.approx(stdtrit(freedom, 0.975) * total**0.5)


@given(st.integers(1, 4), st.integers(2, 6), st.floats(-1, 1), st.randoms(use_true_random=False))
def test_of_a_paired_difference_what_draws_have_in_common_is_gone(seeds, draws, gap, chance):
    common = [chance.random() for _ in range(draws)]
    other = drawn([common], by_draws=True)
    difference = drawn([[value + gap for value in common]] * seeds).minus(other)
    assert difference.mean == pytest.approx(gap, abs=1e-9)
    assert difference.half_width is None if seeds == 1 else difference.half_width == pytest.approx(0, abs=1e-9)


def test_differences_are_over_shared_draws():
    one, other = OverDraws.of({1: {0: 0.5, 1: 0.7}}, True), OverDraws.of({1: {1: 0.2, 2: 0.9}}, True)
    assert one.minus(other).mean == pytest.approx(0.5)
    assert one.minus(OverDraws.of({1: {7: 0.2}}, True)) is None


def test_draws_that_not_every_seed_has_are_left_out():
    assert OverDraws.of({1: {0: 0.5, 1: 0.7}, 2: {0: 0.3}}, False).values == {1: 0.5, 2: 0.3}
