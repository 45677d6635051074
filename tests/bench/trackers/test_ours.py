"""What our trackers keep, read back by each one's own means. Those that are not installed are left out."""

import functools

import pytest

from bench.search.fold import fold_events
from bench.trackers import known
from bench.trackers.feeder import Feeder, figures
from tests.bench.trackers.runs import events, lines

SOME = 60
"""Lines of the ledger: of trials some have ended, some have not, and one has failed."""


@functools.cache
def expected():
    fold = fold_events(list(events()[: 2 * SOME]), "")
    assert any(trial.final for trial in fold.trials.values())
    return {
        uid: {epoch: figures(trial, epoch) for epoch in trial.reports} for uid, trial in fold.trials.items()
        if trial.reports
    }  # fmt: skip


def fed(folder, name):
    """A run that is told in two sessions."""
    folder.mkdir()
    for more in (SOME, 2 * SOME):
        (folder / "ledger.jsonl").write_bytes(lines(events()[:more]))
        tracker = known.make(name)
        of_run = Feeder(folder, name, tracker)
        of_run.feed()
        tracker.close()
        of_run.note()


def check(found):
    """Of each trial by its uid: of each epoch the figures."""
    assert found.keys() == expected().keys()
    for uid, of_trial in found.items():
        for epoch, told in expected()[uid].items():
            assert of_trial[epoch] == pytest.approx(told, rel=1e-5)
        assert of_trial.keys() == expected()[uid].keys()


def test_tensorboard_has_every_figure_at_its_epoch_and_time(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    fed(tmp_path / "run", "tensorboard")
    found, times = {}, []
    for folder in (tmp_path / "run" / "tensorboard").glob("*/*/*"):
        accumulator = accumulators.EventAccumulator(str(folder))
        accumulator.Reload()
        of_trial = found.setdefault(folder.name, {})
        for name in accumulator.Tags()["scalars"]:
            for scalar in accumulator.Scalars(name):
                of_trial.setdefault(scalar.step, {})[name] = scalar.value
                times.append(scalar.wall_time)
    check(found)
    assert 1000 <= min(times) < max(times) <= events()[2 * SOME - 1]["time"]


@pytest.mark.slow
def test_mlflow_has_every_figure_and_how_each_trial_ended(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    fed(tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name.startswith("run ")]
    found, fold = {}, fold_events(list(events()[: 2 * SOME]), "")
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        trial = fold.trials[run.data.tags["uid"]]
        of_trial = found.setdefault(trial.uid, {})
        for name in run.data.metrics:
            for metric in client.get_metric_history(run.info.run_id, name):
                of_trial.setdefault(metric.step, {})[name] = metric.value
        assert run.data.tags.get("state") == (trial.state if trial.final else None)
        assert run.data.params == {name: str(value) for name, value in trial.hyperparameters.items()}
    check(found)


def test_trackio_has_every_figure(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    fed(tmp_path / "run", "trackio")
    found = {}
    for run in trackio.Api().runs("ssl-bench"):
        uid = run.config["uid"]
        of_trial = found.setdefault(uid, {})
        for entry in storage.get_logs("ssl-bench", run.name):
            figures = {name: value for name, value in entry.items() if name in expected()[uid][entry["step"]]}
            of_trial.setdefault(entry["step"], {}).update(figures)
    check(found)


@pytest.mark.slow
def test_wandb_offline_takes_a_run_in_two_sessions(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    fed(tmp_path / "run", "wandb")
    files = list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    for uid, epochs in expected().items():
        kept = b"".join(path.read_bytes() for path in files if f"-{uid}-" in path.name)
        for told in epochs.values():
            assert str(told["device_seconds"]).encode() in kept
