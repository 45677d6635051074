"""A run that was interrupted by SIGKILL goes on.

`interrupted.jsonl` is its ledger, of `--methods simclr,byol,sela --budget 5cpu-minutes --image-size 16 --limit 600`.
"""

import json
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.search.budget import Budget
from bench.search.events import FORMAT
from bench.search.experiment import Experiment
from bench.search.fold import read
from bench.search.job import Assignment
from bench.search.ledger import Ledger
from bench.search.planning import make
from bench.search.search import Search
from bench.search.simulate import MemoryLedger, simulate
from bench.search.space import load
from tests.bench.fake_trainer import Settings

LEDGER = Path(__file__).with_name("interrupted.jsonl")
METHODS = ("simclr", "byol", "sela")
BUDGET = Budget.parse("5cpu-minutes")


@pytest.fixture
def run_dir(tmp_path):
    """The run's folder, as if its version and its search spaces were those of today."""
    first, *rest = LEDGER.read_text().splitlines(keepends=True)
    event = json.loads(first)
    event["format"] = FORMAT
    event["settings"]["search_spaces"] = {method: load(method, 16).hash for method in METHODS}
    (tmp_path / "ledger.jsonl").write_text(json.dumps(event) + "\n" + "".join(rest))
    return tmp_path


def asked(run_dir, **changes):
    settings = json.loads((run_dir / "ledger.jsonl").read_text().splitlines()[0])["settings"]
    own = ("dataset", "dataset_fingerprint", "image_size", "encoder", "compile")
    identity = {name: settings[name] for name in own} | changes
    return Experiment({method: load(method, 16) for method in METHODS}, "no:factory", Settings(identity))


def refuse(experiment):
    raise AssertionError("a run that continues is not calibrated again")


def test_it_is_read_as_it_was_written(run_dir):
    fold = read(run_dir / "ledger.jsonl")
    events = [json.loads(line) for line in LEDGER.read_text().splitlines()]
    told = {(event["uid"], event["report"]["epoch"]): event for event in events if event["event"] == "reported"}
    assert {(trial.uid, epoch) for trial in fold.trials.values() for epoch in trial.reports} == told.keys()
    for (uid, epoch), event in told.items():
        report = fold.trials[uid].reports[epoch]
        assert (report.loss, report.device_seconds) == (event["report"]["loss"], event["held"])
        assert report.metrics.get("knn_200") == event["report"].get("knn_200")
    assert {trial.uid for trial in fold.open.values()} == {
        event["uid"] for event in events if event["event"] == "assigned"
    } - {event["uid"] for event in events if event.get("decision", "continue") != "continue"}


def test_the_same_command_makes_the_plan_that_it_had_and_the_search_goes_on(run_dir):
    plan = make(asked(run_dir), BUDGET, 2, run_dir=run_dir, calibrate=refuse)
    first, session, *_ = (json.loads(line) for line in LEDGER.read_text().splitlines())
    assert plan.to_json() == first["plan"]
    assert plan.share == pytest.approx(session["share"], rel=0.01)  # baselines had a ninth more images then
    ledger = Ledger(run_dir)
    cut = [trial.uid for trial in ledger.fold.open.values()]
    for uid in cut:
        ledger.append("cut", uid=uid, held=ledger.fold.trials[uid].held, reason="its driver died")
    search = Search(plan, ledger, clock=lambda: 0.0)
    search.slots = 30
    given_out = [search.next() for _ in range(30)]
    assert all(isinstance(each, Assignment) for each in given_out)
    again = {each.job.uid: each for each in given_out if each.attempt == 2}
    assert again.keys() == set(cut)
    assert all(each.known == ledger.fold.trials[uid].epoch for uid, each in again.items())
    ledger.close()


def test_it_comes_to_its_end_with_every_method_confirmed(run_dir):
    plan = make(asked(run_dir), BUDGET, 2, run_dir=run_dir, calibrate=refuse)
    ledger = MemoryLedger(keep=True)
    for line in (run_dir / "ledger.jsonl").read_text().splitlines():
        ledger.fold.apply(json.loads(line))
    for trial in list(ledger.fold.open.values()):
        ledger.append("cut", uid=trial.uid, held=trial.held, reason="its driver died")
    before = {uid: dict(trial.reports) for uid, trial in ledger.fold.trials.items()}
    fold, _ = simulate(
        plan, lambda job, epoch: (0.5 + job.seed % 97 / 1000, plan.calibration[job.method].epoch), ledger
    )
    assert fold.charged <= 1.02 * plan.budget.seconds
    for uid, reports in before.items():
        assert dict(list(fold.trials[uid].reports.items())[: len(reports)]) == reports
    for method in METHODS:
        assert sum(trial.state == "complete" for trial in fold.confirming(method)) >= 3


def test_other_images_are_refused(run_dir):
    with pytest.raises(UserError, match="image_size 16, not 32"):
        make(asked(run_dir, image_size=32), BUDGET, 2, run_dir=run_dir, calibrate=refuse)
