"""Protocols that judge the encoders of a run when its trainings are over."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from algorithms.evaluation.metrics import KNN_20, KNN_200, PURITY_20
from bench.errors import UserError
from bench.execution import benchmark
from bench.execution.configuration import Configuration
from bench.execution.processes import Processes
from bench.report.results import Results, column
from bench.search.budget import Budget

SMALL = {"methods": ("simclr",), "dataset": "shapes", "limit": 64, "image_size": 8, "epochs": 1, "seeds": 1}


def run(run_dir: Path, seconds: float, **asked) -> Results | None:
    """What a run has left with so large a budget; None where that is too small for its plan."""
    configuration = Configuration(budget=Budget("cpu", seconds), run_dir=run_dir, **SMALL | asked)
    try:
        outcome = benchmark.run(configuration, executor=Processes())
    except UserError:
        return None
    assert outcome.status == 0
    return outcome.results()


def confirmed(trials: pd.DataFrame) -> set[str]:
    """The complete trainings that a protocol judges."""
    stages = ("confirm", "published", "ours", "baseline")
    complete = trials[(trials.state == "complete") & trials.stage.isin(stages) & (trials.method != "pixels")]
    return set(complete.uid)


@pytest.mark.slow
def test_a_protocol_judges_the_encoders_of_a_finished_run_to_the_figures_that_their_trainings_told(tmp_path):
    seconds, before, after = 30, None, None
    while before is None or not any("simclr" in uid for uid in confirmed(before.trials)):
        before, seconds = run(tmp_path, seconds), 1.5 * seconds  # as the machine is busy
        assert seconds < 1000, "no training is confirmed"
    while after is None or not confirmed(after.trials) <= set(after.trials.of):
        after, seconds = run(tmp_path, seconds, protocols=("knn",)), 1.5 * seconds
        assert seconds < 1000, "what is confirmed is not judged"
    judged = after.trials[after.trials.stage == "evaluate"].set_index("of")
    trained = after.trials.set_index("uid").loc[judged.index]
    assert set(judged.state) == {"complete"}
    assert set(judged.protocol) == {"knn"}
    for metric in (KNN_200, KNN_20, PURITY_20):
        assert (judged[column("test", metric)] == trained[column("test", metric)]).all()
    known = after.trials.set_index("uid").loc[before.trials.uid]
    assert (known.epoch.to_numpy() >= before.trials.epoch.to_numpy()).all()
    assert (judged.device_seconds > 0).all()


def test_an_unknown_protocol_is_refused_before_anything_begins(tmp_path):
    asked = Configuration(budget=Budget("cpu", 60.0), run_dir=tmp_path / "run", **SMALL, protocols=("nonsense",))
    with pytest.raises(UserError, match="no protocol 'nonsense'; there are knn"):
        benchmark.run(asked)
    assert not asked.run_dir.exists()
    assert dataclasses.replace(asked, protocols=("knn",)).protocols == ("knn",)
