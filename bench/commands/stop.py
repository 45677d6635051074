"""`ssl-bench stop RUN_DIR TRIAL`: end one trial of a run that goes on."""

from pathlib import Path

import click

from bench.commands.options import SETTINGS, run_folder, text


@click.command("stop", context_settings=SETTINGS)
@run_folder
@click.argument("trial", metavar="TRIAL", type=text)
def command(run_dir: Path, trial: str) -> None:
    """Stops one trial by hand, for good, while the run goes on.

    What it held stays charged to its method, and the report lists it among the failures. `ssl-bench watch` shows the
    trials that run.

    \b
    ssl-bench stop reports/cifar10-resnet18 simclr-0007
    """
    from bench.execution import stopping

    click.echo(stopping.stop(run_dir, trial))
