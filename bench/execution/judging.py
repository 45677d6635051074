"""Any encoder, ours or another, judged by the protocols by which a run judges its own: `ssl-bench evaluate`.

from bench.execution.judging import evaluate

found = evaluate("torchvision:resnet18", ("knn", "linear"), dataset="path/to/images")
found.figures["linear"]
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from algorithms.evaluation.metrics import (
    FEW_KNN,
    FEW_LINEAR,
    FINETUNE,
    KNN_20,
    KNN_200,
    LINEAR,
    NUMBERS,
    PURITY_20,
    Metric,
    part,
)
from algorithms.training.process import keep_freed_memory
from bench import doors
from bench.data import known
from bench.errors import UserError
from bench.execution import images, networks, sources
from bench.execution.configuration import TrainingConfiguration
from bench.execution.protocols import Subject, protocol, wants_labels
from bench.execution.training import by_labels, set_determinism
from bench.machine import cores
from bench.report.statistics import Estimate
from bench.report.text import DASH, percent, with_interval

USUAL = ("knn", "linear", "few")


@dataclass(frozen=True)
class Evaluated:
    """What was measured of an encoder."""

    encoder: str
    trained_on: str | None
    """In words; None where nothing says it."""
    weights: str
    """Their hash."""
    image_size: int
    """At which it saw the images, px."""
    dataset: str
    fingerprint: str
    """Of the images."""
    figures: Mapping[str, float]
    """By the names of `algorithms.evaluation.metrics`, and of their parts."""
    seconds: Mapping[str, float]
    """That each protocol took; the first that asks for features encodes the images."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def draws(self, metric: Metric) -> Estimate | None:
        """A metric over the draws of labels; None where there were none."""
        places = range(sum(name.startswith(f"{metric.name}/") for name in self.figures))
        return Estimate({place: self.figures[part(metric.name, place)] for place in places}) if places else None

    def __str__(self) -> str:
        """A table for a terminal."""
        lines = []
        for metric in (KNN_200, KNN_20, PURITY_20, LINEAR, *FINETUNE.values()):
            if (value := self.figures.get(metric.name)) is not None:
                balanced = self.figures.get(metric.balanced.name)
                beside = "" if balanced is None else f"   classes counted alike {percent(balanced)}"
                lines.append(f"{metric.title:<20} {percent(value):>6} %{beside}")
        rows = {number: [self.draws(family[number]) for family in (FEW_KNN, FEW_LINEAR)] for number in NUMBERS}
        if any(map(any, rows.values())):
            lines += ["", f"{'labels':<12} {'kNN, %':>14} {'linear probe, %':>16}"]
            for number, (knn, linear) in rows.items():
                lines.append(f"{NUMBERS[number]:<12} {with_interval(knn):>14} {with_interval(linear):>16}")
            if not all(map(all, rows.values())):
                lines.append(f"{DASH} a class has fewer images than that")
        return "\n".join(lines)


def evaluate(encoder: str, protocols: Sequence[str] = USUAL, seed: int = 0, **asked: Any) -> Evaluated:
    """Judge an encoder (`bench.execution.sources`) by the protocols; `asked` are the fields of `TrainingConfiguration`
    that say on which images. Images of a path come at the encoder's own size unless another is asked for; others come
    at theirs, and it enlarges them. It sees them by its own normalisation. What is going on is printed.

    Raises UserError, also where images have no labels.
    """
    for name in protocols:
        protocol(name)
        if name == "scratch":
            raise UserError("'scratch' judges no encoder: it is the baseline that a run has beside few labels")
        if name == "inspect":
            raise UserError("'inspect' is for the page of a run; leave it out")
    sources.check(encoder)
    configuration = TrainingConfiguration(methods=(), seed=seed, **asked)
    dataset = configuration.dataset
    if configuration.image_size is None and dataset and not known.name_of(dataset) and not doors.is_door(dataset):
        size = sources.own_image_size(encoder)
        configuration = dataclasses.replace(configuration, image_size=size)
    device = "cuda" if configuration.on_gpu() else "cpu"
    found = images.load(configuration, "shapes")
    evaluation = by_labels(found, device)
    if evaluation is None:
        raise UserError(wants_labels(protocols[0]))
    of, state = sources.find(encoder, Path(), found.statistics, image_size=found.train.size, own_size=True)
    try:
        network = networks.frozen(of, found.statistics, state)
    except ValueError as error:
        raise UserError(f"{of.name}: {error}") from None
    print(f"{of.name}: {of.width} features at {of.image_size} px, trained on {of.trained_on or 'what is not said'}")
    set_determinism(True)
    keep_freed_memory()
    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    subject, figures = Subject(network, evaluation, seed), dict[str, float]()
    seconds: dict[str, float] = {}
    for name in dict.fromkeys(protocols):
        print(f"{name} ...", end="", flush=True)
        began = time.perf_counter()
        figures |= protocol(name).figures(subject)
        seconds[name] = time.perf_counter() - began
        print(f" {seconds[name]:.1f} s", flush=True)
    return Evaluated(of.name, of.trained_on, of.hash, of.image_size, found.name, found.fingerprint, figures, seconds)
