"""Does every method learn? Trains each at its default recipe on a fixed subset of a data set, with a small encoder and
three seeds, on the CPU, and writes a table of accuracies before and after, by nearest neighbours and by a linear probe,
beside that of raw pixels.

    python -m tests.learning --data ../shared/data/cifar10

Every method must end at least 5 points above its own random initialisation by kNN, and at least ten of them above raw
pixels; the command exits with 1 where they do not. A result is kept as soon as it is there: the command goes on where
it was stopped. It takes one to three hours on two cores.

    python -m tests.learning --data ../shared/data/cifar10 --out after --against reports/learning

shows what a change of the methods did, and

    python -m tests.learning --data ../shared/data/cifar10 --held-out --methods sela --set learning_rate=0.5

compares values of a hyper-parameter on training images that were held out, since test images choose nothing; such a
result is printed and not kept.
"""

import argparse
import csv
import io
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
import yaml
from scipy.stats import ttest_ind
from torch import nn

from algorithms import METHODS, method_class
from algorithms.encoders import build_encoder
from algorithms.evaluation import linear
from algorithms.evaluation.features import raw_features
from algorithms.evaluation.knn import Evaluation
from algorithms.evaluation.metrics import LINEAR
from algorithms.images.store import ResidentImages
from algorithms.training.process import keep_freed_memory
from algorithms.training.trainer import Trainer
from bench.data import images
from bench.errors import UserError
from bench.files import write_atomically
from bench.guide.evidence import with_spread
from bench.search import space as search_space
from bench.search.methods import check_methods

GAIN = 0.05
"""The least gain over the random initialisation."""
ABOVE_PIXELS = 10
"""The least number of methods, of all, that end above raw pixels."""
SETTING = ("encoder", "images", "test_images", "image_size", "epochs")
"""The columns in which the rows of one table agree."""

evaluation: Evaluation
"""The subset of the data set, once in every process."""


def subset(data: str, count: int, test_count: int, size: int, held_out: bool) -> Evaluation:
    """The first `count` training images, to train on and as bank, and the first `test_count` test images, or as many
    of the training images after the others."""
    dataset = images.load(data, image_size=size)
    train, judged = dataset.train, dataset.test
    start = count if held_out else 0
    judged = train if held_out else judged
    return Evaluation(
        ResidentImages.of(train.pixels[:count]),
        train.labels[:count],
        ResidentImages.of(judged.pixels[start : start + test_count]),
        judged.labels[start : start + test_count],
        len(dataset.classes),
    )


def prepare(shared: Evaluation) -> None:
    """Make a process ready to `learn`."""
    global evaluation
    torch.set_num_threads(1)
    keep_freed_memory()
    evaluation = shared


def learn(name: str, encoder: str, epochs: int, seed: int, changed: dict) -> dict:
    """Train the method `name`, its recipe `changed`, and judge it before and after: a row of the table, of `prepare`'s
    images."""
    began = time.process_time()
    transformer = build_encoder(encoder, evaluation.bank.image_size).patch > 1
    trainer = Trainer(
        method_class(name),
        evaluation.bank,
        search_space.load(name, evaluation.bank.image_size, transformer=transformer).defaults | changed,
        epochs=epochs,
        encoder=encoder,
        seed=seed,
    )
    before = judged(trainer.method.judged_encoder)
    *_, last = trainer
    after = judged(trainer.method.judged_encoder)
    return {
        "method": name,
        "encoder": encoder,
        "images": len(evaluation.bank),
        "test_images": len(evaluation.queries),
        "image_size": evaluation.bank.image_size,
        "epochs": epochs,
        "seed": seed,
        "device": trainer.facts["device"],
        "trained_encoder": trainer.method.encoder.name,
        "encoder_parameters": sum(parameter.numel() for parameter in trainer.method.encoder.parameters()),
        "knn_pixels": evaluation(nn.Flatten())["knn_200"],
        "knn_before": before["knn_200"],
        "knn_after": after["knn_200"],
        "linear_before": before[LINEAR.name],
        "linear_after": after[LINEAR.name],
        "knn_20": after["knn_20"],
        "purity_20": after["purity_20"],
        "feature_std": after["feature_std"],
        "loss": last.loss,
        "seconds": time.process_time() - began,
    }


def judged(encoder: nn.Module) -> dict[str, float]:
    """What kNN and the linear probe measure of an encoder, by name."""
    bank, queries = (raw_features(encoder, images) for images in (evaluation.bank, evaluation.queries))
    return evaluation(encoder) | linear.figures(evaluation, bank, queries)


def read(path: Path) -> list[dict]:
    """The rows of a CSV file, empty where there is none; everything is text."""
    return list(csv.DictReader(io.StringIO(path.read_text()))) if path.exists() else []


def write(path: Path, rows: list[dict]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, dict.fromkeys(name for row in rows for name in row))
    table.writeheader()
    table.writerows(rows)
    write_atomically(path, text.getvalue())


def by_method(rows: list[dict]) -> dict[str, list[dict]]:
    """The rows of one setting by method, the method of the best mean first."""
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row)
    return dict(sorted(found.items(), key=lambda item: -mean(item[1], "knn_after")))


def values(rows: list[dict], column: str) -> list[float]:
    """Of the rows that have one."""
    return [float(row[column]) for row in rows if row.get(column)]


def mean(rows: list[dict], column: str) -> float:
    return statistics.fmean(values(rows, column))


def gain(rows: list[dict], over: str, what: str = "knn") -> float:
    """Of a method's rows: the mean accuracy after training, less that in the column `over`."""
    return mean(rows, f"{what}_after") - mean(rows, over)


def difference(rows: list[dict], others: list[dict]) -> str:
    """The mean accuracy of `rows` less that of the `others`, in points, and half of its 95 % interval by Welch's t."""
    ours, theirs = (values(some, "knn_after") for some in (rows, others))
    if ours == theirs:
        return "none"
    change = 100 * (statistics.fmean(ours) - statistics.fmean(theirs))
    if min(len(ours), len(theirs)) < 2:
        return f"{change:+.1f}"
    low, high = ttest_ind(ours, theirs, equal_var=False).confidence_interval()
    return f"{change:+.1f} ± {50 * (high - low):.1f}"


def markdown(rows: list[dict], others: list[dict]) -> str:
    """The table of rows of one setting, best first; beside them `others` of the same setting, where there are any."""
    of, devices = rows[0], " and ".join(sorted({row["device"] for row in rows}))
    seeds = sorted({int(row["seed"]) for row in rows})
    lines = [
        f"kNN (k=200, T=0.1) on the features of `{of['encoder']}`, in per cent, after {of['epochs']} epochs on"
        f" {of['images']} images of {of['image_size']} px at the default recipes, mean ± standard deviation over the"
        f" seeds {', '.join(map(str, seeds))}; judged on {of['test_images']} test images. Raw pixels:"
        f" {100 * float(of['knn_pixels']):.1f}. Trained on: {devices}. Seconds are CPU time of one core, evaluation"
        " included." + (" Change: against earlier recipes, ± half of the 95 % interval (Welch's t)." if others else ""),
        "",
    ]
    heads = ["method", "before", "after", "gain", "above pixels", "linear probe", "gain", "encoder", "parameters"]
    heads += ["feature std", "seconds", *(["change of accuracy", "seconds there"] if others else [])]
    lines += [f"| {' | '.join(heads)} |", "|---|" + "---:|" * 6 + "---|" + "---:|" * (len(heads) - 8)]
    earlier = by_method(others)
    for method, some in by_method(rows).items():
        cells = [
            method,
            f"{100 * mean(some, 'knn_before'):.1f}",
            with_spread(values(some, "knn_after")),
            f"{100 * gain(some, 'knn_before'):+.1f}",
            f"{100 * gain(some, 'knn_pixels'):+.1f}",
            with_spread(values(some, "linear_after")),
            f"{100 * gain(some, 'linear_before', 'linear'):+.1f}" if values(some, "linear_after") else "—",
            some[0]["trained_encoder"],
            f"{int(some[0]['encoder_parameters']):,}",
            f"{mean(some, 'feature_std'):.2f}",
            f"{mean(some, 'seconds'):.0f}",
        ]
        if others:
            there = earlier.get(method)
            cells += [difference(some, there), f"{mean(there, 'seconds'):.0f}"] if there else ["—", "—"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def verdict(rows: list[dict]) -> list[str]:
    """What the rows of one setting fall short of, a sentence each."""
    methods, short = by_method(rows), []
    for method, some in methods.items():
        if (gained := gain(some, "knn_before")) < GAIN:
            words = f"{method} gains {100 * gained:.1f} points over its random initialisation"
            short.append(f"{words}, less than {100 * GAIN:.0f}.")
    above = sum(gain(some, "knn_pixels") > 0 for some in methods.values())
    if len(methods) == len(METHODS) and above < ABOVE_PIXELS:
        short.append(f"{above} methods end above raw pixels, fewer than {ABOVE_PIXELS}.")
    return short


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.learning", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", required=True, help="a data set's name or path, as for run_bench.py")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="NAME")
    parser.add_argument("--images", type=int, default=10_000, help="training images (default: %(default)s)")
    parser.add_argument("--test-images", type=int, default=5_000, help="(default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=16, help="px (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--encoder", default="resnet8", help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED", help="(default: 0 1 2)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at a time, a core each (default: all cores)")
    parser.add_argument("--held-out", action="store_true", help="judge on training images that are not trained on")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="hyper-parameters to change")
    parser.add_argument("--out", type=Path, default=Path("reports/learning"))
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="an --out of earlier, to stand beside this")
    given = parser.parse_args(arguments)
    try:
        return run(given)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def run(given: argparse.Namespace) -> int:
    """Train what the table lacks, keep each result, and write the table. 1 where a method falls short, else 0."""
    names = check_methods(given.methods)
    changed = {name: yaml.safe_load(value) for name, _, value in (item.partition("=") for item in given.set)}
    kept = not (given.held_out or changed)
    path = given.out / "results.csv"
    rows = read(path) if kept else []

    def of_setting(rows: list[dict]) -> list[dict]:
        wanted = [str(vars(given)[name]) for name in SETTING]
        seeds = set(map(str, given.seeds))
        return [row for row in rows if [str(row[name]) for name in SETTING] == wanted and str(row["seed"]) in seeds]

    others = of_setting(read(given.against / "results.csv")) if given.against else []
    there = {(row["method"], str(row["seed"])) for row in of_setting(rows)}
    lacking = [(name, seed) for seed in given.seeds for name in names if (name, str(seed)) not in there]
    print(f"{len(there)} trainings are there; {len(lacking)} to do", flush=True)
    shared = subset(given.data, given.images, given.test_images, given.image_size, given.held_out)
    failed = []
    with ProcessPoolExecutor(given.jobs, get_context("spawn"), prepare, (shared,)) as pool:
        running = {
            pool.submit(learn, name, given.encoder, given.epochs, seed, changed): f"{name}, seed {seed}"
            for name, seed in lacking
        }
        for number, done in enumerate(as_completed(running), start=1):
            if error := done.exception():
                failed.append(f"{running[done]} failed: {type(error).__name__}: {error}")
                print(f"{number}/{len(lacking)} {failed[-1]}", flush=True)
                continue
            row = done.result()
            rows.append(row)
            if kept:
                write(path, rows)
            print(
                f"{number}/{len(lacking)} {running[done]}: {100 * row['knn_before']:.1f} ->"
                f" {100 * row['knn_after']:.1f} % in {row['seconds']:.0f} s",
                flush=True,
            )
    if found := of_setting(rows):
        print(text := markdown(found, others))
        if kept:
            write_atomically(given.out / "table.md", text)
    short = failed + verdict(found)
    print("\n".join(short) or "Every method learns.")
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
