"""TensorBoard: event files in `tensorboard/` of the run's folder, a folder a trial."""

from collections.abc import Mapping
from typing import Any

from tensorboardX import SummaryWriter

from bench.search.trials import Trial
from bench.trackers.by_trial import ByTrial
from bench.trackers.tracker import about, outcome


class TensorBoard(ByTrial):
    """Scalars by epoch; what the trial is and how it ended as text."""

    def report(self, trial: Trial, epoch: int, figures: Mapping[str, float], time: float) -> None:
        for name, value in figures.items():
            self._of(trial).add_scalar(name, value, epoch, walltime=time)

    def ended(self, trial: Trial) -> None:
        told = about(trial) | outcome(trial) | dict(trial.hyperparameters)
        table = "\n".join(["| | |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in told.items())])
        self._of(trial).add_text("trial", table, trial.epoch, walltime=trial.ended)
        self._open.pop(trial.uid).close()

    def close(self) -> None:
        for writer in self._open.values():
            writer.close()

    def _begun(self, trial: Trial) -> Any:
        began = f"{round(1000 * self._run.began):x}"
        folder = self._run.folder / "tensorboard" / began / trial.method / trial.uid
        number = len(list(folder.glob("*")))  # files of one second would have one name
        return SummaryWriter(str(folder), flush_secs=10, filename_suffix=f".{number}")
