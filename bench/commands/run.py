"""`ssl-bench run`, which `python run_bench.py` is: train, tune and compare methods."""

import contextlib
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from algorithms import GROUPS, METHODS, WITH_TEACHER
from bench.commands.options import SETTINGS, evaluations, flag, folder, number, of_trainings, option, share
from bench.errors import UserError
from bench.execution.configuration import Configuration
from bench.search.budget import Budget
from bench.search.methods import named
from bench.trackers.known import TRACKERS

MOVED = {"--train": "train", "--profile": "profile"}
"""Options of earlier versions -> the subcommands that took their place."""


@click.command(
    "run",
    context_settings=SETTINGS,
    epilog="The same command again continues a run; a larger --budget extends it.",
)
@option(
    "--methods",
    "Names with commas between them, or groups: all (default), seed (the first sixteen), modern (those since), fast "
    "(cheap per epoch); all,-seer takes one out; your own as package.module:Class or file.py:Class, with a search "
    "space beside it.",
    known=(*GROUPS, *METHODS, *WITH_TEACHER),
    default="all",
)
@option("--budget", "Device time of all trials: 8gpu-hours, 90gpu-minutes, 20cpu-minutes.")
@of_trainings
@option(
    "--reference",
    "A pretrained network as a baseline, never trained here, named as for --init; 'default' is a good pair; may be "
    "given several times.",
    known=("default",),
    multiple=True,
)
@flag("--scratch", "Beside --init: train each method from scratch as well, as a row of its own.")
@evaluations(
    "How encoders are judged, by names with commas between them: knn (always), linear, few, scratch (with few), "
    "finetune; default: all that take at most a tenth of the budget each."
)
@number("--epochs", "Of every training; default: the most of 1, 2, 3, 5, 10, ... 200 that leave time to search.")
@number("--seeds", "Fresh seeds that confirm each winner (default 3).", default=3)
@flag("--fresh", "Begin anew instead of continuing the run.")
@flag("--keep-encoders", "Keep each method's best confirmed encoder, to take away; also of a run that has ended.")
@flag("--update-readme", "Put the table into the README.md here; for a run on CIFAR-10, also a finished one.")
@flag("--watch", "Show the run in a browser while it goes on, as ssl-bench watch does.")
@flag("--dry-run", "Print the plan and stop.")
@option("--gpus-per-trial", "1 (default), or a part such as 0.5 for two trials on a GPU.", read=share, default=1.0)
@option("--address", "Of a Ray cluster, 'auto' for the one on this machine; default: this machine alone.")
@option(
    "--searcher",
    "tpe (default), prior, random, none (recipes alone, with --seeds seeds), package.module:function or "
    "file.py:function.",
    known=("tpe", "prior", "random", "none"),
    default="tpe",
)
@option(
    "--learn-from",
    "An earlier run, whose best configurations begin the search; may be given several times.",
    read=folder,
    metavar="RUN_DIR",
    multiple=True,
)
@option(
    "--scheduler",
    "asha (default), full, package.module:Class or file.py:Class.",
    known=("asha", "full"),
    default="asha",
)
@option(
    "--log-to",
    "A tracker that follows the run: tensorboard, wandb, mlflow, trackio, package.module:Class or file.py:Class; may "
    "be given several times.",
    known=TRACKERS,
    multiple=True,
)
@click.option("--train", hidden=True)
@click.option("--profile", hidden=True)
@click.pass_context
def command(context: click.Context, /, budget: str | None, update_readme: bool, watch: bool, **asked: Any) -> int:
    """Tunes and compares methods with the same compute.

    Every winner is confirmed with fresh seeds, and all is written as Parquet, a table and a report.

    \b
    ssl-bench run --methods all --budget 8gpu-hours
    ssl-bench run --methods simclr,byol,swav --budget 2gpu-hours --dataset path/to/images --image-size 64
    ssl-bench run --methods simclr,mine.py:MyMethod --budget 20cpu-minutes --dry-run
    """
    for moved, subcommand in MOVED.items():
        if (method := asked.pop(subcommand)) is not None:
            raise UserError(f"{moved} has become a command of its own; type: ssl-bench {subcommand} {method} ...")
    if budget is None:
        raise UserError("--budget is needed, such as 8gpu-hours or 20cpu-minutes; --help lists the options")
    asked["methods"] = named(asked["methods"], teacher=asked["teacher"] is not None)
    readme = Path("README.md").resolve() if update_readme else None
    protocols = asked.pop("evaluate")
    configuration = Configuration(budget=Budget.parse(budget), readme=readme, protocols=protocols, **asked)
    from bench.execution import benchmark  # when all is refused that can be without it

    words = shlex.join([str(context.find_root().info_name), *sys.argv[1:]])
    beside: dict[str, Any] = {"beside": watched} if watch else {}
    return benchmark.run(configuration, words, **beside).status


@contextlib.contextmanager
def watched(run_dir: Path) -> Iterator[None]:
    """A process beside this one shows the run until it ends, or this one does."""
    from bench.execution import interpreter

    words = interpreter.module("bench.watch.server", str(run_dir))
    # In a session of its own, so that Ctrl-C ends the run first, and the page shows how.
    process = subprocess.Popen(words, env=interpreter.environment(), stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
