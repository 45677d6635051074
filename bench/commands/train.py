"""`ssl-bench train METHOD`: train one method alone and keep its encoder."""

from typing import Any

import click

from bench.commands.options import SETTINGS, flag, number, of_trainings, one_method
from bench.execution.configuration import TrainingConfiguration


@click.command(
    "train",
    context_settings=SETTINGS,
    epilog="The same command again continues a training that was stopped.",
)
@one_method
@of_trainings
@number("--epochs", "Of the training (default 200).")
@flag("--fresh", "Begin anew instead of continuing the training.")
def command(**asked: Any) -> None:
    """Trains METHOD alone and keeps its encoder.

    It trains on all training images. The hyper-parameters are those that won in --run-dir, else the search space's
    recipe. The folder trained/METHOD of the run's folder is the encoder: its weights (model.safetensors), a program of
    PyTorch's that needs nothing else (encoder.pt2), and what it is (card.json).

    \b
    ssl-bench train byol --dataset path/to/images --image-size 64 --epochs 800
    ssl-bench train mine.py:MyMethod --dataset shapes --epochs 10
    """
    configuration = TrainingConfiguration(**asked)
    from bench.execution import benchmark

    print(f"Encoder: {benchmark.train(configuration)}")
