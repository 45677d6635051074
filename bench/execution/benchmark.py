"""A benchmark as a call, in the parts that it is made of: prepare, plan, train, report.

    from bench.execution import benchmark
    from bench.execution.configuration import Configuration
    from bench.search.budget import Budget

    configuration = Configuration(budget=Budget.parse("20cpu-minutes"), methods=("simclr", "moco"), dataset="shapes")
    found = benchmark.run(configuration).results()
    found.trials.groupby(["method", "stage"]).test_knn_200.mean()

The same call again continues the run. What it does is printed, as on the command line.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from algorithms import BASELINES
from algorithms.evaluation.metrics import PROTOCOLS
from bench import doors
from bench.errors import UserError
from bench.execution import brought, driver, ray_cluster, single, takeaway
from bench.execution import profile as phases
from bench.execution.calibration import calibrate
from bench.execution.configuration import Configuration, TrainingConfiguration
from bench.execution.executor import Executor
from bench.execution.prepared import Prepared, commit, prepare, removed_if_new
from bench.execution.protocols import needing_labels, wants_labels
from bench.execution.settings import TrainingSettings
from bench.execution.tune import RayTune
from bench.machine import cores
from bench.report import anchors, diagnosis, report, results, table
from bench.report import readme as readmes
from bench.search import budget, evaluations, learning, planning
from bench.search.description import describe
from bench.search.experiment import Experiment
from bench.search.fold import Fold, read
from bench.search.methods import WARM
from bench.search.plan import WITH_LABELS, Plan
from bench.search.planning import MOST_EPOCHS

MOST_PIXELS = 2**33
"""Bytes of the images as features, in float32, up to which raw pixels are a baseline: on whatever machine, so that a
run continues on another one."""
COMPILING_PAYS = 600
"""Device-seconds of a method from which its steps are compiled on GPUs: its graph takes up to a minute to make, once,
and serves all of its trainings."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    status: int
    """That of the command: 0; 1 where nothing could be trained; 128 and a signal's number where that ended it."""
    run_dir: Path
    plan: Plan

    def results(self) -> results.Results:
        """The tables that the run left. Raises UserError where it left none, as a dry run."""
        return results.load(self.run_dir)


def run(
    configuration: Configuration,
    command: str | None = None,
    executor: Executor | None = None,
    beside: Callable[[Path], AbstractContextManager[object]] = nullcontext,
) -> Outcome:
    """The benchmark that is asked for; `command` goes on record. None of an executor is Ray Tune. What `beside` makes
    of the run's folder is entered until the report is written. Raises UserError."""
    slots = count_slots(configuration.budget.device, configuration.rate, configuration.address)
    prepared = prepare(configuration)
    readme, run_dir = configuration.readme, prepared.run_dir
    if not prepared.labelled and (wanting := needing_labels(configuration.protocols or ())):
        raise UserError(wants_labels(wanting[0]))
    if readme:  # before anything is trained
        readmes.check_place(readme, prepared.settings.dataset, prepared.settings.encoder, prepared.labelled > 0)
    with removed_if_new(Path(prepared.settings.data)) as keep:
        made = make_plan(configuration, prepared, slots)
        if configuration.dry_run:
            return Outcome(0, run_dir, made)
        prepared.save()
        keep()
    with beside(run_dir):
        status = train_all(configuration, prepared, made, command, executor)
        found = write_report(run_dir)
    if configuration.keep_encoders and status == 0:
        takeaway.keep_winners(run_dir, prepared.spaces, prepared.settings, {**prepared.facts, "commit": commit()})
    if found.run["given_up"].keys() >= prepared.spaces.keys():
        status = status or 1  # a script that waits for results must see it
    if readme and status == 0:
        changed = readmes.publish(found, readme, prepared.settings.encoder)
        print(f"README: {readme} {'has the new table' if changed else 'had this table'}")
    elif readme:
        print(f"README: {readme} keeps its table, as the run was interrupted")
    return Outcome(status, run_dir, made)


def train(configuration: TrainingConfiguration) -> Path:
    """Train the one method that is asked for, and keep its encoder: the folder of it (`bench.execution.card`). Raises
    UserError."""
    prepared = prepare(configuration)
    (space,) = prepared.spaces.values()
    if configuration.init and not space.method.endswith(WARM):
        raise UserError(
            f"{space.method} brings an encoder of its own, which begins with no other's weights; name another method"
        )
    with prepared.saved():
        return single.train(
            space,
            _compiled_on_gpus(configuration, prepared.settings),
            epochs=configuration.epochs or MOST_EPOCHS,
            seed=configuration.seed,
            run_dir=prepared.run_dir,
            fresh=configuration.fresh,
            facts={**prepared.facts, "commit": commit()},
        )


def profile(configuration: TrainingConfiguration) -> str:
    """Where the time of a training step of the one method that is asked for goes, in words. Raises UserError."""
    prepared = prepare(configuration)
    (space,) = prepared.spaces.values()
    with prepared.saved():
        return phases.profile(space.method, space.defaults, _compiled_on_gpus(configuration, prepared.settings))


def _compiled_on_gpus(configuration: TrainingConfiguration, settings: TrainingSettings) -> TrainingSettings:
    asked = configuration.compile
    return dataclasses.replace(settings, compile=settings.device == "cuda" if asked is None else asked)


def make_plan(configuration: Configuration, prepared: Prepared, slots: int) -> Plan:
    """The plan of the run, printed in words. Raises UserError."""
    run_dir = prepared.run_dir
    before = Fold() if configuration.fresh else read(run_dir / "ledger.jsonl")
    share = configuration.budget.seconds / len(prepared.spaces)
    compiled = compiling(configuration.compile, before.settings, configuration.on_gpu(), share)
    settings = dataclasses.replace(prepared.settings, compile=compiled)
    learnt, told = learning.learn(configuration.learn_from, prepared.spaces, settings.identity(), before, run_dir)
    experiment = Experiment(
        spaces=prepared.spaces,
        factory="bench.execution.training:Training",
        settings=settings,
        baselines=(
            *_own_baselines(prepared),
            *brought.frozen_baselines(settings),
        ),
        epochs=configuration.epochs,
        seeds=configuration.seeds,
        seed=configuration.seed,
        searcher=doors.absolute(configuration.searcher),
        scheduler=doors.absolute(configuration.scheduler),
        protocols=_protocols(configuration, prepared),
        learnt=learnt,
    )
    made = planning.make(
        experiment,
        configuration.budget,
        slots,
        configuration.rate,
        calibrate=calibrate,
        run_dir=run_dir,
        fresh=configuration.fresh,
        facts=prepared.facts,
        keep=configuration.dry_run,
        prepare=prepared.save,
        optional=configuration.protocols is None,
    )
    if mixture := planning.mixture(before, prepared.facts):
        print(f"warning: {mixture}", file=sys.stderr)
    grouped = prepared.facts["images"]["groups"] is not None
    print("\n".join([describe(made, before.charged, prepared.labelled, grouped), *told]))
    return made


def _own_baselines(prepared: Prepared) -> Iterator[str]:
    """Those that these images allow; why another is left out is told."""
    images, settings = prepared.facts["images"], prepared.settings
    pixels = 4 * (images["train"] + images["test"]) * settings.channels * settings.image_size**2
    for name in BASELINES:
        if name == "pixels" and pixels > MOST_PIXELS:
            print(f"note: raw pixels are left out of the baselines: as features they take {pixels / 2**30:.0f} GiB")
        elif prepared.labelled or name not in WITH_LABELS:
            yield name


def _protocols(configuration: Configuration, prepared: Prepared) -> tuple[str, ...]:
    """What judges encoders beside the kNN that ends every training; what few labels are worth without an encoder
    belongs to `few`. Without labels, those that need none."""
    asked = PROTOCOLS if configuration.protocols is None else configuration.protocols
    wanted = {*asked, *(["scratch"] if "few" in asked else [])} - {"knn"}
    wanted -= set() if prepared.labelled else set(needing_labels(wanted))
    return tuple(name for name in PROTOCOLS if name in wanted)


def train_all(
    configuration: Configuration,
    prepared: Prepared,
    made: Plan,
    command: str | None = None,
    executor: Executor | None = None,
) -> int:
    """Carry the plan out, the Parquet files always up to date; the exit status. Raises UserError."""
    facts = {
        **prepared.facts,
        "commit": commit(),
        "command": command,
        "search_spaces": {
            name: {
                "paper": space.paper,
                "hash": space.hash,
                "recipe": space.recipe,
                "hyperparameters": space.entries,
            }
            for name, space in prepared.spaces.items()
        },
    }
    run_dir = prepared.run_dir
    try:
        fold = driver.run(
            made,
            run_dir,
            executor or RayTune(configuration.address),
            fresh=configuration.fresh,
            facts=facts,
            on_results=lambda fold: results.write(fold, run_dir),
            log_to=configuration.log_to,
        )
    except driver.Interrupted as interruption:
        print(f"{interruption} (without --fresh)" if configuration.fresh else interruption)
        return 128 + interruption.signal
    for line in evaluations.left_out(made, fold):
        print(f"note: {line}")
    return 0


def write_report(run_dir: Path) -> results.Results:
    """Write the page and the tables of the run in `run_dir`, and print the table and where all lies."""
    page = report.write(run_dir)
    found = results.load(run_dir)
    print(table.terminal(found))
    if troubles := diagnosis.summary(diagnosis.groups(found)):
        print(f"Trials that went wrong: {troubles}. The report says what is usually done about it.\n")
    print(f"Report: {page}\nTable:  {run_dir / 'table.md'}\nData:   {run_dir / 'trials.parquet'}")
    if found.run["settings"]["dataset"] == "cifar10" and found.judged.ranks:
        print(f"Beside published numbers: {anchors.write(run_dir)}")
    return found


def compiling(asked: bool | None, begun: dict[str, Any], on_gpu: bool, seconds: float) -> bool:
    """Whether steps are compiled: as asked, else as it was when the run with the settings `begun` began, "on" or "off",
    else if it pays in so many device-seconds of a method."""
    if asked is not None:
        return asked
    return begun["compile"] == "on" if begun.get("compile") else on_gpu and seconds >= COMPILING_PAYS


def count_slots(device: str, rate: float, address: str | None) -> int:
    """The trials that run at a time: of the cluster at `address`, else of this machine. Raises UserError."""
    if address:
        found = ray_cluster.cluster_slots(address, device, rate)
        if not found:
            raise UserError(
                f"the cluster at {address} has no {device.upper()} that is whole; start Ray on nodes with some"
            )
        return found
    if device == "cpu":
        return cores()
    if not torch.cuda.is_available():
        raise UserError("a budget in GPU time needs a GPU, and PyTorch finds none here; use one such as 20cpu-minutes")
    return budget.slots(torch.cuda.device_count(), rate)
