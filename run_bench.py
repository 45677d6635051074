"""Which self-supervised method should I use on my images, tuned fairly, for the compute I have?

python run_bench.py --methods all --budget 8gpu-hours
"""

import argparse
import contextlib
import dataclasses
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.output import readerless

ROOT = Path(__file__).resolve().parent

COMPILING_PAYS = 600
"""Device-seconds of a method from which its steps are compiled on GPUs: its graph takes up to a minute to make, once,
and serves all of its trainings."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong on one line."""

    def error(self, message: str):
        raise UserError(f"{message}; --help lists the options")


def parser() -> Parser:
    """What reads the command line."""
    parser = Parser(
        prog="run_bench.py",
        description="Trains, tunes and compares self-supervised methods with the same compute for each.",
        epilog="The same command again continues a run; a larger --budget extends it.",
    )
    add = parser.add_argument
    add("--methods", type=text, default="all", help="names with commas between them, or 'all' (default)")
    add("--budget", type=text, help="device time of all trials: 8gpu-hours, 90gpu-minutes, 20cpu-minutes")
    add("--dataset", type=text, help="a name (cifar10, cifar100, stl10, svhn, fashionmnist, shapes), a folder of "
        "Parquet files or of class folders; default: cifar10 on GPUs, shapes on CPUs")  # fmt: skip
    add(
        "--image-size",
        type=whole(1, 65_535),
        help="side in px to which images are resized; needed where they differ in size",
    )
    add("--limit", type=whole(1, 10**9), help="use a fixed subset of so many training images")
    add("--strict", action="store_true", help="stop at a corrupt image instead of leaving it out")
    add("--encoder", type=text, help="default: resnet18 on GPUs, resnet8 on CPUs")
    add(
        "--epochs",
        type=whole(1, 100_000),
        help="of every training; default: the most of 1, 2, 3, 5, 10, ... 200 that leave time to search",
    )
    add("--batch-size", type=whole(2, 10**6), help="images in a step, at most; default: as each method's recipe says")
    add("--seeds", type=whole(1, 1000), default=3, help="fresh seeds that confirm each winner (default 3)")
    add("--seed", type=whole(0, 2**31 - 1), default=0, help="from which the search and all trainings draw (default 0)")
    add("--run-dir", type=folder, help="where the run is kept; default: reports/DATASET-ENCODER")
    add("--fresh", action="store_true", help="begin anew instead of continuing the run")
    add("--compile", choices=("on", "off"), help="whether training steps are compiled; default: on GPUs, unless the "
        "budget is small")  # fmt: skip
    add("--deterministic", action="store_true", help="the same result every time on this machine; slower on GPUs")
    add("--update-readme", action="store_true", help="put the table into the README.md beside run_bench.py; for a run "
        "on CIFAR-10, also a finished one")  # fmt: skip
    add("--dry-run", action="store_true", help="print the plan and stop")
    add(
        "--profile",
        type=text,
        metavar="METHOD",
        help="tell where the time of this method's training step goes, and stop",
    )
    add("--train", type=text, metavar="METHOD", help="train this method alone, keep its encoder, and stop; with the "
        "hyper-parameters that won in --run-dir, else by the search space's recipe")  # fmt: skip
    add(
        "--gpus-per-trial",
        type=share,
        default=1.0,
        help="1 (default), or a part such as 0.5 for two trials on a GPU",
    )
    add(
        "--address", type=text, help="of a Ray cluster, 'auto' for the one on this machine; default: this machine alone"
    )
    add("--searcher", type=text, default="tpe", help="tpe (default), random or package.module:function")
    add("--scheduler", type=text, default="asha", help="asha (default), full or package.module:Class")
    return parser


def arguments(words: list[str] | None) -> argparse.Namespace:
    """The command line, parsed. Raises UserError."""
    reader = parser()
    options = reader.parse_args(words)
    if lost := [name for name, value in vars(options).items() if value == []]:  # argparse takes the dashes away
        reader.error(f"--{lost[0].replace('_', '-')} cannot be two dashes")
    if sum(map(bool, (options.profile, options.train, options.dry_run))) > 1:
        reader.error("--dry-run, --profile and --train exclude each other")
    if not (options.budget or options.profile or options.train):
        reader.error("--budget is needed, such as 8gpu-hours or 20cpu-minutes")
    return options


def text(value: str) -> str:
    if not value.strip():
        raise argparse.ArgumentTypeError("it is empty, as from a variable that is not set")
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
            raise argparse.ArgumentTypeError(f"{value!r} is not a whole number from {least:,} to {most:,}")
        return number

    return read


def share(value: str) -> float:
    """A part of a GPU: Ray counts in ten thousandths."""
    try:
        part = float(value)
    except ValueError:
        part = 0.0
    if not 0.01 <= part <= 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a share of a GPU from 0.01 up to 1")
    return part


def commit() -> str | None:
    """The checkout's commit, with a plus sign where files differ from it; None outside a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


@readerless()
def main(words: list[str] | None = None) -> int:
    """Plan, run, report; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what it cannot show shall not end a run
            stream.reconfigure(errors="backslashreplace")
    try:
        with some_home():
            return run(arguments(words))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:  # of a disk: all that was measured is in the ledger
        print(f"error: {error}; mend that and run the same command again (without --fresh)", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted; nothing that was measured is lost", file=sys.stderr)
        return 130
    return 2


@contextlib.contextmanager
def some_home() -> Iterator[None]:
    """Where this user has no home and no name, as in many containers, a temporary folder and a number: PyTorch, Ray and
    Matplotlib ask for both."""
    try:
        Path.home()
    except RuntimeError:
        os.environ.setdefault("USER", str(os.getuid()))
        with tempfile.TemporaryDirectory(prefix="ssl-bench-home-") as os.environ["HOME"]:
            try:
                yield
            finally:
                del os.environ["HOME"]
    else:
        yield


def remove_if_new(folder: Path) -> Callable[[], None]:
    """What removes a folder that is not there yet, and those above it that are not there yet and empty then."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]

    def remove() -> None:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                for each in new[1:]:
                    each.rmdir()

    return remove


def compiling(asked: str | None, begun: dict[str, Any], on_gpu: bool, seconds: float) -> bool:
    """Whether steps are compiled: as asked, "on" or "off", else as it was when the run with the settings `begun` began,
    else if it pays in so many device-seconds of a method."""
    decided = asked or begun.get("compile")
    return decided == "on" if decided else on_gpu and seconds >= COMPILING_PAYS


def machine_facts(on_gpu: bool) -> dict[str, Any]:
    """What of this machine a session puts on record."""
    import torch

    from algorithms.parts.precision import device_name

    return {
        "device": device_name(torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu")),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "torchvision", "ray", "optuna")},
    }


def train_or_profile(
    options: argparse.Namespace,
    space: Any,
    settings: Any,
    run_dir: Path,
) -> None:
    """What --train and --profile ask for, of the method with this search space. Raises UserError."""
    from bench.execution.profile import profile
    from bench.execution.single import train
    from bench.search.planning import MOST_EPOCHS

    compiled = options.compile == "on" if options.compile else settings.device == "cuda"
    settings = dataclasses.replace(settings, compile=compiled)
    if options.profile:
        print(profile(space.method, space.defaults, settings))
        return
    epochs = options.epochs or MOST_EPOCHS
    about = {"epochs": epochs, "seed": options.seed, "run_dir": run_dir, "fresh": options.fresh}
    print(f"Encoder: {train(space, settings, **about)}")


def run(options: argparse.Namespace) -> int:
    """The benchmark that the options ask for. Raises UserError."""
    from algorithms import METHODS
    from bench.search.budget import Budget, charged_rate
    from bench.search.space import check_methods, load

    budget = Budget.parse(options.budget) if options.budget else None
    single = options.profile or options.train
    asked = single or options.methods
    names = list(METHODS) if asked == "all" else check_methods(asked.split(","))
    if single and len(names) > 1:
        raise UserError(f"--{'profile' if options.profile else 'train'} takes one method")
    if options.update_readme and (single or options.dry_run):
        raise UserError("--update-readme needs a run; leave out --dry-run, --profile and --train")

    # Heavy imports come after what can be refused without them.
    import torch

    from algorithms.encoders import check_encoder
    from bench.data import images
    from bench.execution import driver
    from bench.execution.calibration import calibrate
    from bench.execution.settings import TrainingSettings
    from bench.execution.tune import RayTune
    from bench.report import anchors, report, results, table
    from bench.search.description import describe
    from bench.search.experiment import Experiment
    from bench.search.fold import Fold, read
    from bench.search.planning import make, mixture

    on_gpu = budget.device == "gpu" if budget else torch.cuda.is_available()
    encoder = options.encoder or ("resnet18" if on_gpu else "resnet8")
    try:
        check_encoder(encoder)
    except ValueError as error:
        raise UserError(str(error)) from None
    rate = charged_rate(options.gpus_per_trial) if on_gpu else 1.0
    slots = count_slots(budget.device, rate, options.address) if budget else 1
    source = ("cifar10" if on_gpu else "shapes") if options.dataset is None else options.dataset
    dataset = images.load(source, image_size=options.image_size, strict=options.strict, limit=options.limit)
    print(
        f"{dataset.note}: {len(dataset.train.labels):,} training and {len(dataset.test.labels):,} test images of "
        f"{len(dataset.classes)} classes ({table.one_line(', '.join(dataset.classes))})"
    )
    for remark in dataset.remarks:
        print(f"note: {table.one_line(remark, 1000)}")
    if encoder.startswith("vit"):
        print(
            f"note: {encoder} is a ViT, and the recipes of the search spaces are for convolutional networks: for a ViT "
            "none is published here, and what is called a published recipe is not one for it"
        )
    if not single:
        images.check_enough(dataset)
    size = dataset.train.pixels.shape[-1]
    spaces = {name: load(name, size) for name in names}
    readme = ROOT / "README.md"
    if options.update_readme:  # before anything is trained
        table.check_place(readme, dataset.name, encoder)
    run_dir = (options.run_dir or ROOT / "reports" / f"{name_of(dataset.name)}-{encoder}").resolve()
    # By its fingerprint, so that a command with other images leaves alone what a run in this folder trains on.
    data = run_dir / "data" / dataset.fingerprint[:12]
    settings = TrainingSettings(
        dataset=dataset.name,
        dataset_fingerprint=dataset.fingerprint,
        image_size=size,
        encoder=encoder,
        device="cuda" if on_gpu else "cpu",
        data=str(data),
        batch_size=options.batch_size,
        deterministic=options.deterministic,
    )
    about_images = {
        "dataset_note": dataset.note,
        "remarks": list(dataset.remarks),
        "images": {
            "train": len(dataset.train.labels),
            "test": len(dataset.test.labels),
            "left_out": len(dataset.skipped),
        },
    }

    def save_images() -> None:
        nonlocal dataset
        if dataset is not None:
            images.save(dataset, data)
            dataset = None  # from now on it is in memory once, as a mapped file

    with contextlib.ExitStack() as undo:
        undo.callback(remove_if_new(data))
        if single:
            save_images()
            train_or_profile(options, spaces[names[0]], settings, run_dir)
            return 0
        before = Fold() if options.fresh else read(run_dir / "ledger.jsonl")
        compiled = compiling(options.compile, before.settings, on_gpu, budget.seconds / len(names))
        settings = dataclasses.replace(settings, compile=compiled)
        experiment = Experiment(
            spaces=spaces,
            factory="bench.execution.training:Training",
            settings=settings,
            epochs=options.epochs,
            seeds=options.seeds,
            seed=options.seed,
            searcher=options.searcher,
            scheduler=options.scheduler,
        )
        machine = machine_facts(on_gpu)
        made = make(
            experiment,
            budget,
            slots,
            rate,
            calibrate=calibrate,
            run_dir=run_dir,
            fresh=options.fresh,
            facts=machine,
            keep=options.dry_run,
            prepare=save_images,
        )
        if mixed := mixture(before, machine):
            print(f"warning: {mixed}", file=sys.stderr)
        print(describe(made, before.charged))
        if options.dry_run:
            return 0
        save_images()
        undo.pop_all()
    facts = {
        **machine,
        **about_images,
        "commit": commit(),
        "command": shlex.join(["run_bench.py", *sys.argv[1:]]),
        "search_spaces": {
            name: {
                "paper": space.paper,
                "hash": space.hash,
                "recipe": space.recipe,
                "hyperparameters": space.entries,
            }
            for name, space in spaces.items()
        },
    }
    status = 0
    try:
        driver.run(
            made,
            run_dir,
            RayTune(options.address),
            fresh=options.fresh,
            facts=facts,
            on_results=lambda fold: results.write(fold, run_dir),
        )
    except driver.Interrupted as interruption:
        print(f"{interruption} (without --fresh)" if options.fresh else interruption)
        status = 128 + interruption.signal
    page = report.write(run_dir)
    found = results.load(run_dir)
    if found.run["given_up"].keys() >= spaces.keys():
        status = status or 1  # nothing could be trained: a script that waits for results must see it
    print(table.terminal(found))
    print(f"Report: {page}\nTable:  {run_dir / 'table.md'}\nData:   {run_dir / 'trials.parquet'}")
    if settings.dataset == "cifar10":
        print(f"Beside published numbers: {anchors.write(run_dir)}")
    if options.update_readme and status == 0:
        changed = table.publish(found, readme, encoder)
        print(f"README: {readme} {'has the new table' if changed else 'had this table'}")
    elif options.update_readme:
        print(f"README: {readme} keeps its table, as the run was interrupted")
    return status


def count_slots(device: str, rate: float, address: str | None) -> int:
    """The trials that run at a time: of the cluster at `address`, else of this machine. Raises UserError."""
    from bench.machine import cores
    from bench.search.budget import slots

    if address:
        from bench.execution import ray_cluster

        found = ray_cluster.cluster_slots(address, device, rate)
        if not found:
            raise UserError(
                f"the cluster at {address} has no {device.upper()} that is whole; start Ray on nodes with some"
            )
        return found
    if device == "cpu":
        return cores()
    import torch

    if not torch.cuda.is_available():
        raise UserError("a budget in GPU time needs a GPU, and PyTorch finds none here; use one such as 20cpu-minutes")
    return slots(torch.cuda.device_count(), rate)


def name_of(dataset: str) -> str:
    """A data set's name as a folder's."""
    return re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-") or "images"


if __name__ == "__main__":
    sys.path.append(os.getcwd())  # last, so that a searcher of the user's is found and nothing else is hidden by a file
    sys.exit(main())
