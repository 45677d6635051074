"""`ssl-bench train METHOD`: train one method alone and keep its encoder."""

from pathlib import Path
from typing import Any

import click

from bench.commands.options import SETTINGS, flag, number, of_trainings, one_method, option
from bench.errors import UserError
from bench.execution import card
from bench.execution.configuration import TrainingConfiguration


@click.command(
    "train",
    context_settings=SETTINGS,
    epilog="The same command again continues a training that was stopped.",
)
@one_method
@of_trainings
@option(
    "--from",
    "Go on from a kept encoder: its weights, its network and its image size, unless other ones are named.",
    metavar="FOLDER",
)
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
    ssl-bench train simclr --from path/to/trained/byol --dataset path/to/others
    """
    if (kept := asked.pop("from")) is not None:
        asked = _from(kept, asked)
    configuration = TrainingConfiguration(**asked)
    from bench.execution import benchmark

    print(f"Encoder: {benchmark.train(configuration)}")


def _from(kept: str, asked: dict[str, Any]) -> dict[str, Any]:
    """What is asked, with what the card of a kept encoder says where nothing else is."""
    if asked["init"] is not None:
        raise UserError("--from and --init both name the weights with which it begins; leave out one of them")
    found = card.read(card.folder_of(kept) or Path(kept))
    return {**asked, "init": kept, "image_size": asked["image_size"] or found.preprocessing.image_size}
