"""Records the table: `python -m bench.tabular.record DATASET --out FILE`.

Every method of `--methods` is trained with its recipes and with random configurations of its search space, each with
several seeds. After every epoch the encoder is judged in every way that a search might choose by: leave-one-out among
the training images, on images that are held out, by few labels, and without any; and on the test images, which tell how
good that choice was. Half of the random configurations are uniform in the space, half lie about our recipe.

A row is an epoch. The table is written again after every training, and the command goes on where it was stopped.
"""

import argparse
import functools
import json
import math
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from algorithms import method_class
from algorithms.evaluation.criteria import criteria
from algorithms.evaluation.features import encode, raw_features
from algorithms.evaluation.knn import PROTOCOLS, knn_predict
from algorithms.evaluation.metrics import FEATURE_STD
from algorithms.images.statistics import IMAGENET
from algorithms.images.store import ResidentImages
from algorithms.training.process import keep_freed_memory
from algorithms.training.trainer import Trainer
from bench.data import images as data_images
from bench.data import shapes
from bench.data.dataset import Split
from bench.files import write_atomically
from bench.search import space as search_space
from bench.search.methods import check_methods
from bench.search.space import SearchSpace

LABELS = (2, 5, 10, 20, 50, 100)
"""Few labels: so many of each class."""
DRAWS = 5
"""Choices of the images that have the few labels."""
NEAR = 0.2
"""Of configurations about our recipe: the standard deviation, as a part of a range; a choice is changed with twice
this probability."""


@dataclass(frozen=True)
class Images:
    """What a table is recorded on."""

    train: Split
    held_out: Split
    """A tenth as many as there are training images; never trained on."""
    test: Split
    classes: int


@functools.cache
def load(name: str, size: int, count: int, test_count: int) -> Images:
    """The first images of a data set; of `shapes`, as many as are asked for."""
    held = count // 10
    if name == "shapes":
        sizes = ((count, 1), (held, 3), (test_count, 4))
        train, held_out, test = (Split.of(*shapes._split(math.ceil(n / 8), seed)) for n, seed in sizes)
        return Images(train, held_out, test, 8)
    dataset = data_images.load(name, image_size=size)
    train = dataset.train
    return Images(
        Split.of(train.pixels[:count], train.labels[:count]),
        Split.of(train.pixels[count : count + held], train.labels[count : count + held]),
        Split.of(dataset.test.pixels[:test_count], dataset.test.labels[:test_count]),
        len(dataset.classes),
    )


class Judges:
    """All judges at once, in the place of a trainer's evaluation."""

    def __init__(self, images: Images) -> None:
        self.images = images
        # ImageNet's statistics, with which the tables were recorded, whatever the images.
        every = (images.train, images.held_out, images.test)
        self.stores = [ResidentImages.of(each.pixels, statistics=IMAGENET) for each in every]
        labels = images.train.labels.numpy()
        self.few: dict[str, Tensor] = {}
        for each in LABELS:
            for draw in range(DRAWS):
                order = np.random.RandomState(draw).permutation(len(labels))
                places = [order[labels[order] == c][:each] for c in range(images.classes)]
                if min(map(len, places)) == each:
                    self.few[f"{each}_{draw}"] = torch.from_numpy(np.concatenate(places))

    @torch.no_grad()
    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        raw = raw_features(encoder, self.stores[0])
        if not torch.isfinite(raw).all():
            return {}
        images, bank = self.images, nn.functional.normalize(raw, dim=1)
        labels, everything = images.train.labels, torch.arange(len(bank))
        found = dict(criteria(encoder, self.stores[0], raw))
        found[FEATURE_STD.name] = bank.std(0, correction=0).square().sum().sqrt().item()

        def vote(name: str, queries: Tensor, truth: Tensor, own: Tensor | None = None) -> None:
            of_200, of_20 = knn_predict(queries, bank, labels, images.classes, PROTOCOLS, own)
            found[f"{name}_knn_200"] = (of_200 == truth).float().mean().item()
            found[f"{name}_knn_20"] = (of_20 == truth).float().mean().item()

        vote("train", bank, labels, everything)
        vote("held_out", encode(encoder, self.stores[1]), images.held_out.labels)
        vote("test", encode(encoder, self.stores[2]), images.test.labels)
        for name, places in self.few.items():
            right, share = few_labels(bank[places], labels[places], images.classes)
            found[f"few_{name}"], found[f"few_share_{name}"] = right, share
        return found


def few_labels(features: Tensor, labels: Tensor, classes: int) -> tuple[float, float]:
    """Leave-one-out among few images: the share that is told rightly, and the mean share of the votes that the right
    class has."""
    similarity = features @ features.T
    weight = (similarity / 0.1).exp().fill_diagonal_(0)
    votes = weight @ nn.functional.one_hot(labels, classes).float()
    own = votes.gather(1, labels[:, None])[:, 0]
    return (votes.argmax(1) == labels).float().mean().item(), (own / votes.sum(1)).mean().item()


def configurations(space: SearchSpace, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind, hyper-parameters): the recipes, then uniform ones and ones about our recipe in turn; `count` in all."""
    yield from zip(("published", "ours"), space.recipes, strict=False)
    rng = random.Random(space.method)
    distributions, centre = space.distributions(), space.to_params(space.defaults)
    for number in range(count - len(space.recipes)):
        near = number % 2 == 1
        params: dict[str, Any] = {}
        for name, distribution in distributions.items():
            params[name] = _near(distribution, centre[name], rng) if near else _uniform(distribution, rng)
        yield "near" if near else "uniform", space.from_params(params)


def _uniform(distribution: optuna.distributions.BaseDistribution, rng: random.Random) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return rng.choice(distribution.choices)
    return _from_unit(distribution, rng.random())


def _near(distribution: optuna.distributions.BaseDistribution, centre: Any, rng: random.Random) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return rng.choice(distribution.choices) if rng.random() < 2 * NEAR else centre
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, at = (math.log(x) if distribution.log else x for x in (distribution.low, distribution.high, centre))
    while True:
        place = rng.gauss((at - low) / (high - low), NEAR)
        if 0 <= place <= 1:
            return _from_unit(distribution, place)


def _from_unit(distribution: optuna.distributions.BaseDistribution, place: float) -> Any:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = (math.log(x) if distribution.log else x for x in (distribution.low, distribution.high))
    value = low + place * (high - low)
    value = math.exp(value) if distribution.log else value
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else value


@functools.cache
def _judges(*of: Any) -> Judges:
    return Judges(load(*of))


def train(of: tuple[str, int, int, int], task: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one training; what diverges has rows up to there, the last without figures."""
    torch.set_num_threads(1)
    keep_freed_memory()
    judges = _judges(*of)
    began = time.process_time()
    trainer = Trainer(
        method_class(task["method"]),
        judges.stores[0],
        json.loads(task["hyperparameters"]),
        epochs=task["epochs"],
        encoder=task["encoder"],
        seed=task["seed"],
        evaluation=judges,
        evaluate_at=range(1, task["epochs"] + 1),
    )
    rows = []
    for report in trainer:
        seconds = {"seconds": report.seconds, "evaluation_seconds": report.evaluation_seconds}
        rows.append({**task, "epoch": report.epoch, "loss": report.loss, **report.metrics, **seconds})
        if not math.isfinite(report.loss) or not report.metrics:
            break
    rows[-1]["cpu_seconds"] = time.process_time() - began
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="`shapes`, or what run_bench.py takes")
    parser.add_argument("--out", type=Path, required=True, help="a Parquet file")
    parser.add_argument("--methods", required=True, help="names, with commas")
    parser.add_argument("--configurations", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--encoder", default="resnet8")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--test-images", type=int, default=4000)
    parser.add_argument("--image-size", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    methods = check_methods(options.methods.split(","))
    spaces = {method: search_space.load(method, options.image_size) for method in methods}
    tasks = [
        {
            "dataset": Path(options.dataset).name,
            "encoder": options.encoder,
            "images": options.images,
            "image_size": options.image_size,
            "epochs": options.epochs,
            "method": method,
            "configuration": number,
            "kind": kind,
            "hyperparameters": json.dumps(hyperparameters, sort_keys=True),
            "seed": seed,
        }
        for seed in range(options.seeds)
        for method in methods
        for number, (kind, hyperparameters) in enumerate(configurations(spaces[method], options.configurations))
    ]
    frames = [pd.read_parquet(options.out)] if options.out.exists() else []
    key = ["method", "configuration", "seed", "epochs", "hyperparameters"]
    done = {tuple(row) for frame in frames for row in frame[key].itertuples(index=False)}
    left = [task for task in tasks if tuple(task[name] for name in key) not in done]
    print(f"{len(tasks) - len(left)} of {len(tasks)} trainings are there", flush=True)
    of = (options.dataset, options.image_size, options.images, options.test_images)
    began = time.monotonic()
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        futures = [pool.submit(train, of, task) for task in left]
        for count, future in enumerate(as_completed(futures), 1):
            frames.append(pd.DataFrame(future.result()))
            table = pd.concat(frames, ignore_index=True)
            frames = [table]
            write_atomically(options.out, functools.partial(table.to_parquet, index=False))
            ahead = (time.monotonic() - began) / count * (len(left) - count)
            print(f"{count} of {len(left)}; {ahead / 60:.0f} min left", flush=True)


if __name__ == "__main__":
    main()
