"""`ssl-bench verify BUNDLE_OR_RUN_DIR`: whether results follow from their ledger."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands.options import SETTINGS, folder, option
from bench.doors import is_door

if TYPE_CHECKING:
    from bench.execution.configuration import TrainingConfiguration


@click.command("verify", context_settings=SETTINGS)
@click.argument("run", metavar="BUNDLE_OR_RUN_DIR", type=folder)
@option("--again", "Train this confirming trial again, by its uid; any takes the shortest.", metavar="TRIAL")
@option("--dataset", "Where the run's images lie here, for --again; default: as the run's command says.")
def command(run: Path, again: str | None, dataset: str | None) -> int:
    """Checks a run by its ledger; trains only when asked.

    It checks that lines, trials and seeds are those of the rules, replays every pruning decision and every choice of a
    winner, adds up the charges, and makes the Parquet files and the tables again. It ends with status 1 where something
    is wrong. Figures that were made up and fit together are not found so: --again trains one of them.

    \b
    ssl-bench verify cifar10-resnet18.bundle.zip
    ssl-bench verify reports/cifar10-resnet18 --again any
    """
    from bench.errors import UserError
    from bench.report import bundle, verification

    if dataset is not None and again is None:
        raise UserError("--dataset says where images lie for --again; add --again any, or leave it out")
    with bundle.opened(run) as source:
        checks = verification.verify(source)
        print(verification.told(checks), flush=True)
        if again is not None:
            from bench.execution.again import train_again

            checks.append(train_again(source.folder, again, _configuration(source.folder, dataset)))
            print(verification.told(checks[-1:]))
    wrong = [check.name for check in checks if check.wrong]
    print(f"wrong: {', '.join(wrong)}" if wrong else "All that was checked is right.")
    return 1 if wrong else 0


def _configuration(folder: Path, dataset: str | None) -> "TrainingConfiguration":
    """What the run's last command asked for of its images, with those in `dataset` where it is given. Raises UserError
    where the ledger does not tell a command."""
    from bench.commands.run import command as run_command
    from bench.errors import UserError
    from bench.execution.configuration import TrainingConfiguration
    from bench.report.bundle import LEDGER
    from bench.search.fold import read

    sessions = read(folder / LEDGER).sessions
    words = str((sessions[-1].get("facts") or {}).get("command") or "") if sessions else ""
    try:
        told = run_command.make_context("run", shlex.split(words)[1:], resilient_parsing=True).params
    except (ValueError, click.ClickException):
        told = {}
    kept = ("dataset", "limit", "labels", "unlabelled", "group", "group_by", "drop_duplicates", "strict", "fit")
    asked = {name: told[name] for name in kept if told.get(name) is not None}
    asked |= {"dataset": dataset} if dataset is not None else {}
    if not asked.get("dataset"):
        asked["dataset"] = str(read(folder / LEDGER).settings.get("dataset"))
    if dataset is None and is_door(str(asked["dataset"])):
        raise UserError("the run's images come from code of a user, which is not run; name them by --dataset")
    return TrainingConfiguration(**asked)
