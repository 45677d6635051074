"""The best that a search had seen against its compute."""

import pandas as pd
import pytest

from bench.report.sections.ranking import progress
from tests.bench import synthetic_run


def test_progress_counts_all_compute_and_never_falls():
    trials, epochs, _ = synthetic_run.rows()
    trials, epochs = pd.DataFrame(trials), pd.DataFrame(epochs)
    for method, curve in progress(trials, epochs, "knn_200").items():
        search = trials[(trials.method == method) & (trials.stage == "search")]
        assert curve.device_seconds.iloc[-1] == pytest.approx(search.device_seconds.sum())
        assert curve.device_seconds.is_monotonic_increasing
        assert curve.best.dropna().is_monotonic_increasing
        # Never the best epoch: the last.
        assert curve.best.iloc[-1] == search[search.state == "complete"].train_knn_200.max()


def test_progress_is_in_the_order_of_time_not_of_trials():
    """Two trials side by side: what the second has reached early does not wait for the first's end."""
    moment = pd.Timestamp("2026-01-01", tz="UTC")
    trials = pd.DataFrame(
        {
            "uid": ["a", "b"],
            "method": "byol",
            "stage": "search",
            "epochs": [2, 1],
            "device_seconds": [20.0, 10.0],
            "ended": [moment + pd.Timedelta(seconds=20), moment + pd.Timedelta(seconds=10)],
        }
    )
    epochs = pd.DataFrame(
        {
            "uid": ["a", "a", "b"],
            "method": "byol",
            "epoch": [1, 2, 1],
            "knn_200": [0.1, 0.2, 0.5],
            "device_seconds": [10.0, 20.0, 5.0],
            "reported": [moment + pd.Timedelta(seconds=s) for s in (10, 20, 5)],
        }
    )
    curve = progress(trials, epochs, "knn_200")["byol"]
    assert curve.device_seconds.iloc[0] == 5.0
    assert set(curve.best) == {0.5}
