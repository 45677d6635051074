"""Stopping one trial of a run by hand: `ssl-bench stop RUN_DIR TRIAL`. Needs no PyTorch.

The request is a file in the folder of the trial's present attempt. Its worker sees it within a second and ends itself;
the driver, the only writer of the ledger, records that as it records other failures (`bench.search.events`, the kind
`stopped`). A request for an attempt that has ended meanwhile means nothing to the next one.
"""

import os
import time
from pathlib import Path

from bench.errors import UserError
from bench.execution.attempt_folder import AttemptFolder
from bench.files import write_atomically
from bench.search.fold import Fold, read
from bench.search.ledger import is_abandoned
from bench.search.trials import STOPPED, Trial

LOOK = 0.5
"""Seconds between two looks at the ledger."""
SHOWN = 8
"""The most trials that a refusal names."""


def stop(run_dir: Path, uid: str, patience: float = 20.0) -> str:
    """Have a trial that runs stopped for good, and wait so many seconds for its end: how it ended, in a sentence.

    Raises UserError where it does not run, or nobody runs it.
    """
    fold = read(run_dir / "ledger.jsonl")
    trial = _running(fold, run_dir, uid)
    folder = AttemptFolder(run_dir, uid, trial.attempts)
    if folder.path.parent.exists() and not os.access(folder.path.parent, os.W_OK):
        raise UserError(f"{folder.path.parent} cannot be written; only the user whose run it is may stop its trials")
    write_atomically(folder.stop, "")
    end = time.monotonic() + patience
    while time.monotonic() < end:
        time.sleep(LOOK)
        trial = read(run_dir / "ledger.jsonl").trials[uid]
        if trial.state != "running" or trial.attempts != folder.attempt:
            return _told(trial)
    return f"{uid} is to be stopped; its worker has not ended yet, as one that is still starting"


def _running(fold: Fold, run_dir: Path, uid: str) -> Trial:
    """The trial, which runs. Raises UserError."""
    if not fold.settings:
        raise UserError(f"{run_dir} holds no run; give the folder of one, in which ledger.jsonl lies")
    if fold.closed is not None or is_abandoned(run_dir):
        how = f"it has ended ({fold.closed})" if fold.closed else "its driver is gone; the same command continues it"
        raise UserError(f"no trial of {run_dir} runs: {how}")
    runs = [trial.uid for trial in fold.open.values() if trial.state == "running"]
    if uid in runs and uid == Path(uid).name:
        return fold.trials[uid]
    trial = fold.trials.get(uid)
    what = f"there is no trial {uid!r}" if trial is None else f"{uid} does not run: it is {trial.state}"
    more = f" and {len(runs) - SHOWN} more" if len(runs) > SHOWN else ""
    raise UserError(f"{what}; now run: {', '.join(runs[:SHOWN]) or 'none'}{more}")


def _told(trial: Trial) -> str:
    if trial.kind != STOPPED:
        return f"{trial.uid} ended before it could be stopped: it is {trial.state} at epoch {trial.epoch}"
    return (
        f"{trial.uid} is stopped at epoch {trial.epoch} of {trial.epochs}; the {trial.held:,.1f} device-seconds that "
        f"it held stay charged to {trial.method}"
    )
