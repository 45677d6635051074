"""Which self-supervised method should I use on my images, tuned fairly, for the compute I have?

python run_bench.py --methods all --budget 8gpu-hours
"""

import argparse
import dataclasses
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from bench.errors import UserError

ROOT = Path(__file__).resolve().parent

COMPILING_PAYS = 600
"""Device-seconds of a method from which its steps are compiled on GPUs: its graph takes up to a minute to make, once,
and serves all of its trainings."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong on one line."""

    def error(self, message: str):
        raise UserError(f"{message}; --help lists the options")


def arguments(words: list[str] | None) -> argparse.Namespace:
    """The command line, parsed. Raises UserError."""
    parser = Parser(
        prog="run_bench.py",
        description="Trains, tunes and compares self-supervised methods with the same compute for each.",
        epilog="The same command again continues a run; a larger --budget extends it.",
    )
    add = parser.add_argument
    add("--methods", default="all", help="names with commas between them, or 'all' (default)")
    add("--budget", help="device time of all trials: 8gpu-hours, 90gpu-minutes, 20cpu-minutes")
    add("--dataset", help="a name (cifar10, cifar100, stl10, svhn, fashionmnist, shapes), a folder of Parquet files or "
        "of class folders; default: cifar10 on GPUs, shapes on CPUs")  # fmt: skip
    add(
        "--image-size",
        type=positive,
        help="side in px to which images are resized; needed where they differ in size",
    )
    add("--limit", type=positive, help="use a fixed subset of so many training images")
    add("--strict", action="store_true", help="stop at a corrupt image instead of leaving it out")
    add("--encoder", help="default: resnet18 on GPUs, resnet8 on CPUs")
    add(
        "--epochs",
        type=positive,
        help="of every training; default: the most, up to 200, that leave time to search",
    )
    add("--batch-size", type=positive, help="images in a step, at most; default: as each method's recipe says")
    add("--seeds", type=positive, default=3, help="fresh seeds that confirm each winner (default 3)")
    add("--run-dir", type=Path, help="where the run is kept; default: reports/DATASET-ENCODER")
    add("--fresh", action="store_true", help="begin anew instead of continuing the run")
    add("--compile", choices=("on", "off"), help="whether training steps are compiled; default: on GPUs, unless the "
        "budget is small")  # fmt: skip
    add("--deterministic", action="store_true", help="the same result every time on this machine; slower on GPUs")
    add("--update-readme", action="store_true", help="put the table into the README.md beside run_bench.py; for a run "
        "on CIFAR-10, also a finished one")  # fmt: skip
    add("--dry-run", action="store_true", help="print the plan and stop")
    add("--profile", metavar="METHOD", help="tell where the time of this method's training step goes, and stop")
    add("--train", metavar="METHOD", help="train this method alone, keep its encoder, and stop; with the "
        "hyper-parameters that won in --run-dir, else as published")  # fmt: skip
    add(
        "--gpus-per-trial",
        type=share,
        default=1.0,
        help="1 (default), or a part such as 0.5 for two trials on a GPU",
    )
    add("--address", help="of a Ray cluster, 'auto' for the one on this machine; default: this machine alone")
    add("--searcher", default="tpe", help="tpe (default), random or package.module:function")
    add("--scheduler", default="asha", help="asha (default), full or package.module:Class")
    options = parser.parse_args(words)
    if sum(map(bool, (options.profile, options.train, options.dry_run))) > 1:
        parser.error("--dry-run, --profile and --train exclude each other")
    if not (options.budget or options.profile or options.train):
        parser.error("--budget is needed, such as 8gpu-hours or 20cpu-minutes")
    return options


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def share(text: str) -> float:
    value = float(text)
    if not (0 < value < 1 or value == 1):
        raise argparse.ArgumentTypeError(f"{text} is not a share of a GPU above 0 and up to 1")
    return value


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


def main(words: list[str] | None = None) -> int:
    """Plan, run, report; returns the exit status."""
    try:
        return run(arguments(words))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:  # of a disk: all that was measured is in the ledger
        print(f"error: {error}; mend that and run the same command again (without --fresh)", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted; nothing that was measured is lost", file=sys.stderr)
        return 130
    return 2


def run(options: argparse.Namespace) -> int:
    """The benchmark that the options ask for. Raises UserError."""
    from algorithms import METHODS
    from bench.budget import Budget
    from bench.search_space import check_methods, load

    budget = Budget.parse(options.budget) if options.budget else None
    single = options.profile or options.train
    asked = single or options.methods
    names = list(METHODS) if asked == "all" else check_methods(asked.split(","))
    if single and len(names) > 1:
        raise UserError(f"--{'profile' if options.profile else 'train'} takes one method")
    if options.update_readme and (single or options.dry_run):
        raise UserError("--update-readme needs a run; leave out --dry-run, --profile and --train")
    spaces = {name: load(name) for name in names}

    # Heavy imports come after what can be refused without them.
    import torch

    from algorithms.encoders import check_encoder
    from algorithms.precision import device_name
    from bench import anchors, images, ledger, plan, report, results, table, tune
    from bench.profile import profile
    from bench.single import train

    on_gpu = budget.device == "gpu" if budget else torch.cuda.is_available()
    encoder = options.encoder or ("resnet18" if on_gpu else "resnet8")
    try:
        check_encoder(encoder)
    except ValueError as error:
        raise UserError(str(error)) from None
    rate = options.gpus_per_trial if on_gpu else 1.0
    slots = count_slots(budget.device, rate, options.address) if budget else 1
    source = options.dataset or ("cifar10" if on_gpu else "shapes")
    dataset = images.load(source, image_size=options.image_size, strict=options.strict, limit=options.limit)
    print(
        f"{dataset.note}: {len(dataset.train.labels):,} training and {len(dataset.test.labels):,} test images of "
        f"{len(dataset.classes)} classes ({table.one_line(', '.join(dataset.classes))})"
    )
    size = dataset.train.pixels.shape[-1]
    settings = {
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "image_size": size,
        "encoder": encoder,
    }
    readme = ROOT / "README.md"
    if options.update_readme:  # before anything is trained
        table.check_place(readme, dataset.name, encoder)
    # Named only where they are asked for, so that a run begun before there was such an option continues.
    settings |= {"batch_size": options.batch_size} if options.batch_size else {}
    settings |= {"compile": options.compile} if options.compile else {}
    settings |= {"deterministic": True} if options.deterministic else {}
    local = {"device": "cuda" if on_gpu else "cpu"}
    if not options.compile:
        pays = on_gpu and (single or budget.seconds >= COMPILING_PAYS * len(names))
        local |= {"compile": "on" if pays else "off"}
    run_dir = (options.run_dir or ROOT / "reports" / f"{name_of(dataset.name)}-{encoder}").resolve()
    if single:
        with tempfile.TemporaryDirectory() as folder:
            images.save(dataset, folder)
            local, recipe = local | {"data": folder}, spaces[names[0]].defaults
            if options.profile:
                print(profile(names[0], recipe, settings | local))
            else:
                epochs = options.epochs or plan.MOST_EPOCHS
                kept = train(names[0], recipe, settings, local, epochs=epochs, run_dir=run_dir, fresh=options.fresh)
                print(f"Encoder: {kept}")
        return 0
    # By its fingerprint, so that a command with other images leaves alone what a run in this folder trains on.
    data = run_dir / "data" / dataset.fingerprint[:12]
    experiment = plan.Experiment(
        spaces=spaces,
        factory="bench.training:build",
        settings=settings,
        local=local | {"data": str(data)},
        epochs=options.epochs,
        seeds=options.seeds,
        searcher=options.searcher,
        scheduler=options.scheduler,
    )
    with tempfile.TemporaryDirectory() as folder:  # the run's own is made when all is found to be right
        calibrated = dataclasses.replace(experiment, local=local | {"data": folder})
        options_of_plan = {"run_dir": run_dir, "fresh": options.fresh, "prepare": lambda: images.save(dataset, folder)}
        made = plan.make(calibrated, budget, slots, rate, **options_of_plan)
    made = dataclasses.replace(made, experiment=experiment)
    spent = 0.0 if options.fresh else ledger.read(run_dir / "ledger.jsonl").charged
    print(plan.describe(made, spent))
    if options.dry_run:
        return 0
    images.save(dataset, data)
    facts = {
        "dataset_note": dataset.note,
        "images": {
            "train": len(dataset.train.labels),
            "test": len(dataset.test.labels),
            "left_out": len(dataset.skipped),
        },
        "device": device_name(torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu")),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "torchvision", "ray", "optuna")},
        "commit": commit(),
        "command": shlex.join(["run_bench.py", *sys.argv[1:]]),
        "search_spaces": {
            name: {"paper": space.paper, "hash": space.hash, "hyperparameters": space.entries}
            for name, space in spaces.items()
        },
    }
    status = 0
    try:
        tune.run(
            made,
            run_dir,
            fresh=options.fresh,
            address=options.address,
            facts=facts,
            on_results=lambda fold: results.write(fold, run_dir),
        )
    except tune.Interrupted as interruption:
        print(f"{interruption} (without --fresh)" if options.fresh else interruption)
        status = 128 + interruption.signal
    page = report.write(run_dir)
    found = results.load(run_dir)
    print(table.terminal(found))
    print(f"Report: {page}\nTable:  {run_dir / 'table.md'}\nData:   {run_dir / 'trials.parquet'}")
    if dataset.name == "cifar10":
        print(f"Beside published numbers: {anchors.write(run_dir)}")
    if options.update_readme and status == 0:
        changed = table.publish(found, readme, encoder)
        print(f"README: {readme} {'has the new table' if changed else 'had this table'}")
    elif options.update_readme:
        print(f"README: {readme} keeps its table, as the run was interrupted")
    return status


def count_slots(device: str, rate: float, address: str | None) -> int:
    """The trials that run at a time: of the cluster at `address`, else of this machine. Raises UserError."""
    from bench.budget import slots

    if address:
        from bench import tune

        found = tune.cluster_slots(address, device, rate)
        if not found:
            raise UserError(
                f"the cluster at {address} has no {device.upper()} that is whole; start Ray on nodes with some"
            )
        return found
    if device == "cpu":
        return len(os.sched_getaffinity(0))
    import torch

    if not torch.cuda.is_available():
        raise UserError("a budget in GPU time needs a GPU, and PyTorch finds none here; use one such as 20cpu-minutes")
    return slots(torch.cuda.device_count(), rate)


def name_of(dataset: str) -> str:
    """A data set's name as a folder's."""
    return re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-") or "images"


if __name__ == "__main__":
    # Workers of a local Ray find the packages where this file stands, from wherever it is called.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    sys.exit(main())
