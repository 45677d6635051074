"""Protocols that judge the encoders of a run when its trainings are over."""

from pathlib import Path

import pandas as pd
import pytest

from algorithms.evaluation.metrics import LINEAR
from bench.errors import UserError
from bench.execution import benchmark
from bench.execution.configuration import Configuration
from bench.execution.processes import Processes
from bench.report.results import Results, column
from bench.search.budget import Budget

SMALL = {"methods": ("simclr",), "dataset": "shapes", "limit": 64, "image_size": 8, "epochs": 1, "seeds": 1}
SMALL |= {"searcher": "none"}  # so that all its time is there to confirm and to judge


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
def test_a_protocol_judges_the_encoders_of_a_finished_run(tmp_path):
    seconds, before, after = 30, None, None
    while before is None or not any("simclr" in uid for uid in confirmed(before.trials)):
        before, seconds = run(tmp_path, seconds, protocols=("knn",)), 1.5 * seconds  # as the machine is busy
        assert seconds < 1000, "no training is confirmed"
    while after is None or not confirmed(after.trials) <= set(after.trials.of):
        after, seconds = run(tmp_path, seconds, protocols=("linear",)), 1.5 * seconds
        assert seconds < 1000, "what is confirmed is not judged"
    judged = after.trials[after.trials.stage == "evaluate"].set_index("of")
    assert set(judged.state) == {"complete"}
    assert set(judged.protocol) == {"linear"}
    assert judged[column("test", LINEAR)].between(0, 1).all()
    known = after.trials.set_index("uid").loc[before.trials.uid]
    assert (known.epoch.to_numpy() >= before.trials.epoch.to_numpy()).all()
    assert (judged.device_seconds > 0).all()


def test_an_unknown_protocol_is_refused_before_anything_begins(tmp_path):
    with pytest.raises(UserError, match="no protocol 'nonsense'; there are knn, linear, few, scratch, finetune"):
        Configuration(budget=Budget("cpu", 60.0), **SMALL, protocols=("nonsense",))
