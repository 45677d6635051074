"""What trackers share that open something of their own for each trial."""

from typing import Any

from bench.search.trials import Trial
from bench.trackers.tracker import Run


class ByTrial:
    """Opens it at the first word of a trial, and finishes what is open when it is closed."""

    def begin(self, run: Run) -> None:
        self._run = run
        self._open: dict[str, Any] = {}

    def close(self) -> None:
        for opened in self._open.values():
            opened.finish()

    def _of(self, trial: Trial) -> Any:
        """What is open of the trial."""
        if trial.uid not in self._open:
            self._open[trial.uid] = self._begun(trial)
        return self._open[trial.uid]

    def _begun(self, trial: Trial) -> Any:
        """What a trial opens, which an earlier process may have begun."""
        raise NotImplementedError
