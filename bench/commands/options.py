"""The options that several commands have, and what reads their values."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from algorithms import METHODS, WITH_TEACHER
from algorithms.encoders import ENCODERS
from algorithms.evaluation.metrics import PROTOCOLS
from bench.data.known import NAMES
from bench.errors import UserError
from bench.execution.configuration import FITS, PRESETS, WHOLE, check_share
from bench.search.methods import named

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
ENCODER = (
    "ENCODER is a folder that train or run --keep-encoders left, timm:NAME, torchvision:NAME, or your own as "
    "package.module:function or file.py:function, each with =FILE for other weights; or one of our encoders as "
    "NAME=FILE."
)
"""What commands take that judge, show or hand on an encoder."""
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def text(value: str) -> str:
    if not value.strip():
        raise click.BadParameter("it is empty, as from a variable that is not set")
    return value


def folder(value: str) -> Path:
    return Path(text(value))


def whole(least: int, most: int) -> Callable[[str], int]:
    """What reads a whole number of this range."""

    def read(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise click.BadParameter(f"{value!r} is not a whole number from {least:,} to {most:,}")
        return number

    return read


def share(value: str) -> float:
    try:
        return check_share(float(value))
    except (ValueError, UserError):
        raise click.BadParameter(f"{value!r} is not a share of a GPU from 0.01 up to 1") from None


def option(
    name: str, help: str, *, known: Iterable[str] = (), read: Callable[[str], Any] = text, **more: Any
) -> Decorator:
    """An option with a value, which a shell completes to what is `known`: the last of several, if there are commas."""

    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        before, comma, last = begun.rpartition(",")
        return [before + comma + each for each in known if each.startswith(last)]

    return click.option(name, type=read, help=help, shell_complete=complete, **{"metavar": "TEXT", **more})


def number(name: str, help: str, default: int | None = None) -> Decorator:
    """An option with a whole number (`WHOLE`)."""
    read = whole(*WHOLE[name.removeprefix("--").replace("-", "_")])
    return option(name, help, read=read, default=default, metavar="NUMBER")


def evaluations(help: str) -> Decorator:
    """The option --evaluate: protocols by name."""

    def read(value: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(text(value).split(",")))

    return option("--evaluate", help, known=PROTOCOLS, read=read, metavar="NAMES")


def flag(name: str, help: str) -> Decorator:
    return click.option(name, is_flag=True, help=help)


FIT = click.option(
    "--fit",
    type=click.Choice(FITS),
    default="crop",
    help="What becomes of images that are not square: the central square (default), all of it on black, all of it "
    "stretched.",
)
STRICT = flag("--strict", "Stop at a corrupt image instead of leaving it out.")
OF_IMAGES = (
    option(
        "--dataset",
        f"A name ({', '.join(NAMES)}), a folder of images or of Parquet files, a .zip or .tar, or your own as "
        "package.module:function or file.py:function; default: cifar10 on GPUs, shapes on CPUs.",
        known=NAMES,
    ),
    number("--image-size", "Side in px to which images are resized; needed where they differ in size."),
    FIT,
    option("--labels", "A CSV or Parquet file of paths (or ids) and labels; these alone judge.", read=folder),
    flag("--unlabelled", "Leave aside the labels that there are, such as folders that are no classes."),
    option("--group", "The column of what belongs together (patient, slide, video): it never stands in two splits."),
    option("--group-by", "The same by a regular expression, matched in each image's path.", metavar="REGEX"),
    flag("--drop-duplicates", "Leave out training images that are test images too, or another one once more."),
    number("--limit", "Use a fixed subset of so many training images."),
    STRICT,
)
OF_TRAININGS = (
    *OF_IMAGES,
    option(
        "--encoder",
        "A name, timm:NAME, torchvision:NAME, or your own as package.module:function or file.py:function; default: "
        "resnet18 on GPUs, resnet8 on CPUs.",
        known=ENCODERS,
    ),
    option(
        "--init",
        "Pretrained weights with which all methods begin: timm:NAME or torchvision:NAME (theirs), your own as "
        "file.py:function, each with =FILE for other weights; or a file of weights for --encoder.",
    ),
    option("--teacher", "What the method distill follows, named as for --init."),
    number("--batch-size", "Images in a step, at most; default: as each method's recipe says."),
    click.option(
        "--augment",
        type=click.Choice(PRESETS),
        help="The kind of the images: augmentations that suit it are searched beside each method's own.",
    ),
    number("--seed", "From which the search and all trainings draw (default 0).", default=0),
    option("--run-dir", "Where the run is kept; default: reports/DATASET-ENCODER here.", read=folder, metavar="FOLDER"),
    click.option(
        "--compile",
        type=click.Choice(("on", "off")),
        callback=lambda context, parameter, value: None if value is None else value == "on",
        help="Whether training steps are compiled; default: on GPUs, unless the budget is small.",
    ),
    flag("--deterministic", "The same result every time on this machine; slower on GPUs."),
)


def of_images(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say on which images."""
    return functools.reduce(lambda of, add: add(of), reversed(OF_IMAGES), command)


def of_trainings(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say on which images, with which network and how it is trained."""
    return functools.reduce(lambda of, add: add(of), reversed(OF_TRAININGS), command)


def one_method(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument METHOD, which becomes `methods`."""

    def read(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
        asked = named(value)
        if len(asked) > 1:
            raise UserError(f"{context.info_name} takes one method, not {value!r}")
        return asked

    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        return [name for name in METHODS | WITH_TEACHER if name.startswith(begun)]

    return click.argument("methods", metavar="METHOD", type=text, callback=read, shell_complete=complete)(command)


def run_folder(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument RUN_DIR."""
    return click.argument("run_dir", metavar="RUN_DIR", type=folder)(command)
