"""Weights & Biases: a run a trial, in one group. WANDB_PROJECT, WANDB_ENTITY and WANDB_MODE are heard as usual."""

import os
from collections.abc import Mapping
from typing import Any

import wandb

from bench.search.trials import Trial
from bench.trackers.by_trial import ByTrial
from bench.trackers.tracker import PROJECT, about, outcome


class WeightsAndBiases(ByTrial):
    def report(self, trial: Trial, epoch: int, figures: Mapping[str, float], time: float) -> None:
        self._of(trial).log({**figures, "epoch": epoch, "time": time}, step=epoch)

    def ended(self, trial: Trial) -> None:
        of_trial = self._of(trial)
        of_trial.summary.update(outcome(trial))
        of_trial.finish(exit_code=int(trial.state == "failed"))
        del self._open[trial.uid]

    def _begun(self, trial: Trial) -> Any:
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=self._run.name,
            job_type=trial.stage,
            name=trial.uid,
            id=self._run.key(trial),
            resume="allow",
            reinit="create_new",
            dir=str(self._run.folder),
            config={**about(trial), **trial.hyperparameters},
            settings=wandb.Settings(x_disable_stats=True, console="off"),
        )
