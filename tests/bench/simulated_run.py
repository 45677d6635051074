"""A whole run without a training, for tests of what reads its ledger: the real search in virtual time, on made-up
curves, with its Parquet files and tables."""

import json
from pathlib import Path
from typing import Any

from bench.report import results, table
from bench.search.budget import Budget
from bench.search.events import FORMAT, plain
from bench.search.experiment import Experiment
from bench.search.fold import fold_events
from bench.search.plan import Costs, Plan
from bench.search.simulate import MemoryLedger, NoSettings, Space, simulate, synthetic

IDENTITY = {"dataset": "made-up", "dataset_fingerprint": "0123456789abcdef", "image_size": 32, "encoder": "resnet8"}


def events(methods: int = 2, seconds: float = 600.0, seed: int = 0, dear: float = 1.0) -> list[dict[str, Any]]:
    """Of a run that has ended; with a baseline, prunings, races and confirmed winners. The first method costs so many
    times (`dear`) as much."""
    costs, curve = synthetic(methods, seed)
    first = next(iter(costs))
    costs[first] = costs[first].times(dear)
    baselines = ("random",)
    calibration = costs | {"random": Costs(1.0, 0.0)}

    def curves(job, epoch):
        if job.method == "random":
            return 0.3 + 0.001 * (job.seed % 7), 1.0
        accuracy, took = curve(job, epoch)
        return accuracy, took * (dear if job.method == first else 1.0)

    experiment = Experiment(
        spaces={name: Space(name) for name in costs},
        factory="",
        settings=NoSettings(),
        baselines=baselines,
        seeds=2,
        searcher="random",
    )
    plan = Plan(experiment, Budget("cpu", seconds), 2, 1.0, 9, calibration, 4.5, 0.25)
    ledger = MemoryLedger(keep=True)
    ledger.append("run", format=FORMAT, settings=experiment.identity() | IDENTITY, plan=plan.to_json())
    simulate(plan, curves, ledger)
    assert ledger.events is not None
    session = next(event for event in ledger.events if event["event"] == "session")
    session |= {"budget": {"device": "cpu", "seconds": seconds}, "rate": 1.0}
    session["facts"] = {"device": "a clock", "versions": {"torch": "2.14.1"}, "commit": "0123abc", "command": "made up"}
    ledger.append("closed", reason="done")
    return json.loads(json.dumps(plain(ledger.events)))


def write(folder: Path, told: list[dict[str, Any]]) -> Path:
    """The run of these events, with all that follows from them."""
    folder.mkdir(parents=True, exist_ok=True)
    ledger(folder, told)
    results.write(fold_events(told, folder), folder)
    table.write(results.load(folder), folder)
    return folder


def ledger(folder: Path, told: list[dict[str, Any]]) -> None:
    """The ledger alone."""
    (folder / "ledger.jsonl").write_text("".join(json.dumps(event) + "\n" for event in told))
