"""MLflow: a run a trial, in an experiment for each benchmark. MLFLOW_TRACKING_URI says where; else it is `mlflow.db` in
the run's folder."""

import os
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from bench.search.trials import Trial
from bench.trackers.tracker import Run, about, outcome

STATES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


class MLflow:
    def begin(self, run: Run) -> None:
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.folder / 'mlflow.db'}")
        name = f"{run.name} {round(1000 * run.began):x}"
        found = self._client.get_experiment_by_name(name)
        self._experiment = found.experiment_id if found else self._client.create_experiment(name)
        self._runs: dict[str, str] = {}

    def report(self, trial: Trial, epoch: int, figures: Mapping[str, float], time: float) -> None:
        metrics = [Metric(name, value, round(1000 * time), epoch) for name, value in figures.items()]
        self._client.log_batch(self._of(trial), metrics)

    def ended(self, trial: Trial) -> None:
        of_trial = self._of(trial)
        for name, value in outcome(trial).items():
            self._client.set_tag(of_trial, name, str(value))
        end = None if trial.ended is None else round(1000 * trial.ended)
        self._client.set_terminated(of_trial, STATES[trial.state], end_time=end)

    def close(self) -> None:
        """Nothing is held."""

    def _of(self, trial: Trial) -> str:
        """The id of the trial's run, which an earlier process may have begun."""
        if trial.uid not in self._runs:
            there = self._client.search_runs([self._experiment], f"tags.uid = '{trial.uid}'")
            self._runs[trial.uid] = there[0].info.run_id if there else self._begun(trial)
        return self._runs[trial.uid]

    def _begun(self, trial: Trial) -> str:
        start = None if trial.started is None else round(1000 * trial.started)
        tags = {name: str(value) for name, value in about(trial).items()}
        made = self._client.create_run(self._experiment, start_time=start, tags=tags, run_name=trial.uid)
        parameters = [Param(name, str(value)) for name, value in trial.hyperparameters.items()]
        self._client.log_batch(made.info.run_id, params=parameters)
        run_id: str = made.info.run_id
        return run_id
