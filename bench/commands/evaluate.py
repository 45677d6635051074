"""`ssl-bench evaluate ENCODER`: what any encoder's features are good for."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from bench.commands.options import ENCODER, SETTINGS, evaluations, folder, number, of_images, option, text
from bench.errors import UserError
from bench.files import check_output, write_atomically


@click.command(
    "evaluate",
    context_settings=SETTINGS,
    epilog=ENCODER,
)
@click.argument("encoder", type=text)
@of_images
@evaluations("How, by names with commas between them: knn, linear, few (all of these by default), finetune.")
@number("--seed", "From which fine-tuning draws (default 0).", default=0)
@option("--output", "A JSON file for all figures, those of each class and each draw too.", read=folder, metavar="FILE")
def command(encoder: str, evaluate: tuple[str, ...] | None, output: Path | None, **asked: Any) -> int:
    """Judges ENCODER by the protocols of a run.

    That is kNN, a linear probe, both with few labels, and fine-tuning, on the test images of the data set. The encoder
    sees them at its own size and by its own normalisation.

    \b
    ssl-bench evaluate torchvision:resnet18 --dataset path/to/images
    ssl-bench evaluate reports/shapes-resnet8/trained/byol --dataset shapes --evaluate linear,few,finetune
    """
    if output is not None and check_output(output) != output.absolute().parent:
        raise UserError(f"{output} cannot be written; give --output a file in a folder that there is")
    from bench.execution import judging

    try:
        found = judging.evaluate(encoder, evaluate or judging.USUAL, **asked)
    except KeyboardInterrupt:
        print("interrupted; no figures are written", file=sys.stderr)
        return 130
    if output is not None:
        write_atomically(output, json.dumps(found.to_json(), indent=1) + "\n")
    print(f"\n{found}")
    return 0
