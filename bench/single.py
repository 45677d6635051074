"""Train one method alone and keep its encoder: `run_bench.py --train METHOD`."""

import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from algorithms.trainer import EpochReport
from bench.errors import UserError
from bench.files import write_atomically
from bench.ledger import plain, read
from bench.training import build, set_determinism
from bench.trial import CHECKPOINT_PART


def train(
    method: str,
    recipe: Mapping[str, Any],
    settings: Mapping[str, Any],
    local: Mapping[str, Any],
    *,
    epochs: int,
    run_dir: Path,
    fresh: bool = False,
) -> Path:
    """Train on all training images and meet the test images once, at the last epoch; the path of the encoder.

    The hyper-parameters are those that won the search of the run in `run_dir`, else the published `recipe`. `settings`
    and `local` are those of `bench.training.build`. In `run_dir`/trained/METHOD: `encoder.pt`, the state dict of the
    encoder that was judged; `training.json`, what was trained and how well it does; `checkpoint.pt` while it trains,
    from which the same call continues. `fresh` begins anew. Raises UserError where the folder holds a training with
    other settings, and where the loss is no number.
    """
    fold = read(run_dir / "ledger.jsonl")
    winner = fold.trials.get(fold.winner(method) or "")
    hyperparameters = dict(winner.hyperparameters if winner else recipe)
    print(f"{method}, {epochs} epochs, " + (f"as it won in {run_dir}" if winner else "as published"), flush=True)
    folder = run_dir / "trained" / method
    checkpoint, result, encoder = folder / "checkpoint.pt", folder / "training.json", folder / "encoder.pt"
    asked = plain({"method": method, "hyperparameters": hyperparameters, "epochs": epochs} | dict(settings))
    before = kept = None
    if not fresh:
        before = json.loads(result.read_text()) if result.exists() and encoder.exists() else None
        kept = torch.load(checkpoint, map_location="cpu", weights_only=True) if checkpoint.exists() else before
    if kept and kept["asked"] != asked:
        raise UserError(f"{folder} holds a training with other settings; use --fresh to begin it anew")
    if before:
        print(_line(EpochReport(**before["report"]), epochs))
        return encoder

    set_determinism({**settings, **local})
    trial = {"method": method, "stage": "confirm", "seed": 0, "hyperparameters": hyperparameters}
    trainer = build(trial | {"epochs": epochs, "evaluate_at": [epochs]}, {**settings, **local})
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    if kept:
        trainer.load_state_dict(kept["trainer"])
        print(f"continuing after epoch {trainer.epoch}", flush=True)
    saved, saving = time.monotonic(), 0.0
    for report in trainer:
        if not math.isfinite(report.loss):
            raise UserError(
                f"loss is {report.loss} at epoch {report.epoch}; lower the default of learning_rate in "
                f"search_spaces/{method}.yaml and use --fresh"
            )
        print(_line(report, epochs), flush=True)
        if report.epoch < epochs and time.monotonic() - saved >= saving / CHECKPOINT_PART:
            began = time.monotonic()
            _write(checkpoint, {"asked": asked, "trainer": trainer.state_dict()})
            saved = time.monotonic()
            saving = saved - began
    _write(encoder, trainer.method.judged_encoder.state_dict())
    content = {"asked": asked, "facts": trainer.facts, "report": vars(report)}
    write_atomically(result, json.dumps(plain(content), indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
    return encoder


def _write(path: Path, content: Any) -> None:
    write_atomically(path, lambda file: torch.save(content, file))


def _line(report: EpochReport, epochs: int) -> str:
    left = f"{(epochs - report.epoch) * report.seconds / 60:.1f} min left"
    judged = left if report.knn_200 is None else f"test kNN {report.knn_200:.2%}"
    return (
        f"epoch {report.epoch} of {epochs}: loss {report.loss:.4g}, {report.images_per_second:,.0f} images/s, {judged}"
    )
