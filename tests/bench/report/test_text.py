"""How values read."""

from bench.report.statistics import Estimate
from bench.report.text import DASH, amount, percent, with_interval


def test_one_seed_has_no_interval():
    assert Estimate({1: 0.5}).half_width is None
    assert with_interval(Estimate({1: 0.5})) == "50.00"


def test_what_was_not_measured_is_a_dash():
    assert with_interval(None) == percent(None) == amount(None) == DASH
