"""`ssl-bench simulate`: what a search in virtual time tells."""

import re
from pathlib import Path

from tests.bench import synthetic_run
from tests.bench.commands.answering import answer_of

TOLD = r"(\d+) trials \(.*\) on (\d+) slots, .* unused .*%, slots busy .*%\n"


def test_it_runs_about_as_many_trials_as_are_asked_for_on_as_many_slots():
    status, told, _ = answer_of(["simulate", "--slots", "4", "--trials", "60", "--methods", "3", "--epochs", "9"])
    assert status == 0
    trials, slots = map(int, re.fullmatch(TOLD, told).groups())
    assert 40 <= trials <= 90
    assert slots == 4


def test_it_replays_a_run(tmp_path: Path):
    run = synthetic_run.write(tmp_path / "run", ("byol", "simclr"), trials=12)
    words = ["simulate", "--slots", "2", "--trials", "30", "--replay", str(run / "epochs.parquet")]
    status, told, err = answer_of(words)
    assert (status, err) == (0, "")
    assert re.fullmatch(TOLD, told)
