"""What a worker tells comes whole to the driver, as JSON."""

import json
import math

import pytest

from algorithms.training.report import EpochReport
from bench.execution.answer import Answer
from bench.search.job import Failure

REPORTS = [EpochReport(1, 0.5), EpochReport(2, 0.25, {"knn_200": 0.75}, seconds=1.5, peak_memory_bytes=9)]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(),
        Answer(REPORTS, {"device": "cpu", "hyperparameters": {"batch_size": 2}}, "the disk is full"),
        Answer(failure=Failure("memory", "out of memory")),
    ],
)
def test_an_answer_comes_back_from_json(answer):
    found = Answer.from_json(json.loads(json.dumps(answer.to_json())))
    assert list(found.reports) == list(answer.reports)
    assert (found.facts, found.warning, found.failure) == (answer.facts, answer.warning, answer.failure)


def test_a_loss_that_is_no_number_stays_none():
    (report,) = Answer.from_json(json.loads(json.dumps(Answer([EpochReport(1, math.nan)]).to_json()))).reports
    assert math.isnan(report.loss)
