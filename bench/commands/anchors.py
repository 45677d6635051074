"""`ssl-bench anchors RUN_DIR`: a run beside published numbers."""

from pathlib import Path

import click

from bench.commands.options import SETTINGS, run_folder


@click.command("anchors", context_settings=SETTINGS)
@run_folder
def command(run_dir: Path) -> None:
    """Sets a run beside published numbers.

    It writes anchors.md: each accuracy beside what others published, or what keeps them from being compared.

    \b
    ssl-bench anchors reports/cifar10-resnet18
    """
    from bench.report import anchors

    print(anchors.write(run_dir))
