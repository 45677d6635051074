"""What choices cost: `python -m bench.tabular.regret TABLE... --out FOLDER` searches replayed tables by all strategies.

**Regret** is the best true accuracy of a method's configurations less that of the one that was chosen. Every strategy
has the device time of N trainings of our recipe, evaluation and all, to choose in: what confirms comes on top, and is
the same for all. Strategies are ours as it was before, then with one part after the other as it is now, and those of
peers (`peers`), each with the judge that ours had before, with the one that it has now, and with one seed for all
trainings too. Ours runs as it is (`bench.search.simulate`), and its parts as they were before: seeds of their own,
`EarlyAsha`, `BestComplete`.

Intervals are of the mean over repeats: they tell how exactly a strategy is known on this table, not on others.
"""

import dataclasses
import itertools
import math
import os
import statistics
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd

from bench.files import write_atomically
from bench.search.budget import Budget
from bench.search.experiment import Experiment
from bench.search.job import CHOOSING
from bench.search.plan import Costs, Plan
from bench.search.race import Race
from bench.search.schedulers import SCHEDULERS, Asha
from bench.search.searchers import SEARCHERS
from bench.search.simulate import Curve, NoSettings, simulate
from bench.search.tally import standing
from bench.search.trials import Suggestion, Trial
from bench.tabular.peers import PEERS, PRIORBAND, search
from bench.tabular.printing import markdown, parser_of, refusals
from bench.tabular.replay import HELD_OUT, LEAVE_ONE_OUT, Method, Replay, load

SLOTS = 2
"""Trainings at a time."""
JUDGES = {HELD_OUT: "held-out tenth", LEAVE_ONE_OUT: "leave-one-out"}


@dataclass(frozen=True)
class Strategy:
    """A way to choose: our search, with a searcher and some of its parts as they are now, or a peer's."""

    name: str
    judge: str
    one_seed: bool = False
    """Whether all trainings that search have one."""
    pruning: bool = False
    race: bool = False
    searcher: str = "tpe"
    peer: str | None = None

    @property
    def runs(self) -> bool:
        """Whether all that it needs is there."""
        return self.peer in PEERS if self.peer else self.searcher in SEARCHERS

    @property
    def judged(self) -> str:
        """By what, in words."""
        return JUDGES[self.judge] + (", one seed" if self.one_seed else "")


STRATEGIES = [
    Strategy("as before", HELD_OUT),
    Strategy("+ judge", LEAVE_ONE_OUT),
    Strategy("+ one seed", LEAVE_ONE_OUT, one_seed=True),
    Strategy("+ gentle pruning", LEAVE_ONE_OUT, one_seed=True, pruning=True),
    Strategy("+ race: ours", LEAVE_ONE_OUT, one_seed=True, pruning=True, race=True),
    Strategy("ours, --searcher prior", LEAVE_ONE_OUT, one_seed=True, pruning=True, race=True, searcher="prior"),
    *(
        Strategy(name, judge, one_seed, peer=name)
        for name in ("random search", "Optuna TPE + Ray ASHA", PRIORBAND)
        for judge, one_seed in ((HELD_OUT, False), (LEAVE_ONE_OUT, False), (LEAVE_ONE_OUT, True))
    ),
]


class EarlyAsha(Asha):
    """Pruning as it was before: a third goes on, from a ninth of a training on."""

    def __init__(self, epochs: int) -> None:
        super().__init__(epochs)
        milestones = (max(1, round(epochs / 9)) * 3**rung for rung in range(epochs))
        self._parts = dict.fromkeys(itertools.takewhile(lambda epoch: 2 * epoch <= epochs, milestones), 1 / 3)
        self.milestones = list(self._parts)


class BestComplete(Race):
    """No race: the best figure of a complete trial wins, each seen once."""

    def next(self, method: str) -> Suggestion | None:
        return None

    def winner(self, method: str) -> tuple[Trial | None, float | None]:
        complete = [trial for trial in self._fold.of(method, "search") if trial.state == "complete"]
        return max(complete, key=standing, default=None), None


def whole(costs: Costs, epochs: int) -> float:
    """Device-seconds of one training of our recipe, judged at its end: the unit of what is spent."""
    return epochs * costs.epoch + costs.evaluation


def plan_for(replay: Replay, name: str, searcher: str, trainings: int, seed: int) -> Plan:
    """A plan for one method, whose share has so many trainings' time beside what is kept to confirm."""
    method = replay.methods[name]
    experiment = Experiment({name: method.space}, "", NoSettings(), baselines=(), searcher=searcher, seed=seed)

    def with_share(seconds: float) -> Plan:
        return Plan(experiment, Budget("gpu", seconds), SLOTS, 1.0, replay.epochs, {name: method.costs}, 0.0, 0.0)

    searched, any_plan = trainings * whole(method.costs, replay.epochs), with_share(1.0)
    plan = with_share(searched + any_plan.confirming(name, 3))
    return plan if plan.configurations(name) == 3 else with_share(searched + any_plan.confirming(name, 2))


def choose(strategy: Strategy, replay: Replay, name: str, trainings: int, repeat: int) -> tuple[int, float]:
    """The configuration that a strategy chooses, and the device-seconds that it took to."""
    method = replay.methods[name]
    if strategy.peer:
        seconds = trainings * whole(method.costs, replay.epochs)
        asked = (method, strategy.judge, replay.epochs, seconds, SLOTS, repeat, strategy.one_seed)
        return search(PEERS[strategy.peer], *asked)
    curve = replay.curve(strategy.judge)
    with ExitStack() as stack:
        if not strategy.race:
            stack.enter_context(patch("bench.search.search.Race", BestComplete))
            stack.enter_context(patch("bench.search.plan.RACE_PART", 0.0))
        if not strategy.pruning:
            stack.enter_context(patch.dict(SCHEDULERS, asha=EarlyAsha))
        plan = plan_for(replay, name, strategy.searcher, trainings, repeat)
        fold, _ = simulate(plan, curve if strategy.one_seed else _with_own_seeds(curve))
    winner = fold.winner(name)
    configuration = method.space.number(fold.trials[winner].hyperparameters) if winner else 0
    return configuration, sum(trial.held for trial in fold.of(name, *CHOOSING))


def _with_own_seeds(curve: Curve) -> Curve:
    """The curve, where every training has a seed of its own."""
    return lambda job, epoch: curve(dataclasses.replace(job, seed=zlib.crc32(f"{job.uid}/{job.seed}".encode())), epoch)


@lru_cache
def _replay(path: str) -> Replay:
    return load(path)


def repeats(path: str, strategy: Strategy, name: str, trainings: int, count: int) -> list[dict[str, Any]]:
    """A row for each repeat."""
    replay = _replay(path)
    method: Method = replay.methods[name]
    rows = []
    for repeat in range(count):
        configuration, seconds = choose(strategy, replay, name, trainings, repeat)
        truth = float(method.truth[configuration])
        rows.append(
            {
                "table": Path(path).stem,
                "strategy": strategy.name,
                "judge": strategy.judged,
                "trainings": trainings,
                "method": name,
                "repeat": repeat,
                "configuration": configuration,
                "truth": truth,
                "recipe": float(method.truth[0]),
                "regret": method.best - truth,
                "worse": truth < method.truth[0],
                "took": seconds / whole(method.costs, replay.epochs),
            }
        )
    return rows


NORMAL = 1.96
"""Standard deviations on each side that hold 95 %."""


def mean(values: Sequence[float]) -> str:
    """In percent, with half the width of its 95 % interval."""
    half = NORMAL * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{100 * statistics.fmean(values):.2f} ± {100 * half:.2f}"


def part(cases: Sequence[bool]) -> str:
    """The cases that are true, in percent, and their 95 % interval (Wilson 1927)."""
    n, found = len(cases), sum(cases) / len(cases)
    middle, scale = found + NORMAL**2 / (2 * n), 1 + NORMAL**2 / n
    half = NORMAL * math.sqrt(found * (1 - found) / n + NORMAL**2 / (4 * n * n))
    low, high = (100 * max(0.0, (middle + side) / scale) for side in (-half, half))
    return f"{100 * found:.1f} ({low:.1f} to {high:.1f})"


def report(rows: pd.DataFrame) -> str:
    """The tables in Markdown."""
    counts = rows.groupby("trainings")["repeat"].nunique()
    lines = [
        "# What choices cost",
        "",
        "Regret: the best true test accuracy in the table less that of the chosen configuration, in points, mean over "
        "methods. Worse: the part of cases in which the published recipe is truly better, in %. Trainings: the device "
        "time for choosing, of each method. Each with the 95 % interval over repeats: "
        + ", ".join(f"{count} with {n} trainings" for n, count in counts.items())
        + ".",
    ]
    for table, of_table in rows.groupby("table", sort=False):
        budgets = sorted(of_table["trainings"].unique())
        lines += ["", f"## {table}: {of_table['method'].nunique()} methods", ""]
        lines += markdown(
            ["strategy", "judge", *(f"{what}, {n} trainings" for n in budgets for what in ("regret", "worse"))],
            [[strategy.name, strategy.judged, *_cells(of_table, strategy, budgets)] for strategy in STRATEGIES],
        )
        for n in budgets:
            lines += ["", f"### {table}, regret by method, {n} trainings", ""]
            lines += _by_method(of_table[of_table["trainings"] == n])
    return "\n".join(lines) + "\n"


def _of(rows: pd.DataFrame, strategy: Strategy) -> pd.DataFrame:
    return rows[(rows["strategy"] == strategy.name) & (rows["judge"] == strategy.judged)]


def _cells(rows: pd.DataFrame, strategy: Strategy, budgets: list[int]) -> Iterator[str]:
    mine = _of(rows, strategy)
    for n in budgets:
        cases = mine[mine["trainings"] == n]
        yield mean(cases.groupby("repeat")["regret"].mean().tolist()) if len(cases) else "-"
        yield part(cases["worse"].tolist()) if len(cases) else "-"


def _by_method(rows: pd.DataFrame) -> list[str]:
    there = [strategy for strategy in STRATEGIES if len(_of(rows, strategy))]
    head = ["method", *(f"{each.name}, {each.judged}" if each.peer else each.name for each in there)]
    body = [
        [str(method), *(mean(_of(of_method, strategy)["regret"].tolist()) for strategy in there)]
        for method, of_method in rows.groupby("method")
    ]
    return markdown(head, body)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--trainings", default="5,15,60", help="of each method, with commas")
    parser.add_argument(
        "--repeats", default="200,100,40", help="of each number of trainings, with commas; or one for all"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="a folder, for regret.md and regret.parquet")
    options = parser.parse_args()
    with refusals():
        replays = {path: _replay(path) for path in options.tables}
    for path, replay in replays.items():
        if replay.left_out:
            print(f"{path}: left out, as they are not recorded with two seeds yet: {', '.join(replay.left_out)}")
    for strategy in STRATEGIES:
        if not strategy.runs:
            print(f"{strategy.name} is left out: it needs {strategy.peer or strategy.searcher}, which is not there")
    trainings, counts = ([int(each) for each in text.split(",")] for text in (options.trainings, options.repeats))
    if len(counts) == 1:
        counts *= len(trainings)
    if len(counts) != len(trainings):
        parser.error("--repeats must be one number, or as many as --trainings has")
    tasks = [
        (path, strategy, name, n, count)
        for n, count in zip(trainings, counts, strict=True)
        for strategy in STRATEGIES
        if strategy.runs
        for path, replay in replays.items()
        for name in replay.methods
    ]
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(options.processes, get_context("spawn"), initializer=_gently) as pool:
        futures = [pool.submit(repeats, *task) for task in tasks]
        for count, future in enumerate(as_completed(futures), 1):
            rows += future.result()
            print(f"\r{count} of {len(tasks)}", end="", flush=True)
    print()
    table = pd.DataFrame(rows).sort_values(["table", "trainings", "strategy", "judge", "method", "repeat"])
    write_atomically(options.out / "regret.parquet", partial(table.to_parquet, index=False))
    text = report(table)
    write_atomically(options.out / "regret.md", text)
    print(text)


def _gently() -> None:
    os.nice(5)


if __name__ == "__main__":
    main()
