"""Trackio: a run a trial, in one group. TRACKIO_DIR and TRACKIO_SPACE_ID are heard as usual."""

import contextvars
import os
from collections.abc import Mapping
from typing import Any

import trackio

from bench.search.trials import Trial
from bench.trackers.by_trial import ByTrial
from bench.trackers.tracker import PROJECT, about, outcome


class Trackio(ByTrial):
    def report(self, trial: Trial, epoch: int, figures: Mapping[str, float], time: float) -> None:
        self._of(trial).log(dict(figures), step=epoch)

    def ended(self, trial: Trial) -> None:
        of_trial = self._of(trial)
        of_trial.log(outcome(trial), step=trial.epoch)
        of_trial.finish()
        del self._open[trial.uid]

    def _begun(self, trial: Trial) -> Any:
        # in a context of its own: there `init` finds no other trial's run, which it would end
        return contextvars.Context().run(
            trackio.init,
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=self._run.key(trial),
            group=self._run.name,
            config={**about(trial), **trial.hyperparameters},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
