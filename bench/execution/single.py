"""Train one method alone and keep its encoder: `ssl-bench train METHOD`."""

import json
import math
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from algorithms.evaluation.metrics import FEATURE_STD, INSTANCE_ACCURACY, SELECTION
from algorithms.training.process import keep_freed_memory
from algorithms.training.recipe import AUGMENTATION, hyperparameter_names
from algorithms.training.report import EpochReport
from algorithms.training.trainer import Trainer
from bench.errors import UserError
from bench.execution import brought, card, checkpoint, takeaway
from bench.execution.settings import TrainingSettings
from bench.execution.training import Training, set_determinism
from bench.files import write_atomically
from bench.machine import cores
from bench.search.decisions import COLLAPSED
from bench.search.events import plain
from bench.search.experiment import otherwise
from bench.search.fold import read
from bench.search.job import Job
from bench.search.space import SearchSpace


def train(
    space: SearchSpace,
    settings: TrainingSettings,
    *,
    epochs: int,
    seed: int = 0,
    run_dir: Path,
    fresh: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Train on all training images and meet the test images once, at the last epoch; the folder of the encoder. Where
    there are no labels, the criteria without them judge.

    The hyper-parameters are those that won the search of the run in `run_dir`, else our recipe in `space`. The folder
    is `run_dir`/trained/METHOD: in it the encoder that was judged, with its card (`bench.execution.card`), which has
    the `facts` of the machine; `training.json`, what was asked and reported; `checkpoint.pt` while it trains, from
    which the same call continues. `fresh` begins anew. A winner of a run on other images, of another size or with
    another encoder is taken, and told. Raises UserError where the folder holds a training with other settings or a
    damaged one, where what won is of a version with other hyper-parameters, and where the loss is no number.
    """
    method = space.method
    hyperparameters, halved, won = _chosen(space, settings, run_dir, epochs)
    folder = run_dir / "trained" / method
    unfinished, result = (folder / name for name in ("checkpoint.pt", "training.json"))
    asked: dict[str, Any] = plain({"method": method, "hyperparameters": hyperparameters, "epochs": epochs})
    asked |= {"halved": True} if halved else {}
    # Whether steps are compiled is how, not what.
    asked |= {name: value for name, value in settings.identity().items() if name != "compile"}
    asked |= {"seed": seed} if seed else {}  # so that a training begun before there was such an option continues
    before = kept = None
    if not fresh:
        kept_here = card.is_whole(folder) or (folder / "encoder.pt").exists()  # as earlier versions called it
        before = _read_result(result) if result.exists() and kept_here else None
        kept = checkpoint.read(unfinished) if unfinished.exists() else before
    if kept and {name: value for name, value in kept["asked"].items() if name != "compile"} != asked:
        raise UserError(f"{folder} holds a training with other settings; use --fresh to begin it anew")
    if before:
        print(_line(before["report"], epochs))
        return folder

    set_determinism(settings.deterministic)
    if settings.device == "cpu":
        keep_freed_memory()
    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    job = Job("single", method, "confirm", seed, hyperparameters, epochs, (epochs,), halved=halved)
    trainer = Training(settings).build(job)
    if fitted := trainer.facts.get("hyperparameters"):
        changes = (f"{name} {hyperparameters.get(name)} → {value}" for name, value in sorted(fitted.items()))
        print(f"fitted to this encoder and data set: {', '.join(changes)}", flush=True)
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    if kept:
        trainer.load_state_dict(kept["trainer"])
        print(f"continuing after epoch {trainer.epoch}", flush=True)
    report = _train(trainer, space, lambda: {"asked": asked, "trainer": trainer.state_dict()}, unfinished)
    content = {"asked": asked, "facts": trainer.facts, "report": report.to_json()}
    write_atomically(result, json.dumps(plain(content), indent=1) + "\n")
    about = takeaway.About(
        space,
        settings,
        hyperparameters,
        won=won,
        accuracies=takeaway.measured([report.metrics]),
        picked=None,
        facts=facts or {},
    )
    takeaway.leave(folder, trainer, about)
    unfinished.unlink(missing_ok=True)
    return folder


def _chosen(
    space: SearchSpace, settings: TrainingSettings, run_dir: Path, epochs: int
) -> tuple[dict[str, Any], bool, str | None]:
    """The hyper-parameters, whether a step has half the images, and where they won, if they did; whose they are is
    told. Raises UserError."""
    method, fold = space.method, read(run_dir / "ledger.jsonl")
    winner = fold.trials.get(fold.winner(method) or "")
    hyperparameters = dict(winner.hyperparameters if winner else space.defaults)
    required, known = hyperparameter_names(brought.method(settings, method))
    if other := sorted((required - hyperparameters.keys()) | (hyperparameters.keys() - known - set(AUGMENTATION))):
        raise UserError(
            f"what won in {run_dir} is of a version in which {method} had other hyper-parameters ({', '.join(other)}); "
            "give another --run-dir to train it by its recipe"
        )
    won = f"won in {run_dir.name}" if winner else None
    print(f"{method}, {epochs} epochs, " + (f"as it won in {run_dir}" if winner else recipe_words(space)), flush=True)
    if winner and (differing := otherwise(fold.settings, settings.identity())):
        print(f"note: the run there was {differing}", flush=True)
    return hyperparameters, bool(winner and winner.halved), won


def _train(
    trainer: Trainer, space: SearchSpace, content: Callable[[], dict[str, Any]], unfinished: Path
) -> EpochReport:
    """Train to the end, with checkpoints of this content; the last report. Raises UserError where the loss is no
    number."""
    keeper = checkpoint.Checkpoint(unfinished)
    for report in trainer:
        if not math.isfinite(report.loss):
            raise UserError(
                f"loss is {report.loss} at epoch {report.epoch}; lower the default of learning_rate in "
                f"search_spaces/{space.method}.yaml and use --fresh"
            )
        print(_line(report, trainer.epochs), flush=True)
        if report.epoch < trainer.epochs:
            keeper.write_if_due(content)
    if not report.metrics.get(FEATURE_STD.name, COLLAPSED) >= COLLAPSED:
        print(f"warning: {space.method} has collapsed: all images have nearly the same features", file=sys.stderr)
    return report


def recipe_words(space: SearchSpace) -> str:
    """Whose the recipe is that a method has by default: `as published` where it is exactly that."""
    if len(space.recipes) > 1:
        return "by our recipe, which is not the published one"
    return "as published" + (f", adapted: {space.recipe['adapted']}" if "adapted" in space.recipe else "")


def _read_result(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        return {"asked": content["asked"], "report": EpochReport.from_json(content["report"])}
    except (ValueError, TypeError, KeyError) as error:
        raise checkpoint.damaged(path) from error


def _line(report: EpochReport, epochs: int) -> str:
    left = f"{(epochs - report.epoch) * report.seconds / 60:.1f} min left"
    if SELECTION.name in report.metrics:
        left = f"test kNN {report.metrics[SELECTION.name]:.2%}"
    elif report.metrics:
        left = f"{INSTANCE_ACCURACY.title} {report.metrics[INSTANCE_ACCURACY.name]:.2%} (of held-out images, no labels)"
    return f"epoch {report.epoch} of {epochs}: loss {report.loss:.4g}, {report.images_per_second:,.0f} images/s, {left}"
