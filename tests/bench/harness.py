"""For tests of the harness: runs of a fake trainer in a driver of their own, and what must hold after any of them.

`python -m tests.bench.harness JSON` is that driver: see `command` for the JSON.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution

from bench.errors import UserError
from bench.files import write_atomically
from bench.output import readerless
from bench.search.budget import Budget
from bench.search.events import read_events
from bench.search.fold import Fold, read
from bench.search.schedulers import Asha
from tests.bench.fake_trainer import SIGN, Settings, accuracy

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class FaultySpace:
    """A learning rate to search; every trial but the published one has the `fault` (see fake_trainer)."""

    method: str
    fault: str | None = None
    hash: str = "fake"
    defaults: dict[str, Any] = field(default_factory=lambda: {"learning_rate": 0.05, "quality": 0.6})
    choices: dict[str, list] = field(default_factory=dict)

    def distributions(self):
        return {"learning_rate": FloatDistribution(0.001, 1.0, log=True)}

    def to_params(self, hyperparameters):
        return {"learning_rate": hyperparameters["learning_rate"]}

    @property
    def recipes(self):
        return [self.defaults]

    def proposes(self, hyperparameters):
        return True

    def settled(self, params):
        return params

    def from_params(self, params):
        return {"quality": 0.6} | params | ({"fault": self.fault} if self.fault else {})


def command(run_dir: Path, budget: str, **options: Any) -> list[str]:
    """Options: methods {name: fault or None}, `executor` ("processes", or "ray", which a cluster has), slots, rate,
    settings (of the fake trainer), and fields of Experiment; `nodes` of a cluster (SIGUSR2 kills one), `results`: a
    file to write them to, `until`: when to interrupt the run, in terms of its `fold`, so that no test depends on how
    much fits into a budget."""
    task = {"run_dir": str(run_dir), "budget": budget} | options
    return [sys.executable, "-m", "tests.bench.harness", json.dumps(task)]


def drive(run_dir: Path, budget: str, timeout: float = 240, **options: Any) -> subprocess.CompletedProcess:
    """A driver from its start to its end."""
    process = start(run_dir, budget, **options)
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def start(
    run_dir: Path,
    budget: str,
    cwd: Path = ROOT,
    environment: dict[str, str] | None = None,
    words: tuple[str, ...] = (),
    **options: Any,
) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command(run_dir, budget, **options), *words], cwd=cwd, env=environment, **pipes)


def reports(run_dir: Path) -> int:
    """How many epochs the ledger knows."""
    path = run_dir / "ledger.jsonl"
    return path.read_bytes().count(b'{"event":"reported"') if path.exists() else 0


def wait_for_reports(process: subprocess.Popen, run_dir: Path, more: int, timeout: float = 120) -> None:
    """Until the ledger has so many more epochs than now, or the driver has ended."""
    end, count = time.monotonic() + timeout, reports(run_dir) + more
    while reports(run_dir) < count and process.poll() is None:
        assert time.monotonic() < end, "the driver makes no progress"
        time.sleep(0.02)


def check(
    run_dir: Path,
    trace: Path | None = None,
    former: list[list[dict]] = (),
    scheduler: type = Asha,
    rate: float = 1.0,
) -> Fold:
    """What must hold after any fault: no result lost, none twice, none changed; every pruning decision follows from
    the ledger; with the workers' own `trace`, the charge is within a tenth of what they used, at `rate`, and of what a
    busy machine was late. `former` are the ledger's events at earlier times."""
    events, _ = read_events(run_dir / "ledger.jsonl")
    for earlier in former:
        assert events[: len(earlier)] == earlier
    fold = read(run_dir / "ledger.jsonl")
    told = [event for event in events if event["event"] == "reported"]
    assert set(Counter((event["uid"], event["report"]["epoch"]) for event in told).values()) <= {1}
    ends = [e["uid"] for e in events if e.get("decision") in ("complete", "pruned", "failed") or e["event"] == "failed"]
    assert set(Counter(ends).values()) <= {1}
    for event in told:
        trial, report = fold.trials[event["uid"]], event["report"]
        assert event["report"]["epoch"] <= trial.epochs
        if "knn_200" in report:
            expected = accuracy(trial.hyperparameters, trial.seed, report["epoch"], trial.epochs)
            assert report["knn_200"] == expected
    for trial in fold.trials.values():
        assert sorted(trial.reports) == list(range(1, trial.epoch + 1))
        if trial.state == "complete":
            assert trial.epoch == trial.epochs
    schedulers: dict[str, Any] = {}
    for event in told:
        trial, report = fold.trials[event["uid"]], event["report"]
        asha = schedulers.setdefault(trial.method, scheduler(trial.epochs))
        if trial.stage == "search" and report["epoch"] in asha.milestones and event["decision"] != "failed":
            goes_on = asha.arrive(trial.uid, report["epoch"], report["knn_200"])
            assert (event["decision"] == "pruned") == (not goes_on and trial.recipe is None)
    if trace is not None:
        used, late = (rate * seconds for seconds in traced(trace))
        held = sum(fold.spent.values())
        assert 0.9 * used <= held <= 1.1 * used + late, f"charged {held:.2f} s, used {used:.2f} s, {late:.2f} s late"
    return fold


def signs(trace: Path) -> list[dict[str, Any]]:
    """The life signs of the workers, without what a worker that was killed has torn."""
    found = []
    for line in trace.read_text().splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def traced(trace: Path) -> tuple[float, float]:
    """Seconds in which trials held slots, by the life signs and clocks of the workers on them; and seconds by which a
    busy machine may have been late to tell of their ends: of each as late as its latest sign was."""
    of_process: dict[int, list[tuple[float, str]]] = {}
    for sign in signs(trace):
        of_process.setdefault(sign["pid"], []).append((sign["now"], sign["uid"]))
    gaps: dict[tuple[int, str], list[float]] = {}
    for process, times in of_process.items():
        for (before, one), (now, other) in pairwise(times):
            if one == other:
                gaps.setdefault((process, one), []).append(now - before)
    # Before the first sign of its epochs a trial is made, which takes what it takes.
    late = sum(max(0.0, max(of[1:], default=0.0) - 2 * SIGN) for of in gaps.values())
    return sum(map(sum, gaps.values())), late


def kill_raylet(node: Any) -> None:
    """As if the machine had lost power: not even its workers are told."""
    for process in node.all_processes["raylet"]:
        process.process.kill()


@readerless()
def main() -> int:
    task = json.loads(sys.argv[1])
    nodes = task.pop("nodes", 0)
    if nodes:  # before Ray reads it
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_worker_niceness": "0"}

    from bench.execution import driver, session
    from bench.execution.calibration import calibrate
    from bench.search.experiment import Experiment
    from bench.search.planning import make

    session.RESULTS = 0.5

    run_dir, budget = Path(task.pop("run_dir")), Budget.parse(task.pop("budget"))
    slots, rate = task.pop("slots", 2), task.pop("rate", 1.0)
    spaces = {name: FaultySpace(name, fault) for name, fault in task.pop("methods").items()}
    results, until = task.pop("results", None), task.pop("until", None)
    executor = task.pop("executor", "ray" if nodes else "processes")
    values = {"factory": "tests.bench.fake_trainer:Fake", "baselines": ()} | task
    values["baselines"] = tuple(values["baselines"])
    values["settings"] = Settings({"stateless": True} | values.get("settings", {}))
    address, cluster = None, None
    if nodes:
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        others = [cluster.add_node(num_cpus=1) for _ in range(nodes - 1)]
        address, slots = cluster.address, nodes
        signal.signal(signal.SIGUSR2, lambda *_: kill_raylet(others.pop()))

    def on_results(fold: Fold) -> None:
        if results is not None:
            write_atomically(results, json.dumps(fold.spent))
        if until is not None and fold.closed is None and eval(until, {"fold": fold}):
            os.kill(os.getpid(), signal.SIGINT)

    try:
        plan = make(Experiment(spaces=spaces, **values), budget, slots, rate, calibrate=calibrate, run_dir=run_dir)
        if executor == "processes":
            from bench.execution.processes import Processes as Executor
        else:
            from bench.execution.tune import RayTune

            Executor = partial(RayTune, address)
        fold = driver.run(plan, run_dir, Executor(), on_results=on_results)
    except UserError as error:
        print(f"error: {error}")
        return 2
    except driver.Interrupted as stop:
        print(stop)
        return 128 + stop.signal
    finally:
        if cluster is not None:
            cluster.shutdown()
    print("closed:", fold.closed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
