"""Runs a plan, or continues it: the ledger, what an earlier driver left, and a session with an executor."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.execution.executor import Executor
from bench.execution.recovery import settle
from bench.execution.session import Leave, Session
from bench.execution.signals import Signals
from bench.search.events import FORMAT
from bench.search.experiment import check_identity
from bench.search.fold import Fold
from bench.search.ledger import Ledger
from bench.search.plan import Plan
from bench.trackers.following import followed


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGUSR1 ended the run in good order; `signal` is its number. The message says how to
    continue."""

    def __init__(self, number: int) -> None:
        self.signal = number
        super().__init__("interrupted; nothing is lost, the same command continues the run")


def run(
    plan: Plan,
    run_dir: str | Path,
    executor: Executor,
    *,
    fresh: bool = False,
    facts: dict[str, Any] | None = None,
    on_results: Callable[[Fold], None] | None = None,
    log_to: Sequence[str] = (),
) -> Fold:
    """Run `plan` in `run_dir`, or continue the run there, until the budget is spent; the state of the run.

    `facts` (plain values: device name, versions, commit) go on record with this session. `on_results` is called with
    the state now and then after trials have ended, and once at the end. The trackers `log_to` follow the ledger.

    Raises UserError if another driver holds the folder, it holds another run, or its disk is full; Interrupted on
    SIGINT, SIGTERM and SIGUSR1. Whatever happens, the ledger is whole and the same call continues.
    """
    run_dir = Path(run_dir).resolve()
    ledger = Ledger(run_dir, fresh=fresh)
    try:
        _begin(plan, ledger, run_dir, facts or {})
        signals = Signals()
        slots = partial(executor.slots, plan) if executor.shared else None
        with followed(run_dir, log_to):
            session = Session(plan, ledger, run_dir, signals, slots, on_results)
            if session.search.work_left():
                with signals.taken():
                    try:
                        executor.run(session)
                    except Leave:
                        pass
                    except Exception as error:
                        session.error = error
            fold = session.close()
        if signals.received is not None:
            raise Interrupted(signals.received)
        return fold
    finally:
        ledger.close()


def _begin(plan: Plan, ledger: Ledger, run_dir: Path, facts: dict[str, Any]) -> None:
    """Write that the run, or another session of it, begins. Raises UserError if the folder holds another run."""
    if not ledger.fold.settings:
        ledger.append("run", format=FORMAT, settings=plan.experiment.identity(), plan=plan.to_json())
    check_identity(ledger.fold, plan.experiment, plan.budget, run_dir)
    settle(ledger, run_dir)
    measured = plan.measured()
    known = {name: ledger.fold.plan.get(name, []) for name in measured}
    searcher = {"searcher": plan.experiment.identity()["searcher"]}
    ledger.append(
        "session",
        number=len(ledger.fold.sessions),
        budget={"device": plan.budget.device, "seconds": plan.budget.seconds},
        slots=plan.slots,
        rate=plan.rate,
        share=plan.share,
        facts=facts,
        **({"plan": measured} if measured != known else {}),
        **({"settings": searcher} if not searcher.items() <= ledger.fold.settings.items() else {}),
    )
