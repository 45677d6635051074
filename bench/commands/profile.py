"""`ssl-bench profile METHOD`: where the time of a training step goes."""

from typing import Any

import click

from bench.commands.options import SETTINGS, of_trainings, one_method
from bench.execution.configuration import TrainingConfiguration


@click.command("profile", context_settings=SETTINGS)
@one_method
@of_trainings
def command(**asked: Any) -> None:
    """Tells where the time of METHOD's step goes.

    That is milliseconds of each phase, images per second, and how near these are to what the device can do.

    \b
    ssl-bench profile simclr
    ssl-bench profile dino --encoder vit_tiny --dataset shapes
    """
    configuration = TrainingConfiguration(**asked)
    from bench.execution import benchmark

    print(benchmark.profile(configuration))
