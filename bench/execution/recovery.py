"""What a driver does about the one before it, which may have died at any instant."""

import shutil
from pathlib import Path

from bench.execution.attempt_folder import FOLDER, AttemptFolder
from bench.search.ledger import Ledger


def settle(ledger: Ledger, run_dir: Path) -> None:
    """Charge what trials held until an earlier driver died, and remove what ended trials left."""
    for trial in list(ledger.fold.open.values()):
        if trial.state == "running":
            seconds = AttemptFolder(run_dir, trial.uid, trial.attempts).seconds()
            held = max(trial.held, trial.held_at_start + ledger.fold.sessions[-1]["rate"] * seconds)
            ledger.append("cut", uid=trial.uid, held=held, reason="its driver died")
    folders = run_dir / FOLDER
    for folder in list(folders.iterdir()) if folders.is_dir() else ():
        if folder.name not in ledger.fold.open:
            shutil.rmtree(folder, ignore_errors=True)
