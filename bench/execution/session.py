"""One driver's time with a run: what an executor asks and tells. What must be remembered is in the ledger, and every
decision is `bench.search.search`'s."""

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from bench.errors import UserError
from bench.execution.answer import Answer
from bench.execution.attempt_folder import AttemptFolder
from bench.execution.progress import Progress
from bench.execution.signals import Signals
from bench.search.fold import Fold
from bench.search.job import Assignment, Idle
from bench.search.ledger import Ledger
from bench.search.plan import Plan
from bench.search.search import Search

HEARTBEAT = 2.0
"""Seconds between heartbeats in the ledger: the most that a power cut or a full disk leaves uncharged of a slot."""
RESULTS = 5.0
"""Least seconds between two calls of `on_results`, which also get at most a twentieth of the driver's time."""
DIED = "its worker died"


class Leave(BaseException):
    """Leaves an executor's loop at once, though that may catch exceptions."""


class Session:
    """What an executor talks to, in the driver's one thread.

    `slots` counts the trials that can run now, where devices come and go and are others' too: there a trial is charged
    from its worker's sign of life on. None where they are this run's alone.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        run_dir: Path,
        signals: Signals,
        slots: Callable[[], int] | None = None,
        on_results: Callable[[Fold], None] | None = None,
    ) -> None:
        self.plan, self.ledger, self.run_dir, self.signals = plan, ledger, run_dir, signals
        self.search = Search(plan, ledger, shared=slots is not None)
        self.progress = Progress(self.search)
        self.done = False
        """Whether nothing is left to start."""
        self.error: Exception | None = None
        """What ended the session where it should have gone on."""
        self._slots, self._on_results = slots, on_results
        self._unreported, self._results_due, self._heartbeat_due = 0, 0.0, 0.0
        self._warned: set[str] = set()
        self._halved = set(ledger.fold.halved)  # those of which the user knows

    def next(self) -> Assignment | None:
        """What a free slot is to do; None where there is nothing now or, where the session is `done`, nothing more."""
        assignment = self.search.next()
        self.done = assignment is Idle.DONE
        return assignment if isinstance(assignment, Assignment) else None

    def started(self, assignment: Assignment) -> None:
        """A worker is ready and begins."""
        self.search.started(assignment.job.uid)

    def answered(self, assignment: Assignment, answer: Answer) -> bool:
        """Whether the trial goes on."""
        uid = assignment.job.uid
        self.warn(answer.warning)
        for report in answer.reports:
            facts = dict(answer.facts) if answer.facts else None
            if not self.search.reported(uid, assignment.attempt, report, facts):
                return False
        if answer.failure is not None:
            self.search.failed(uid, answer.failure)
            return False
        return True

    def ended(self, assignment: Assignment, died: str | None = None) -> None:
        """The attempt is over, told once: as its last answer was taken, or because its worker `died` of this."""
        uid = assignment.job.uid
        folder = AttemptFolder(self.run_dir, uid, assignment.attempt)
        if died is not None:
            failure = folder.failure()
            if failure is not None:
                self.search.failed(uid, failure)
            else:
                self.search.lost(uid, died)
            self._count_slots()
        trial = self.ledger.fold.trials[uid]
        self._unreported += 1
        self.progress.ended(trial)
        for method in self.ledger.fold.halved - self._halved:
            self.warn(f"memory does not hold a whole batch of {method}; its trials go on with half of it")
            self._halved.add(method)
        if trial.final or (trial.halved and not trial.reports):  # what a whole batch has left is no beginning of half
            shutil.rmtree(folder.path, ignore_errors=True)

    def beat(self) -> None:
        """Called in every turn of an executor's loop. Raises Leave when it is to end."""
        if self.signals.received is not None or (self.done and not self.search.running):
            raise Leave
        if self.search.exhausted and not self.search.training:
            raise Leave  # no worker that is still starting is worth waiting for
        now = time.monotonic()
        if now >= self._heartbeat_due:
            self.search.heartbeat()
            self._heartbeat_due = now + HEARTBEAT * max(1.0, len(self.search.running) / 16)
            self._look_for_life()
            self._count_slots()
        self.progress.tick()
        if self._unreported and now >= self._results_due:
            self._write_results()

    def left(self) -> None:
        """The loop has ended: what still runs is charged until now, and told no more."""
        if self.signals.received is not None:
            self.progress.say("stopping; once more stops without writing what is under way")
        with contextlib.suppress(UserError):  # on a full disk heartbeats must do
            for uid in list(self.search.running):
                self.search.cut(uid, "the run ended" if self.signals.received is None else "the run was interrupted")

    def close(self) -> Fold:
        """Write how the run ended, and the results; the run's state. Raises what ended the session."""
        if isinstance(self.error, UserError):
            raise self.error
        reason = "done"
        if self.error is not None:
            reason = "error"
        elif self.signals.received is not None:
            reason = "interrupted"
        elif self.search.exhausted:
            reason = "budget"
        self.ledger.append("closed", reason=reason)
        self.progress.closed()
        self._write_results(final=True)
        if self.error is not None:
            raise self.error
        return self.ledger.fold

    def warn(self, text: str | None) -> None:
        """Tell the user, once."""
        if text and text not in self._warned:
            self._warned.add(text)
            self.progress.say(f"warning: {text}")

    def _count_slots(self) -> None:
        if self._slots is not None:
            self.search.slots = self._slots()

    def _look_for_life(self) -> None:
        for uid in list(self.search.pending):
            if AttemptFolder(self.run_dir, uid, self.search.running[uid].attempt).alive.exists():
                self.search.alive(uid)

    def _write_results(self, final: bool = False) -> None:
        if self._on_results is None:
            return
        began = time.monotonic()
        try:
            self._on_results(self.ledger.fold)
        except OSError as error:
            if final:
                raise UserError(f"the results cannot be written ({error.strerror}); the ledger is whole") from error
            self.warn(f"the results cannot be written ({error.strerror}); the run goes on, the ledger is whole")
        self._unreported = 0
        self._results_due = time.monotonic() + max(RESULTS, 20 * (time.monotonic() - began))
