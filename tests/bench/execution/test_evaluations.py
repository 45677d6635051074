"""Protocols that judge the encoders of a run when its trainings are over."""

import dataclasses
from pathlib import Path

import pytest

from algorithms.evaluation.metrics import KNN_20, KNN_200, PURITY_20
from bench.errors import UserError
from bench.execution import benchmark
from bench.execution.configuration import Configuration
from bench.execution.processes import Processes
from bench.report.results import Results, column
from bench.search.budget import Budget

SMALL = {"methods": ("simclr",), "dataset": "shapes", "limit": 64, "image_size": 8, "epochs": 1, "seeds": 1}


def run(run_dir: Path, seconds: float, **asked) -> Results:
    configuration = Configuration(budget=Budget("cpu", seconds), run_dir=run_dir, **SMALL | asked)
    outcome = benchmark.run(configuration, executor=Processes())
    assert outcome.status == 0
    return outcome.results()


@pytest.mark.slow
def test_a_protocol_judges_the_encoders_of_a_finished_run_to_the_figures_that_their_trainings_told(tmp_path):
    before = run(tmp_path, 30).trials
    after = run(tmp_path, 45, protocols=("knn",)).trials
    judged = after[after.stage == "evaluate"].set_index("of")
    trained = after.set_index("uid").loc[judged.index]
    assert set(trained.stage) == {"published", "confirm", "ours", "baseline"} & set(after.stage)
    assert set(judged.state) == {"complete"}
    assert set(judged.protocol) == {"knn"}
    for metric in (KNN_200, KNN_20, PURITY_20):
        assert (judged[column("test", metric)] == trained[column("test", metric)]).all()
    confirmed = before[(before.stage != "search") & (before.state == "complete") & (before.method != "pixels")]
    assert set(confirmed.uid) - set(judged.index) <= set(after[after.stage == "superseded"].uid)
    assert after.set_index("uid").epoch[before.uid].tolist() >= before.epoch.tolist()
    assert (judged.device_seconds > 0).all()


def test_an_unknown_protocol_is_refused_before_anything_begins(tmp_path):
    asked = Configuration(budget=Budget("cpu", 60.0), run_dir=tmp_path / "run", **SMALL, protocols=("nonsense",))
    with pytest.raises(UserError, match="no protocol 'nonsense'; there are knn"):
        benchmark.run(asked)
    assert not asked.run_dir.exists()
    assert dataclasses.replace(asked, protocols=("knn",)).protocols == ("knn",)
