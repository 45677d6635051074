"""`ssl-bench embed ENCODER IMAGES`: the features of images, as Parquet."""

import sys
from pathlib import Path
from typing import Any

import click

from bench.commands.options import ENCODER, FIT, SETTINGS, STRICT, folder, number, option, text
from bench.data import known


@click.command(
    "embed",
    context_settings=SETTINGS,
    epilog=ENCODER,
)
@click.argument("encoder", type=text)
@click.argument("images", type=text)
@option(
    "--output",
    "The Parquet file; default: IMAGES-ENCODER.parquet here. One of the same images and encoder is replaced.",
    read=folder,
    metavar="FILE",
)
@number("--image-size", "Side in px at which the encoder sees the images; default: its own.")
@FIT
@option("--labels", "A CSV or Parquet file of paths (or ids) and labels.", read=folder)
@STRICT
def command(encoder: str, images: str, output: Path | None, **asked: Any) -> int:
    """Writes the features of IMAGES by ENCODER as Parquet.

    IMAGES is what --dataset takes elsewhere: a folder, a .zip or .tar, Parquet, a name; all of its images, whatever
    their split. Each is a row: its path, its split and label where there are some, its features.

    \b
    ssl-bench embed torchvision:resnet18 path/to/images
    ssl-bench embed resnet18=encoder.pt shapes --image-size 32 --output features.parquet
    """
    known.check(images)
    from bench.execution.embedding import embed

    try:
        print(f"Features: {embed(encoder, images, output, **asked)}")
    except KeyboardInterrupt:
        print("interrupted; no features are written", file=sys.stderr)
        return 130
    return 0
