"""The studies of a run in a file for Optuna's own tools."""

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from bench.errors import UserError
from bench.search.exported import export
from bench.search.fold import fold_events
from bench.search.selection import figure
from tests.bench.commands.answering import answer_of, check_refusal
from tests.bench.trackers.runs import events, lines

optuna.logging.set_verbosity(optuna.logging.WARNING)
X = {"default": 0.5, "source": "made up", "low": 0.0, "high": 1.0, "scale": "linear"}


def told(**entry):
    """The events, which tell the range of `x`."""
    spaces = {name: {"hyperparameters": {"x": X | entry}} for name in ("method00", "method01")}
    return [e | ({"facts": {"search_spaces": spaces}} if e["event"] == "session" else {}) for e in events()]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "ledger.jsonl").write_bytes(lines(told()))
    return folder


def studies(path):
    storage = JournalStorage(JournalFileBackend(str(path)))
    return {name: optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)}


def test_optuna_opens_a_study_a_method_with_all_by_which_the_run_chose(run):
    assert export(run, run / "optuna.journal") == 2
    fold = fold_events(told(), "")
    found = studies(run / "optuna.journal")
    assert found.keys() == {"method00", "method01"}
    states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    for method, study in found.items():
        there = list(fold.of(method, "search", "race"))
        assert [trial.user_attrs["uid"] for trial in study.trials] == [trial.uid for trial in there]
        for trial, ours in zip(study.trials, there, strict=True):
            assert states[trial.state] == {"cut": "failed"}.get(ours.state, ours.state)
            assert trial.params == {"x": ours.hyperparameters["x"]}
            assert trial.value == ours.accuracy
            reached = {epoch: value for epoch, e in ours.reports.items() if (value := figure(e.metrics)) is not None}
            assert trial.intermediate_values == reached
            assert trial.user_attrs["device_seconds"] == ours.held
            assert (trial.datetime_complete - trial.datetime_start).total_seconds() >= 0
        assert study.best_trial.value == max(trial.accuracy for trial in there if trial.accuracy is not None)
        assert study.user_attrs["winner"] == fold.winner(method)


def test_the_same_ledger_gives_the_same_bytes_and_an_export_is_renewed(run, tmp_path):
    export(run, tmp_path / "one")
    export(run, tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    export(run, tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_what_lies_outside_its_range_is_no_parameter_but_is_told(run):
    (run / "ledger.jsonl").write_bytes(lines(told(low=0.6)))
    export(run, run / "optuna.journal")
    for study in studies(run / "optuna.journal").values():
        assert {bool(trial.params) for trial in study.trials} == {True, False}
        for trial in study.trials:
            x = trial.user_attrs["hyperparameter x"]
            assert trial.params == ({"x": x} if x >= 0.6 else {})


@pytest.mark.parametrize("content", [b"", b"mine", b'{"op_code":0,"worker_id":"another"}\n', b"\xff\n", b"[[["])
def test_a_file_that_is_no_export_is_not_overwritten(content, run):
    path = run / "optuna.journal"
    path.write_bytes(content)
    status, _, err = answer_of(["export-optuna", str(run)])
    check_refusal(status, err)
    assert path.read_bytes() == content


def test_the_command_says_how_the_file_is_opened_or_what_is_wrong(run, tmp_path):
    status, out, err = answer_of(["export-optuna", str(run)])
    assert (status, err) == (0, "")
    assert f"optuna-dashboard {run / 'optuna.journal'}" in out
    for words in ([], [tmp_path / "none"], [tmp_path], [run, "--output", run], [run, "--output", ""]):
        status, _, err = answer_of(["export-optuna", *map(str, words)])
        check_refusal(status, err)


def test_a_run_without_a_record_of_its_ranges_is_refused_and_leaves_no_file(run, tmp_path):
    (run / "ledger.jsonl").write_bytes(lines())
    with pytest.raises(UserError, match="no record of the ranges of method00"):
        export(run, tmp_path / "new")
    (run / "ledger.jsonl").write_bytes(lines(events()[:2]))
    with pytest.raises(UserError, match="has searched nothing yet"):
        export(run, tmp_path / "new")
    assert not (tmp_path / "new").exists()
