"""A confirming training, made again from its ledger."""

import dataclasses
import json

import pytest
import torch

from bench.errors import UserError
from bench.execution.again import train_again
from bench.execution.configuration import TrainingConfiguration
from bench.execution.prepared import machine_facts, prepare
from bench.execution.training import Training, set_determinism
from bench.search.events import FORMAT
from bench.search.job import Job
from bench.search.ledger import Ledger
from tests.bench import older_runs

ASKED = TrainingConfiguration(methods=("simclr",), dataset="shapes", limit=48, encoder="resnet8", image_size=16)
UID = "simclr-published-s1"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A ledger with one real training."""
    folder = tmp_path_factory.mktemp("again") / "run"
    prepared = prepare(dataclasses.replace(ASKED, deterministic=True, run_dir=folder))
    (space,) = prepared.spaces.values()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    set_determinism(True)
    settings = dataclasses.replace(prepared.settings, compile=False)
    job = Job(UID, "simclr", "published", 900_001, space.recipes[0], 1, (1,))
    with prepared.saved():
        (report,) = Training(settings).build(job)
    ledger = Ledger(folder)
    plan = {"epochs": 1, "milestones": []}
    identity = settings.identity() | {"methods": ["simclr"], "seed": 0, "seeds": 1, "baselines": []}
    ledger.append("run", format=FORMAT, settings=identity, plan=plan)
    budget, facts = {"device": "cpu", "seconds": 60.0}, machine_facts(False)
    ledger.append("session", number=0, budget=budget, slots=1, rate=1.0, share=60.0, facts=facts)
    about = {"hyperparameters": job.hyperparameters, "parameters": {}, "epochs": 1, "evaluate_at": [1]}
    about |= {"uid": UID, "method": "simclr", "stage": "published", "seed": job.seed, "number": 0}
    ledger.append("suggested", **about, published=True, of=None)
    ledger.append("assigned", uid=UID, attempt=1)
    ledger.append("started", uid=UID, held=0.0, startup=0.0)
    values = {"held": 9.0, "decision": "complete", "reason": None}
    ledger.append("reported", uid=UID, attempt=1, report=report.to_json(), **values)
    ledger.close()
    yield folder
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_deterministic_training_is_the_same_to_the_last_digit(run):
    check = train_again(run, "any", ASKED)
    assert check.wrong == []
    assert "the same to the last digit" in check.checked


@pytest.mark.slow
def test_a_figure_that_was_made_up_is_found(run, tmp_path):
    lines = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    lines[-1]["report"]["knn_200"] += 0.02
    (tmp_path / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    check = train_again(tmp_path, UID, ASKED)
    assert "a deterministic run on the same device and versions; knn_200 differ" in check.wrong[0]
    assert "-2.0000 points" in check.checked


def test_other_images_and_other_trials_are_refused(run):
    with pytest.raises(UserError, match="are not those of the run"):
        train_again(run, UID, dataclasses.replace(ASKED, limit=40))
    with pytest.raises(UserError, match="is no complete trial that confirms; such are simclr-published-s1"):
        train_again(run, "simclr-0000", ASKED)


def test_a_run_of_an_older_format_says_who_can_train_it_again():
    with pytest.raises(UserError, match="of format 1"):
        train_again(older_runs.FIRST, "any", ASKED)
