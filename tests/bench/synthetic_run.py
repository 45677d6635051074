"""A made-up run for tests of results, table and report. Its numbers come from a formula, not from training."""

import copy
import json
import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from algorithms.evaluation.choosing import ENOUGH, judged
from algorithms.evaluation.metrics import FEW_KNN, FEW_LINEAR, FEW_SCRATCH, NUMBERS, Metric
from bench.report import results
from bench.report.judged import column
from bench.search.methods import FROZEN, WARM

METHODS = ("simclr", "byol", "swav", "moco", "barlow", "simsiam")
PAPERS = {
    "simclr": "2002.05709",
    "byol": "2006.07733",
    "swav": "2006.09882",
    "moco": "1911.05722",
    "barlow": "2103.03230",
    "simsiam": "2011.10566",
}
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def search_space(method: str) -> dict:
    """What a search-space file holds, with the three scales and a choice among them."""
    entries = {
        "temperature": {"default": 0.5, "source": "made up", "low": 0.05, "high": 1.0, "scale": "log"},
        "ema_momentum": {"default": 0.99, "source": "made up", "low": 0.9, "high": 0.9999, "scale": "log1m"},
        "learning_rate": {"default": 0.06, "source": "made up", "low": 0.005, "high": 0.5, "scale": "log"},
        "weight_decay": {"default": 5e-4, "source": "made up", "low": 1e-6, "high": 1e-3, "scale": "log"},
        "prototypes": {"default": 512, "source": "made up", "choices": [128, 256, 512, 1024]},
        "optimizer": {"default": "sgd", "source": "made up"},
    }
    return {
        "paper": PAPERS.get(method.removesuffix(WARM)),
        "hash": f"{sum(map(ord, method)):08x}",
        "hyperparameters": entries,
    }


PRESET = {
    "augment": {"default": "texture", "source": "made up", "choices": ["paper", "texture"]},
    "least_crop": {"default": 0.4, "source": "made up", "low": 0.1, "high": 1.0, "scale": "linear"},
    "jitter_strength": {"default": 0.25, "source": "made up", "choices": [0.0, 0.25, 0.5, 1.0]},
    "jitter_colour": {"default": True, "source": "made up"},
    "vertical_flip_probability": {"default": 0.5, "source": "made up", "choices": [0.0, 0.5]},
}
"""What a preset of augmentation adds to a search space."""


IMAGENET = {"weights": "timm:resnet18.a1_in1k", "trained_on": "ImageNet-1k"}
ORIGINS = {
    "simclr-warm": IMAGENET,
    "byol-warm": IMAGENET,
    "distill": {"teacher": "lite0.py:pretrained"},
    "frozen-resnet18-a1-in1k-224px-1a2b3c4d": IMAGENET | {"image_size": 224},
    "frozen-lite0-32px-5e6f7a8b": {"weights": "lite0.py:pretrained"},
}
"""What networks from elsewhere have to do with a run of every kind."""
EVERY_KIND = {"methods": ("simclr", "byol", "simclr-warm", "byol-warm", "distill"), "origins": ORIGINS}


def space_of(method: str, published: Mapping, recipe: Mapping | None, augment: bool = False) -> dict:
    """The search space as a run tells it whose published recipe has these other values."""
    space = search_space(method)
    space["hyperparameters"] |= copy.deepcopy(PRESET) if augment else {}
    for name, value in published.items():
        space["hyperparameters"][name]["published"] = value
    return space | ({} if recipe is None else {"recipe": dict(recipe)})


def figures(quality: float, images: str, labelled: int) -> dict:
    """What is measured of an encoder that is so good, by the names of the metrics."""
    with_labels = {"knn_200": quality, "knn_20": quality + 0.01, "purity_20": quality - 0.12} if labelled else {}
    if labelled >= ENOUGH or (labelled and images == "test"):
        return with_labels | {"feature_std": 0.9}
    without = {"instance_accuracy": quality / 2, "feature_std": 0.9, "rankme": 40 * quality, "alpha_req": 1 / quality}
    return with_labels | without | (judged(with_labels | without, labelled) if images == "train" else {})


def kept(quality: float | None, images: str, labelled: int) -> dict:
    """The same as a trial keeps it."""
    measured = {} if quality is None else figures(quality, images, labelled)
    nothing = dict.fromkeys(("train_knn_200", "test_knn_200", "test_knn_20", "test_purity_20"))
    return nothing | {f"{images}_{name}": value for name, value in measured.items()}


CLASSES, DRAWS = 10, 10
PROTOCOLS = ("linear", "few", "scratch", "finetune")


def with_labels(number: str, labelled: int) -> int:
    """How many labels a number is where all classes have as many images."""
    share = {"1_percent": 0.01, "10_percent": 0.1, "all": 1.0}.get(number)
    return int(number) * CLASSES if share is None else round(share * labelled)


def learnt(quality: float, labels: int, needed: float) -> float:
    """An accuracy between that of chance and `quality`: half of it with so many labels as are needed."""
    return 0.1 + (quality - 0.1) * labels / (labels + needed)


def by_class(metric: str, accuracy: float, uneven: float) -> dict:
    """The accuracy, its classes' and the balanced one, which is so much less."""
    spread = [accuracy - uneven + 0.02 * (place - (CLASSES - 1) / 2) for place in range(CLASSES)]
    return {f"test_{metric}": accuracy, f"test_{metric}_balanced": accuracy - uneven, f"test_{metric}_classes": spread}


def evaluation(trial: dict, protocol: str, labelled: int, uneven: float, left_out: tuple[str, ...]) -> dict:
    """What a protocol measures of the encoder of a training."""
    quality, chance = trial["test_knn_200"], random.Random(f"{trial['uid']} {protocol}")
    supervised = trial["method"] == "supervised"
    if protocol == "linear":
        return by_class("linear", quality + 0.03, uneven) | {"test_linear_strength": 0.01}
    if protocol == "finetune":
        found = {}
        for number in ("10_percent", "all"):
            accuracy = learnt(0.94, with_labels(number, labelled), 500.0 if supervised else 150.0)
            accuracy += chance.gauss(0, 0.003)
            found |= by_class(f"finetune_{number}", accuracy, uneven)
        return found
    found = {}
    for family, needed in ((FEW_SCRATCH, 500.0),) if supervised else ((FEW_LINEAR, 30.0), (FEW_KNN, 50.0)):
        for number in NUMBERS:
            if number in left_out or (supervised and number == "all"):
                continue
            metric: Metric = family[number]
            of_seed, mean = chance.gauss(0, 0.003), learnt(quality, with_labels(number, labelled), needed)
            draws = [
                mean
                + of_seed
                + (number != "all") * random.Random(f"{number} {draw}").gauss(0, 0.02)
                + chance.gauss(0, 0.002)
                for draw in range(1 if number == "all" else DRAWS)
            ]
            found |= {column("test", metric): sum(draws) / len(draws), results.parts_column(metric): draws}
            found[column("test", metric.balanced)] = sum(draws) / len(draws) - uneven
    return found


def evaluations(trials: list[dict], protocols: tuple[str, ...], labelled: int, uneven: float, left_out: tuple) -> list:
    """A trial for each protocol and each encoder that is compared; of the supervised baseline, in the place of
    few labels, the same network from scratch, once."""
    made = []
    for trial in [trial for trial in trials if trial["test_knn_200"] is not None and trial["method"] != "pixels"]:
        for protocol in protocols:
            supervised = trial["method"] == "supervised"
            if (protocol == "few" and supervised) or (
                protocol == "scratch" and not (supervised and trial["seed"] == 1)
            ):
                continue
            about = {"stage": "evaluate", "uid": f"{trial['uid']}-{protocol}", "of": trial["uid"], "protocol": protocol}
            times = {"device_seconds": 7.0 * (1 + PROTOCOLS.index(protocol)), "epochs": 1, "epoch": 1}
            nothing = {name: None for name in trial if name.startswith(("test_", "train_"))}
            made.append(trial | nothing | about | times | evaluation(trial, protocol, labelled, uneven, left_out))
    for trial in trials:
        if trial["test_knn_200"] is not None:
            trial |= by_class("knn_200", trial["test_knn_200"], uneven)
    return made


def rows(
    methods: tuple[str, ...] = METHODS,
    *,
    trials: int = 12,
    seeds: int = 3,
    epochs: int = 20,
    slots: int = 4,
    finished: bool = True,
    all_failed: bool = False,
    baselines: bool = True,
    dataset: str = "cifar10",
    encoder: str = "resnet18",
    failing: Mapping[tuple[str, str], int] = MappingProxyType({}),
    fitted: Mapping[str, Mapping] = MappingProxyType({}),
    published: Mapping[str, Mapping] = MappingProxyType({}),
    recipes: Mapping[str, Mapping] = MappingProxyType({}),
    labelled: int = 50_000,
    augment: bool = False,
    origins: Mapping[str, Mapping] = MappingProxyType({}),
    protocols: tuple[str, ...] = (),
    uneven: float = 0.0,
    left_out: tuple[str, ...] = (),
) -> tuple[list[dict], list[dict], dict]:
    """Trial rows, epoch rows and run facts: `trials` search trials and `seeds` confirming ones per method.

    `failing` says how many of the first trials of a (method, stage) fail; a method whose search has no other trials
    was given up. `fitted` gives a method's hyper-parameters that were trained with other values than asked for,
    `published` those of its published recipe that are not ours, `recipes` whose the published recipe is (`source` and
    `adapted`; without it the run is of an earlier version). `labelled` says how many training images have a label:
    where none has, no test image has one, and there is no baseline with labels. `augment` is of a run with a preset:
    vertical flips are worth two points, crops best as small as they may be, and strong jitter costs four points.
    `origins` says with which weights a method began or which teacher it followed; those of frozen networks make these
    the run's baselines. `protocols` judge the encoders; `uneven` is by how much the balanced accuracy is less then, and
    `left_out` are numbers of labels that few labels do without, as a class has 15 images.
    """
    if augment:
        published = {method: {**published.get(method, {}), "augment": "paper"} for method in methods}
    chance = random.Random(0)
    free = [0.0] * slots  # when each slot is next free, in seconds after START
    trial_rows, epoch_rows = [], []

    def add(
        method: str, stage: str, seed: int, hyperparameters: dict, quality: float, state: str, reached: int, recipe=None
    ):
        slot = min(range(slots), key=lambda at: free[at])
        started, clock = free[slot], 4.0
        pace = 30.0 + 5 * (sum(map(ord, method)) % 7)
        split = "train" if stage == "search" else "test"
        images = "train" if stage == "search" else "test"
        mean_pace, last, uid = pace, None, f"{method}-{stage}-{len(trial_rows):05d}"
        for epoch in range(1, reached + 1):
            clock += pace
            noise = chance.gauss(0, 0.004)
            evaluated = stage == "search" or epoch == epochs
            last = 0.25 + (quality - 0.25) * (1 - math.exp(-4 * epoch / epochs)) + noise if evaluated else None
            epoch_rows.append(
                {
                    "run": "made-up",
                    "uid": uid,
                    "method": method,
                    "stage": stage,
                    "epoch": epoch,
                    "loss": 5.0 * math.exp(-2 * epoch / epochs) + noise,
                    "split": split,
                    **(figures(last, images, labelled) if evaluated else {}),
                    "seconds": pace - 2,
                    "evaluation_seconds": 2.0 if evaluated else 0.0,
                    "images_per_second": 45000 / mean_pace + noise,
                    "peak_memory_bytes": 2_000_000_000 + len(method) * 100_000_000,
                    "device_seconds": clock,
                    "reported": START + timedelta(seconds=started + clock),
                }
            )
        free[slot] = started + clock + 1.0
        tested = stage != "search" and state == "complete"
        accuracy = last if last is not None else quality
        trial_rows.append(
            {
                "run": "made-up",
                "uid": uid,
                "method": method,
                "stage": stage,
                "state": state,
                "reason": f"loss became NaN in epoch {reached + 1}" if state == "failed" else None,
                "failure": "diverged" if state == "failed" else None,
                "seed": seed,
                "hyperparameters": json.dumps(hyperparameters),
                "effective": json.dumps(hyperparameters | dict(fitted.get(method, {}))) if reached else None,
                "published_recipe": recipe == "published",
                "our_recipe": recipe == "ours",
                "encoder": encoder,
                "encoder_parameters": 11_168_832,
                "own_encoder": method in ("amdim", "seer"),
                "dataset": dataset,
                "dataset_fingerprint": "0123456789abcdef",
                "image_size": 32,
                "batch_size": 512,
                "epochs": epochs,
                "epoch": reached,
                **kept(last if stage == "search" else accuracy if tested else None, images, labelled),
                "device": "NVIDIA H100 80GB HBM3",
                "device_seconds": clock + 1.0,
                "images_per_second": 45000 / mean_pace if reached else None,
                "peak_memory_bytes": 2_000_000_000 + len(method) * 100_000_000 if reached else None,
                "attempts": 1,
                "started": START + timedelta(seconds=started),
                "ended": START + timedelta(seconds=started + clock + 1.0) if state != "cut" else None,
            }
            | (dict(origins.get(method, {})) if reached or stage == "baseline" else {})
        )
        return trial_rows[-1]

    def confirm(method: str, stage: str, seed: int, hyperparameters: dict, quality: float, epochs: int):
        state, reached = ("failed", epochs // 2) if seed <= failing.get((method, stage), 0) else ("complete", epochs)
        add(method, stage, seed, hyperparameters, quality, state, reached, stage)

    ceiling = {method: 0.80 + 0.03 * math.sin(place * 2.3) for place, method in enumerate(methods)}
    added = PRESET if augment else {}
    defaults = {name: entry["default"] for name, entry in (search_space("")["hyperparameters"] | added).items()}
    winners = {}
    for number in range(trials):
        for method in methods:
            recipe = {0: "published", 1: "ours" if method in published else None}.get(number)
            chosen = defaults | dict(published.get(method, {}) if recipe == "published" else {})
            if recipe is None:
                chosen["temperature"] = 0.05 * 20 ** chance.random()
                chosen["ema_momentum"] = 1 - 0.1 * 0.001 ** chance.random()
                chosen["learning_rate"] = 0.005 * 100 ** chance.random()
                chosen["weight_decay"] = 1e-6 * 1000 ** chance.random()
                chosen["prototypes"] = chance.choice([128, 256, 512, 1024])
            if recipe is None and augment and chance.random() < 0.8:
                chosen["least_crop"] = chance.choice([1.0, 0.1 + 0.9 * chance.random()])
                for name in ("jitter_strength", "vertical_flip_probability"):
                    chosen[name] = chance.choice(PRESET[name]["choices"])
            elif recipe is None and augment:
                chosen["augment"] = "paper"
            miss = abs(math.log10(chosen["temperature"] / 0.2)) + abs(math.log10(chosen["learning_rate"] / 0.1))
            quality = ceiling[method] - 0.12 * miss
            if chosen.get("augment") == "texture":
                quality += 0.04 * chosen["vertical_flip_probability"] - 0.04 * chosen["jitter_strength"]
                quality -= 0.02 * chosen["least_crop"]
            if all_failed or number < failing.get((method, "search"), 0) or chosen["learning_rate"] > 0.35:
                state, reached = "failed", chance.randrange(0, 3)
            elif not finished:
                state, reached = "cut", epochs // 3
            elif miss > 0.55 and recipe is None:
                state, reached = "pruned", max(1, epochs // (2 if chance.random() < 0.4 else 4))
            else:
                state, reached = "complete", epochs
            row = add(method, "search", 0, chosen, quality, state, reached, recipe)
            if state == "complete":
                best = winners.get(method)
                judge = "train_knn_200" if labelled >= ENOUGH else "train_judged"
                if best is None or row[judge] > best[0][judge]:
                    winners[method] = (row, chosen, quality)
    for method, (row, chosen, quality) in winners.items():
        for seed in range(1, seeds + 1):
            if not row["published_recipe"] and not row["our_recipe"]:
                confirm(method, "confirm", seed, chosen, quality + chance.gauss(0, 0.003), epochs)
            reached = ceiling[method] - 0.074 + chance.gauss(0, 0.003)
            confirm(method, "published", seed, defaults | dict(published.get(method, {})), reached, epochs)
            if method in published:
                confirm(method, "ours", seed, defaults, reached + 0.02 + chance.gauss(0, 0.003), epochs)
    if baselines:
        add("pixels", "baseline", 0, {}, 0.339, "complete", 0)
        for place, network in enumerate(method for method in origins if method.startswith(FROZEN)):
            add(network, "baseline", 0, {}, 0.86 - 0.2 * place, "complete", 0)
        for seed in range(1, seeds + 1):
            confirm("random", "baseline", seed, {}, 0.36 + chance.gauss(0, 0.005), 0)
            if labelled:
                confirm("supervised", "baseline", seed, {}, 0.93 + chance.gauss(0, 0.002), epochs)
    given_up = {
        method: f"its {trials} trials failed alike: the loss became NaN"
        for method in methods
        if failing.get((method, "search"), 0) >= trials
    }
    if protocols:
        trial_rows += evaluations(trial_rows, protocols, labelled, uneven, left_out)
    charged = 60.0 + sum(row["device_seconds"] for row in trial_rows)
    images = {"train": 50000, "labelled": labelled, "test": 10000, "left_out": 0}
    if protocols:
        least = 15 if left_out else labelled // CLASSES
        images |= {"per_class": [least, *[labelled // CLASSES] * (CLASSES - 1)]}
    run = {
        "name": "made-up",
        "settings": {"dataset": dataset, "encoder": encoder, "image_size": 32},
        "plan": {"epochs": epochs, "calibration_seconds": 60.0},
        "budget": {"device": "gpu", "seconds": 1.04 * charged},
        "slots": slots,
        "share": 1.25 * charged / max(1, len(methods)),
        "facts": {
            "device": "NVIDIA H100 80GB HBM3",
            "versions": {"python": "3.12.1", "torch": "2.14.1", "ray": "2.60.0", "optuna": "5.0.0"},
            "commit": "0123abc",
            "dataset_note": "made-up numbers",
            "images": images,
            "search_spaces": {m: space_of(m, published.get(m, {}), recipes.get(m), augment) for m in methods},
        },
        "winners": {m: winners[m][0]["uid"] if m in winners else None for m in methods} if finished else {},
        "given_up": given_up,
        "charged": charged,
        "closed": "done" if finished else None,
    }
    return trial_rows, epoch_rows, run


def write(folder: Path, *arguments, **options) -> Path:
    """The made-up run as Parquet in `folder`; arguments as in `rows`."""
    results.save(*rows(*arguments, **options), folder)
    return folder
