"""`ssl-bench log RUN_DIR --to NAME`: a run for TensorBoard, W&B, MLflow, Trackio or a tracker of one's own."""

from pathlib import Path

import click

from bench.commands.options import SETTINGS, option, run_folder
from bench.errors import UserError
from bench.search.events import read_events
from bench.trackers import feeder, known


@click.command("log", context_settings=SETTINGS)
@run_folder
@option(
    "--to",
    "tensorboard, wandb, mlflow, trackio, package.module:Class or file.py:Class.",
    known=known.TRACKERS,
    required=True,
)
def command(run_dir: Path, to: str) -> None:
    """Tells a tracker every epoch of a run.

    It gives what run --log-to gives while a run goes on, of one that was recorded without it. What the tracker was told
    before is not told again.

    \b
    ssl-bench log reports/cifar10-resnet18 --to tensorboard
    ssl-bench log reports/cifar10-resnet18 --to mine.py:MyTracker
    """
    known.check(to)
    if not (run_dir / "ledger.jsonl").is_file():
        raise UserError(f"{run_dir} has no ledger.jsonl; name the folder of a run")
    read_events(run_dir / "ledger.jsonl")  # a damaged line is told here
    with feeder.alone(run_dir, to):
        try:
            tracker = known.make(to)
            of_run = feeder.Feeder(run_dir.resolve(), to, tracker)
            ended = of_run.feed()
            tracker.close()
            of_run.note()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{to} cannot take the run ({type(error).__name__}: {error})") from error
    print(f"{to} was told of {ended} trials that ended" if ended else f"{to} knew all that has ended")
