"""What each slot did over time."""

import pandas as pd

from bench.report import report, results
from bench.report.sections.timeline import slots
from tests.bench import synthetic_run
from tests.bench.report.pages import charts


def test_trials_that_follow_one_another_share_a_slot_and_others_do_not():
    moment = pd.Timestamp("2026-01-01", tz="UTC")
    times = [(0, 10), (0, 5), (5, 12), (10, 20), (11, 13)]
    trials = pd.DataFrame(
        [(moment + pd.Timedelta(minutes=a), moment + pd.Timedelta(minutes=b)) for a, b in times],
        columns=["started", "ended"],
    )
    assert slots(trials) == [0, 1, 1, 0, 2]


def test_an_interrupted_run_that_fits_no_timeline_says_so(tmp_path):
    trials, epochs, run = synthetic_run.rows(("byol",), trials=4)
    run["slots"] = 1
    results.save(trials, epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    assert "timeline" not in charts(page)
    assert "do not fit on 1 slot" in page
