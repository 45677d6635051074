"""Ledgers of simulated runs, and a tracker that keeps what it was told."""

import functools
import json
from pathlib import Path

from bench.search.events import plain
from bench.search.simulate import MemoryLedger, plan_for, simulate, synthetic

DIARY = """
import json, os
from pathlib import Path


class Diary:
    def tell(self, *words):
        with open(Path(os.environ["DIARY"]), "a") as file:
            file.write(json.dumps(words) + "\\n")

    def begin(self, run):
        self.tell("begin", run.name)

    def report(self, trial, epoch, figures, time):
        self.tell("report", trial.uid, epoch, figures, time)

    def ended(self, trial):
        self.tell("ended", trial.uid, trial.state)

    def close(self):
        self.tell("close")


class Half:
    def begin(self, run):
        pass


class Failing(Half):
    def report(self, trial, epoch, figures, time):
        raise ValueError("no room\\nfor more")

    def ended(self, trial):
        pass

    def close(self):
        pass
"""


@functools.cache
def events() -> tuple[dict, ...]:
    """Those of a run of two methods, some of whose trials are pruned and some fail; its clock begins at 1,000 s."""
    calibration, curve = synthetic(2)
    ledger = MemoryLedger(keep=True)

    def sometimes(trial, epoch):
        accuracy, seconds = curve(trial, epoch)
        return (float("nan") if trial.uid.endswith("5") and epoch == 2 else accuracy), seconds

    simulate(plan_for(calibration, slots=2, trials=12, epochs=9), sometimes, ledger)
    return tuple(plain(event | {"time": 1000 + event["time"]}) for event in ledger.events)


def lines(some=None) -> bytes:
    """The lines of a ledger."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in (events() if some is None else some))


def write(folder: Path) -> Path:
    """A run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ledger.jsonl").write_bytes(lines())
    return folder


class Kept:
    """What a tracker was told, in its order."""

    def __init__(self):
        self.told = []

    def begin(self, run):
        self.told.append(("begin", run.name, run.began))

    def report(self, trial, epoch, figures, time):
        self.told.append(("report", trial.uid, epoch, figures, time))

    def ended(self, trial):
        self.told.append(("ended", trial.uid, trial.state, trial.held))

    def close(self):
        self.told.append(("close",))
