"""One attempt at a trial: an epoch a call, durable before it is told."""

import contextlib
import faulthandler
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from algorithms.training.report import EpochReport
from bench.errors import UserError
from bench.execution import checkpoint, kept
from bench.execution.answer import Answer
from bench.execution.attempt_folder import AttemptFolder
from bench.execution.factory import Trainer, Trainers
from bench.execution.failures import failure_of, spoils_the_process
from bench.execution.process import clean_process
from bench.files import write_atomically
from bench.search.job import CHOOSING, Assignment, Failure

current: "Attempt | None" = None
"""The latest that this process has made."""


class Attempt:
    """One attempt at a trial: what `Search.next` assigned."""

    def __init__(self, assignment: Assignment, trainers: Trainers, run_dir: Path) -> None:
        global current
        self.job, self.known = assignment.job, assignment.known
        self.time_limit = assignment.time_limit
        self.run_dir = Path(run_dir)
        self.folder = AttemptFolder(self.run_dir, self.job.uid, assignment.attempt)
        self.began = time.monotonic()
        self._trainers = trainers
        self._trainer: Trainer | None = None
        self._epochs: Iterator[EpochReport] = iter(())
        self._reports: list[EpochReport] = []
        self._checkpoint = checkpoint.Checkpoint(self.folder.checkpoint)
        self._resumes = False
        self._warning: str | None = None
        current = self

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def step(self) -> Answer:
        """Train an epoch and tell it; with the first step, or in its place, what a checkpoint has and the ledger lacks.

        Does not return if the epoch hangs, the memory is out or the device is in error: then a note is left, where one
        can be written, and the process ends.
        """
        facts: Mapping[str, Any] | None = None
        with self._open_note() as file:
            faulthandler.dump_traceback_later(self.time_limit, exit=True, file=file)
            try:
                if self._trainer is None:
                    self._trainer = self._begin()
                    facts = self._facts
                    if untold := [report for report in self._reports if report.epoch > self.known]:
                        return self._told(untold, facts)
                report = next(self._epochs)
            except StopIteration:
                return Answer(failure=Failure("error", f"the trainer ended before epoch {self.job.epochs}"))
            except Exception as error:
                failure = failure_of(error)
                if spoils_the_process(error):
                    with contextlib.suppress(OSError):
                        file.write(f"{failure.kind}\n{failure.text}")
                        file.flush()
                    os._exit(1)
                return Answer(failure=failure)
            finally:
                faulthandler.cancel_dump_traceback_later()
        self._reports.append(report)
        if self._resumes:
            with self._warning_of(self.folder.path.parent):
                self._checkpoint.write_if_due(self._content)
        return self._told([report] if report.epoch > self.known else [], facts)

    def _told(self, reports: list[EpochReport], facts: Mapping[str, Any] | None) -> Answer:
        if reports and reports[-1].epoch == self.job.epochs and self._keep_encoder():
            facts = {**self._facts, "encoder_file": True}
        self._keep_files()
        return Answer(reports, facts, self._warning or getattr(self._trainer, "notice", None))

    def _keep_encoder(self) -> bool:
        """Whether the encoder was kept: what confirms or is a baseline has made one for others to use."""
        if self.job.stage in CHOOSING or self.job.protocol is not None:
            return False
        state = self._trainers.factory.encoder_state(self._trainer) if self._trainer else None
        if state is None:
            return False
        path = kept.path(self.run_dir, self.job.uid)
        with self._warning_of(path.parent):
            checkpoint.write(path, state)
            return True
        return False

    def _keep_files(self) -> None:
        """What a judgement has for the report, before its figures are told."""
        for name, content in getattr(self._trainer, "files", {}).items():
            with self._warning_of((self.run_dir / name).parent):
                write_atomically(self.run_dir / name, content)

    @contextlib.contextmanager
    def _warning_of(self, folder: Path) -> Iterator[None]:
        """Where nothing can be written the training goes on, and the user is told."""
        try:
            yield
        except OSError as error:
            self._warning = self._warning or f"no checkpoint can be written to {folder}: {error.strerror or error}"

    def _open_note(self) -> TextIO:
        """The attempt's note; nowhere, where none can be written."""
        self._warning = None
        with self._warning_of(self.folder.path.parent):
            self.folder.path.mkdir(parents=True, exist_ok=True)
            return open(self.folder.note, "w")
        return open(os.devnull, "w")

    def _begin(self) -> Trainer:
        factory = self._trainers.factory  # and with it what is to be cleaned
        clean_process(self.job.seed)
        if self.job.protocol is not None:
            trainer = factory.evaluate(self.job, kept.read(self.run_dir, self.job.of or ""))
        else:
            trainer = factory.build(self.job)
        if saved := self._newest():
            self._reports = [EpochReport.from_json(report) for report in saved["reports"]]
            trainer.load_state_dict(saved["state"])
        self._epochs, self._resumes = iter(trainer), bool(trainer.state_dict())
        return trainer

    @property
    def _facts(self) -> dict[str, Any]:
        return dict(getattr(self._trainer, "facts", {}))

    def _newest(self) -> dict[str, Any] | None:
        """The checkpoint of the newest earlier attempt that left a whole one."""
        for path in self.folder.earlier_checkpoints():
            with contextlib.suppress(UserError):
                return checkpoint.read(path)
        return None

    def _content(self) -> dict[str, Any]:
        assert self._trainer is not None
        reports = [report.to_json() for report in self._reports]
        return {"epoch": self._reports[-1].epoch, "reports": reports, "state": self._trainer.state_dict()}
