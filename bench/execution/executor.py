"""What gives a session's work to workers: Ray Tune (`bench.execution.tune`), or plain processes of this machine
(`bench.execution.processes`)."""

from typing import Protocol

from bench.execution.session import Session
from bench.search.plan import Plan


class Executor(Protocol):
    """Executes and is not trusted to remember: what it knew may be lost at any instant."""

    @property
    def shared(self) -> bool:
        """Whether its devices come and go, and others may hold what a trial waits for."""

    def slots(self, plan: Plan) -> int:
        """The trials that can run now."""

    def run(self, session: Session) -> None:
        """Have workers do what the session gives (`next`), and tell it what happens, until its `beat` raises Leave.

        It says `left` as soon as nothing is trained any more, and has ended all workers when it returns. Raises
        UserError where it cannot begin.
        """
