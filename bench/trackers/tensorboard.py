"""TensorBoard: event files in `tensorboard/` of the run's folder, a folder a trial."""

from collections.abc import Mapping

from tensorboardX import SummaryWriter

from bench.search.trials import Trial
from bench.trackers.tracker import Run, about, outcome


class TensorBoard:
    """Scalars by epoch; what the trial is and how it ended as text."""

    def begin(self, run: Run) -> None:
        self._folder = run.folder / "tensorboard" / f"{round(1000 * run.began):x}"
        self._writers: dict[str, SummaryWriter] = {}

    def report(self, trial: Trial, epoch: int, figures: Mapping[str, float], time: float) -> None:
        for name, value in figures.items():
            self._writer(trial).add_scalar(name, value, epoch, walltime=time)

    def ended(self, trial: Trial) -> None:
        told = about(trial) | outcome(trial) | dict(trial.hyperparameters)
        table = "\n".join(["| | |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in told.items())])
        self._writer(trial).add_text("trial", table, trial.epoch, walltime=trial.ended)
        self._writers.pop(trial.uid).close()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _writer(self, trial: Trial) -> SummaryWriter:
        if trial.uid not in self._writers:
            folder = self._folder / trial.method / trial.uid
            number = len(list(folder.glob("*")))  # files of one second would have one name
            self._writers[trial.uid] = SummaryWriter(str(folder), flush_secs=10, filename_suffix=f".{number}")
        return self._writers[trial.uid]
