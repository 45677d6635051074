"""Whether a criterion ranks methods, of made-up ones whose answer is known."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.tabular.criteria_across import correlation, figures_of, lost, measure, report
from bench.tabular.criteria_regret import Recorded

NUMBERS = st.lists(st.integers(0, 100), min_size=4, max_size=8, unique=True)


def recorded(instance: list[float], knn: list[float]) -> Recorded:
    """A method; places are configurations, the recipe first."""
    merits = {"instance_accuracy": [instance, instance], "wrong": [[-each for each in knn]]}
    return Recorded({name: np.array(value, dtype=float)[None] for name, value in merits.items()}, np.array(knn))


METHODS = {
    "one": recorded([0.1, 0.5], [20.0, 70.0]),
    "two": recorded([0.3, 0.2], [40.0, 90.0]),
    "three": recorded([0.2, 0.6], [30.0, 80.0]),
}


def test_a_winner_is_what_instance_accuracy_chooses_whichever_judge_is_asked():
    figures, truth = figures_of(METHODS, "instance_accuracy", recipe=False)
    assert figures.tolist() == [0.5, 0.3, 0.6]
    assert truth.tolist() == [70, 40, 80]
    figures, truth = figures_of(METHODS, "wrong", recipe=False)
    assert truth.tolist() == [70, 40, 80]
    assert measure(figures, truth)[0] == pytest.approx(-1)
    assert measure(figures, truth)[3] == 40


def test_recipes_are_compared_as_they_are():
    figures, truth = figures_of(METHODS, "instance_accuracy", recipe=True)
    assert (figures.tolist(), truth.tolist()) == ([0.1, 0.3, 0.2], [20, 40, 30])
    assert measure(figures, truth)[0] == pytest.approx(1)


@given(NUMBERS)
def test_a_judge_that_ranks_as_the_truth_does_correlates_wholly_and_loses_nothing(truth):
    figures = np.array(truth, dtype=float)
    assert correlation(figures**3, figures) == pytest.approx(1)
    assert correlation(-figures, figures) == pytest.approx(-1)
    assert lost(figures, figures) == 0
    assert lost(-figures, figures) == max(truth) - min(truth)


@given(NUMBERS)
def test_the_interval_holds_what_was_measured(truth):
    figures = np.arange(len(truth), dtype=float)
    found, low, high, _ = measure(figures, np.array(truth, dtype=float))
    assert -1 <= low <= found + 1e-9
    assert found - 1e-9 <= high <= 1 + 1e-9


def test_what_nobody_has_measured_is_a_dash():
    shown = report("known", METHODS)
    assert "| instance_accuracy | 1.00" in shown
    assert "| rankme | — | — | — | — |" in shown


def test_a_bad_table_is_refused_in_a_line(tmp_path):
    (tmp_path / "bad.parquet").write_text("no Parquet")
    command = [sys.executable, "-m", "bench.tabular.criteria_across", tmp_path / "bad.parquet", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "across.md").exists()
