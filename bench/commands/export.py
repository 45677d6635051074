"""`ssl-bench export ENCODER --to FORM`: an encoder in a form that others load."""

from pathlib import Path

import click

from bench.commands.options import ENCODER, SETTINGS, folder, number, option, text
from bench.execution.configuration import FORMS


@click.command("export", context_settings=SETTINGS, epilog=ENCODER)
@click.argument("source", metavar="ENCODER", type=text)
@click.option(
    "--to",
    type=click.Choice(list(FORMS)),
    required=True,
    help="An ONNX model (the extra onnx), a program of torch.export, or a folder that timm.create_model loads.",
)
@option(
    "--output",
    "Where it goes; default: beside the encoder's card, else the working directory.",
    read=folder,
    metavar="PATH",
)
@number("--image-size", "Side in px of the images that it is to see; needed where the encoder does not say it.")
def command(source: str, to: str, output: Path | None, image_size: int | None) -> None:
    """Writes an encoder in a form that others load.

    ONNX models and programs take float images [B, C, S, S] of values 0 to 1, as many as one likes, and normalise them.

    \b
    ssl-bench export reports/shapes-resnet8/trained/byol --to onnx
    ssl-bench export torchvision:resnet18 --to timm --output resnet18
    """
    from bench.execution import export

    print(export.export(source, to, output, image_size))
