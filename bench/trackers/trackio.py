"""Trackio: a run a trial, in one group. TRACKIO_DIR and TRACKIO_SPACE_ID are heard as usual."""

import contextvars
import os
from collections.abc import Mapping

import trackio

from bench.search.trials import Trial
from bench.trackers.tracker import PROJECT, Run, about, outcome


class Trackio:
    def begin(self, run: Run) -> None:
        self._run, self._open = run, {}  # type: ignore[var-annotated]

    def report(self, trial: Trial, epoch: int, figures: Mapping[str, float], time: float) -> None:
        self._of(trial).log(dict(figures), step=epoch)

    def ended(self, trial: Trial) -> None:
        of_trial = self._of(trial)
        of_trial.log(outcome(trial), step=trial.epoch)
        of_trial.finish()
        del self._open[trial.uid]

    def close(self) -> None:
        for of_trial in self._open.values():
            of_trial.finish()

    def _of(self, trial: Trial):  # type: ignore[no-untyped-def]
        if trial.uid not in self._open:
            # in a context of its own: there `init` finds no other trial's run, which it would end
            self._open[trial.uid] = contextvars.Context().run(
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
        return self._open[trial.uid]
