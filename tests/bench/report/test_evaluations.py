"""Evaluations of kept encoders, which are trials of the stage `evaluate`: they are charged, and counted nowhere."""

import dataclasses
import re
from datetime import timedelta

import pytest

from bench.report import anchors, report, results, table
from bench.report.rows import rows
from bench.search.simulate import MemoryLedger
from tests.bench import synthetic_run
from tests.bench.report.pages import charts

SECONDS = 77.0
METHODS = ("byol", "amdim", "simclr")


def evaluations(trials):
    """Of every training that met the test images one that went well, with other figures, and one that failed; all one
    after another, when the trainings have ended."""
    clock = max(trial["ended"] for trial in trials)
    for trial in [trial for trial in trials if trial["test_knn_200"] is not None]:
        for protocol, state, figure in (("linear", "complete", 0.999), ("tuned", "failed", None)):
            about = {"stage": "evaluate", "uid": f"{trial['uid']}-{protocol}", "of": trial["uid"], "protocol": protocol}
            asked = {"effective": '{"odd": 7}', "epochs": 1, "epoch": int(state == "complete"), "batch_size": 7}
            ended = {"state": state, "reason": "memory was out" if state == "failed" else None}
            figures = dict.fromkeys(("test_knn_200", "test_knn_20", "test_purity_20"), figure)
            times = {"started": clock, "ended": (clock := clock + timedelta(seconds=SECONDS))}
            yield trial | about | asked | ended | figures | times | {"device_seconds": SECONDS}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A run, and the same with evaluations."""
    trials, epochs, run = synthetic_run.rows(METHODS)
    folders = [tmp_path_factory.mktemp(name) for name in ("without", "with")]
    for folder, more in zip(folders, ([], list(evaluations(trials))), strict=True):
        results.save([*trials, *more], epochs, run, folder)
    return folders


def test_an_evaluation_is_a_row_with_its_metrics_on_the_test_images(tmp_path):
    ledger = MemoryLedger()
    ledger.append("run", format=3, settings={}, plan={})
    common = {"method": "byol", "seed": 1, "number": 0, "hyperparameters": {}, "parameters": {}, "published": False}
    ledger.append("suggested", uid="a", stage="confirm", epochs=1, evaluate_at=[1], of="before", **common)
    ledger.append("suggested", uid="b", stage="evaluate", epochs=1, evaluate_at=[1], of="a", **common)
    ledger.append("assigned", uid="b", attempt=1)
    ledger.append("started", uid="b", held=0.5, startup=0.0)
    told = {"epoch": 1, "loss": None, "purity_20": 0.25, "seconds": 0.0, "evaluation_seconds": 2.0}
    ledger.append("reported", uid="b", attempt=1, report=told, held=2.5, decision="complete", reason=None)
    results.write(ledger.fold, tmp_path)
    found = results.load(tmp_path)
    row = found.trials.set_index("uid").loc["b"]
    assert (row.stage, row.state, row.of, row.test_purity_20, row.device_seconds) == (
        "evaluate",
        "complete",
        "a",
        0.25,
        2.5,
    )
    assert found.trials.test_knn_200.isna().all()
    assert list(found.trainings.uid) == ["a"]
    assert found.epochs.purity_20.tolist() == [0.25]


def test_evaluations_are_charged_and_change_nothing_else_of_a_row(both):
    before, after = (rows(results.load(folder)) for folder in both)
    assert len(before) == len(after) == len(METHODS) + 3
    for one, other in zip(before, after, strict=True):
        seeds = len(one.accuracy.values) + (len(one.published.values) if one.published and one.won is None else 0)
        assert other.device_seconds == pytest.approx(one.device_seconds + 2 * seeds * SECONDS)
        assert dataclasses.replace(other, device_seconds=one.device_seconds) == one


def test_evaluations_are_in_no_note_and_no_published_comparison(both):
    for make in (lambda folder: anchors.write(folder).read_text().partition("\n")[2], _notes):
        assert len({make(folder) for folder in both}) == 1


def _notes(folder):
    """Title and notes of the table."""
    lines = table.markdown(results.load(folder)).splitlines()
    return "\n".join(line for line in lines if not line.startswith("|"))


@pytest.mark.slow
def test_the_page_counts_trainings_and_charges_evaluations(both):
    before, after = (report.write(folder).read_text() for folder in both)
    for part in (r"<div class=label>Trials</div>.*?</div></div>", r'<section id="diagnosis">.*?</section>'):
        cards = [re.search(part, page, re.DOTALL)[0] for page in (before, after)]
        shares = [re.sub(r"took \d+\.\d %", "", card) for card in cards]
        assert shares[0] == shares[1]
    old, new = charts(before), charts(after)
    assert set(old) == set(new)
    assert {name for name in old if old[name] != new[name]} <= {"spent", "compute-all", "timeline"}
    names = [trace["name"] for trace in new["spent"]["data"]]
    assert names == [*(trace["name"] for trace in old["spent"]["data"]), "judging encoders"]
