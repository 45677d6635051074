"""`ssl-bench bundle RUN_DIR`: a run in one file, for others to check."""

from pathlib import Path

import click

from bench.commands.options import SETTINGS, flag, folder, option, run_folder


@click.command("bundle", context_settings=SETTINGS)
@run_folder
@option("--output", "The file; default: RUN_DIR.bundle.zip here.", read=folder, metavar="FILE")
@flag("--unfinished", "Pack a run that has not ended, too.")
def command(run_dir: Path, output: Path | None, unfinished: bool) -> None:
    """Packs a run into one file that others can check.

    It holds the ledger, the Parquet files, the tables, what the run was made with, and the hash of each. The same run
    gives the same bytes. No encoder and no image is in it.

    \b
    ssl-bench bundle reports/cifar10-resnet18
    ssl-bench verify cifar10-resnet18.bundle.zip
    """
    from bench.files import check_output
    from bench.report import bundle

    path = output or Path(f"{run_dir.resolve().name}{bundle.SUFFIX}")
    check_output(path)
    bundle.write(run_dir, path, unfinished=unfinished)
    print(f"Bundle: {path} ({path.stat().st_size / 1024:,.0f} KiB)")
