"""What a run keeps to take away: of each method the best of those that confirm its winner."""

import json
import statistics
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.errors import UserError
from bench.execution import benchmark, card, kept, sources
from bench.execution.configuration import Configuration
from bench.execution.processes import Processes
from bench.search.budget import Budget
from bench.search.fold import read

SMALL = {"methods": ("simclr",), "dataset": "shapes", "limit": 64, "image_size": 8, "epochs": 1, "seeds": 2}
SMALL |= {"protocols": ("knn",)}


def run(run_dir: Path, **asked) -> int:
    """A run of the recipes alone, with two seeds, or the same again."""
    budget = Budget("cpu", 100_000.0)
    configuration = Configuration(budget=budget, run_dir=run_dir, searcher="none", **SMALL | asked)
    return benchmark.run(configuration, executor=Processes()).status


@pytest.mark.slow
def test_a_run_that_has_ended_keeps_the_best_seed_and_says_what_all_of_them_are_worth(tmp_path, capsys):
    assert run(tmp_path) == 0
    assert not (tmp_path / "kept").exists()
    assert run(tmp_path, keep_encoders=True, protocols=("knn",)) == 0
    assert f"Encoders: {tmp_path / 'kept'}, of simclr\n" in capsys.readouterr().out
    folder, fold = tmp_path / "kept" / "simclr", read(tmp_path / "ledger.jsonl")
    found, trainings = card.read(folder), fold.confirming("simclr")
    reached = {trial.uid: trial.last.metrics["knn_200"] for trial in trainings if trial.last}
    assert len(reached) == 2
    assert found.accuracies["knn_200"].mean == pytest.approx(statistics.fmean(reached.values()))
    assert found.accuracies["knn_200"].seeds == 2
    assert found.accuracies["knn_200"].half_width is not None
    best = max(trainings, key=lambda trial: reached[trial.uid])
    assert found.seed == best.seed
    assert found.picked is not None
    assert f"seed {best.seed}, the best kNN k=200 on test images of 2 seeds" in found.picked
    state = load_file(folder / "model.safetensors")
    assert all(torch.equal(state[name], value) for name, value in kept.read(tmp_path, best.uid).items())
    sources.check(str(folder))
    before = (folder / "card.json").stat().st_mtime_ns
    assert run(tmp_path, keep_encoders=True) == 0
    assert (folder / "card.json").stat().st_mtime_ns == before
    kept.path(tmp_path, best.uid).write_bytes(b"damaged")
    other = {**json.loads((folder / "card.json").read_text()), "seed": -1}
    (folder / "card.json").write_text(json.dumps(other))
    assert run(tmp_path, keep_encoders=True) == 0
    assert "note: no encoder of simclr is kept: " in capsys.readouterr().out


def test_a_plan_keeps_nothing(tmp_path):
    with pytest.raises(UserError, match="--keep-encoders needs a run; leave out --dry-run"):
        run(tmp_path, keep_encoders=True, dry_run=True)
