"""What leaves an encoder in a folder of its own (`bench.execution.card`): a training alone, or the winners of a run."""

import datetime
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from algorithms.encoders import weights
from algorithms.evaluation.metrics import METRICS
from algorithms.training.trainer import Trainer
from bench import doors
from bench.errors import UserError
from bench.execution import card, graph, kept
from bench.execution.card import Accuracy, Card, Hyperparameter
from bench.execution.settings import TrainingSettings
from bench.execution.training import Training, opened
from bench.report.statistics import Estimate
from bench.search import evaluations
from bench.search.events import plain
from bench.search.fold import Fold, read
from bench.search.methods import base
from bench.search.selection import called, merit
from bench.search.space import SearchSpace
from bench.search.trials import Trial


@dataclass(frozen=True)
class About:
    """What a card tells that a trainer does not know."""

    space: SearchSpace
    settings: TrainingSettings
    asked: Mapping[str, Any]
    """The hyper-parameters that were asked for."""
    won: str | None
    """The run that they won."""
    accuracies: Mapping[str, Accuracy]
    picked: str | None
    """In words, where it is one of several that were trained alike."""
    facts: Mapping[str, Any]
    """Of the machine: `versions`, `commit`."""


def leave(folder: Path, trainer: Trainer, about: About) -> None:
    """Write the encoder that `trainer` has trained, and its card, into the folder; nothing where it is there already.
    Raises OSError."""
    judged = trainer.method.judged_encoder
    state = weights.copied(judged)
    made = _card(trainer, about, weights.fingerprint(state))
    if card.is_whole(folder) and card.same(folder, made):
        return
    program = None
    try:
        program = graph.writer(graph.program(judged, trainer.images.statistics, trainer.images.image_size))
    except ValueError as error:
        print(f"note: {folder / card.PROGRAM} is left out: {error}")
    card.write(folder, made, safetensors.torch.save(state, {"format": "pt"}), program)


def keep_winners(
    run_dir: Path, spaces: Mapping[str, SearchSpace], settings: TrainingSettings, facts: Mapping[str, Any]
) -> None:
    """Of each method of a run whose winner is confirmed, the best of the confirming trainings by its test figure: its
    encoder goes to `run_dir`/kept/METHOD. The card tells what all of them reached, which is what such a training is
    worth, and that this one was picked. What cannot be kept is told. Raises OSError."""
    fold, folder = read(run_dir / "ledger.jsonl"), run_dir / "kept"
    done = []
    for method, space in spaces.items():
        trainings = [trial for trial in fold.confirming(method) if trial.accuracy is not None]
        left = [trial for trial in trainings if evaluations.has_encoder(trial)]
        try:
            if not left:
                raise UserError("its winner has not been confirmed" if not trainings else "earlier versions kept none")
            best = max(left, key=lambda trial: merit(trial.accuracy or 0.0))
            _keep(best, trainings, fold, run_dir, space, settings, facts)
            done.append(method)
        except UserError as error:
            print(f"note: no encoder of {method} is kept: {error}")
    if done:
        print(f"Encoders: {folder}, of {', '.join(done)}")


def _keep(
    best: Trial,
    trainings: list[Trial],
    fold: Fold,
    run_dir: Path,
    space: SearchSpace,
    settings: TrainingSettings,
    facts: Mapping[str, Any],
) -> None:
    state = kept.read(run_dir, best.uid)
    trainer = Training(settings).build(best.job)
    trainer.method.judged_encoder.load_state_dict(state)
    assert best.last is not None
    count, judge = len(trainings), called(best.last.metrics)
    words = (
        f"seed {best.seed}, the best {judge} on test images of {count} seeds; the accuracies are those of all of them"
    )
    about = About(
        space,
        settings,
        best.hyperparameters,
        won=None if best.recipe else f"won in {run_dir.name}",
        accuracies=measured([_figures(trial, fold) for trial in trainings]),
        picked=words if count > 1 else None,
        facts=facts,
    )
    leave(run_dir / "kept" / space.method, trainer, about)


def _figures(training: Trial, fold: Fold) -> dict[str, float]:
    """What was measured of a training's encoder, by protocols too."""
    judging = (trial for trial in fold.of(training.method, "evaluate") if trial.of == training.uid)
    found: dict[str, float] = {}
    for trial in (training, *judging):
        if trial.state == "complete" and trial.last is not None:
            found |= trial.last.metrics
    return found


def measured(figures: Iterable[Mapping[str, float]]) -> dict[str, Accuracy]:
    """By metrics, from the figures of trainings that differ in their seeds alone."""
    found: dict[str, dict[int, float]] = {}
    for seed, metrics in enumerate(figures):
        for name, value in metrics.items():
            if name in METRICS and math.isfinite(value):
                found.setdefault(name, {})[seed] = value
    estimates = {name: Estimate(values) for name, values in found.items()}
    return {
        name: Accuracy(METRICS[name].title, of.mean, of.half_width, len(of.values)) for name, of in estimates.items()
    }


def _card(trainer: Trainer, about: About, fingerprint: str) -> Card:
    space, settings, facts = about.space, about.settings, about.facts
    dataset, told, method = opened(settings.data), trainer.facts, base(space.method)
    door, statistics = settings.encoder_door, trainer.images.statistics
    content = Card(
        method=space.method,
        paper=space.paper,
        recipe=space.recipe,
        hyperparameters=_hyperparameters(trainer.hyperparameters, about.asked, space, about.won),
        epochs=trainer.epochs,
        seed=trainer.seed,
        images=card.Images(
            name=dataset.name,
            fingerprint=dataset.fingerprint,
            train=len(dataset.train),
            labelled=int((dataset.train.labels >= 0).sum()),
            classes=dataset.classes,
        ),
        encoder=card.Network(
            name=told["encoder"],
            network=settings.encoder,
            width=trainer.method.encoder.width,
            parameters=told["encoder_parameters"],
            source=doors.source(door) if door else None,
            method=doors.short(settings.methods.get(method, method)) if told["own_encoder"] else None,
        ),
        preprocessing=card.Preprocessing(
            image_size=trainer.images.image_size,
            channels=statistics.channels,
            mean=statistics.mean,
            std=statistics.std,
            fit=settings.fit,
        ),
        weights=fingerprint,
        accuracies=about.accuracies,
        began_with=told.get("weights"),
        began_with_trained_on=told.get("trained_on"),
        teacher=told.get("teacher"),
        teacher_trained_on=told.get("teacher_trained_on"),
        picked=about.picked,
        commit=facts.get("commit"),
        versions=facts.get("versions") or {"torch": str(torch.__version__)},
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    return Card.from_json(plain(content.to_json()))  # as a reader will have it


def _hyperparameters(
    effective: Mapping[str, Any], asked: Mapping[str, Any], space: SearchSpace, won: str | None
) -> dict[str, Hyperparameter]:
    published, found = space.published, {}
    for name, value in effective.items():
        entry = space.entries.get(name, {})
        origin = won or ("published" if published.get(name) == asked.get(name) else "our recipe")
        if name not in asked:
            origin = "default"
        elif asked[name] != value:
            origin = "fitted to the encoder and the images"
        found[name] = Hyperparameter(value, origin, entry.get("source"))
    return found
