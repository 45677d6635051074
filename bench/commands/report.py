"""`ssl-bench report RUN_DIR`: the page and the tables again."""

from pathlib import Path

import click

from bench.commands.options import SETTINGS, run_folder


@click.command("report", context_settings=SETTINGS)
@run_folder
def command(run_dir: Path) -> None:
    """Makes a run's report again from its Parquet files.

    It writes report.html, table.md and table.csv.

    \b
    ssl-bench report reports/cifar10-resnet18
    """
    from bench.report import report

    print(report.write(run_dir))
