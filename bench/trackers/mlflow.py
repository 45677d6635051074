"""MLflow: a run a trial, in an experiment for each benchmark. MLFLOW_TRACKING_URI says where; else it is `mlflow.db` in
the run's folder."""

import os
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from bench.search.trials import Trial
from bench.trackers.by_trial import ByTrial
from bench.trackers.tracker import Run, about, outcome

STATES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


class MLflow(ByTrial):
    """What is open of a trial is its run's id."""

    def begin(self, run: Run) -> None:
        super().begin(run)
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.folder / 'mlflow.db'}")
        name = f"{run.name} {round(1000 * run.began):x}"
        found = self._client.get_experiment_by_name(name)
        self._experiment = found.experiment_id if found else self._client.create_experiment(name)

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

    def _begun(self, trial: Trial) -> str:
        there = self._client.search_runs([self._experiment], f"tags.uid = '{trial.uid}'")
        return str(there[0].info.run_id) if there else self._made(trial)

    def _made(self, trial: Trial) -> str:
        start = None if trial.started is None else round(1000 * trial.started)
        tags = {name: str(value) for name, value in about(trial).items()}
        made = self._client.create_run(self._experiment, start_time=start, tags=tags, run_name=trial.uid)
        parameters = [Param(name, str(value)) for name, value in trial.hyperparameters.items()]
        self._client.log_batch(made.info.run_id, params=parameters)
        run_id: str = made.info.run_id
        return run_id
