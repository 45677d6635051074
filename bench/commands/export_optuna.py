"""`ssl-bench export-optuna RUN_DIR`: the searches of a run as Optuna's studies."""

from pathlib import Path

import click

from bench.commands.options import SETTINGS, folder, option, run_folder


@click.command("export-optuna", context_settings=SETTINGS)
@run_folder
@option("--output", "The file to write; default: RUN_DIR/optuna.journal.", read=folder, metavar="FILE")
def command(run_dir: Path, output: Path | None) -> None:
    """Writes a run's searches as Optuna's studies.

    optuna-dashboard opens the file as it is. Times are in UTC.

    \b
    ssl-bench export-optuna reports/cifar10-resnet18
    pip install optuna-dashboard && optuna-dashboard reports/cifar10-resnet18/optuna.journal
    """
    from bench.search.exported import export

    output = output or run_dir / "optuna.journal"
    studies = export(run_dir, output)
    print(f"{output}: {studies} studies; open it with: optuna-dashboard {output}")
