"""`ssl-bench report RUN_DIR`: the page and the tables again."""

from pathlib import Path

import click

from bench.commands.options import SETTINGS, option, run_folder


@click.command("report", context_settings=SETTINGS)
@run_folder
@option(
    "--update-readme",
    "Put the table into the README.md here, between the markers of this name; of a bundle, too.",
    metavar="NAME",
)
def command(run_dir: Path, update_readme: str | None) -> None:
    """Makes a run's report again from its Parquet files.

    It writes report.html, table.md and table.csv; a bundle is unpacked for it into reports/.

    \b
    ssl-bench report reports/cifar10-resnet18
    ssl-bench report results/NAME.bundle.zip
    ssl-bench report results/NAME.bundle.zip --update-readme resnet18
    """
    from bench.files import RUNS
    from bench.report import bundle, readme, report

    if update_readme is not None:
        changed = readme.publish(bundle.load(run_dir), "README.md", update_readme)
        print(f"README.md has {'the new table' if changed else 'that table already'}")
        return
    if run_dir.is_file():
        folder = RUNS / run_dir.name.removesuffix(bundle.SUFFIX)
        bundle.unpack(run_dir, folder)
        run_dir = folder
    print(report.write(run_dir))
