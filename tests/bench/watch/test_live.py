"""What is told of a run that goes on, has ended, or has fallen silent."""

import html
import json
import re
import shlex
from pathlib import Path

import pytest

from bench.report import results
from bench.search.fold import Fold, read
from bench.watch import live
from tests.bench.report.pages import HOSTILE, Checker

LEDGER = Path(__file__).resolve().parents[1] / "search" / "interrupted.jsonl"


def told(fold, folder=Path("run"), now=None, **more):
    run = results.facts(fold, "run") if fold.settings else {}
    parts = live.parts(fold, run, folder, now=fold.time if now is None else now, **more)
    (section,) = parts.sections.values()
    assert list(parts.sections) == [live.PLACE]
    checked = Checker(section)
    assert (checked.handlers, checked.scripts, checked.addresses) == ([], 0, [])
    words = re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>", " ", section, flags=re.DOTALL))
    return words, parts


def suggest(fold, uid, method="simclr", stage="search", epochs=4, **values):
    about = {"seed": 0, "number": int(uid[-1]), "hyperparameters": {}, "parameters": {}, "published": False, "of": None}
    about |= {"method": method, "stage": stage, "epochs": epochs, "evaluate_at": [1, epochs]} | values
    fold.apply({"event": "suggested", "time": fold.time, "uid": uid, **about})
    fold.apply({"event": "assigned", "time": fold.time, "uid": uid, "attempt": 1})
    fold.apply({"event": "started", "time": fold.time, "uid": uid, "held": 0.0, "startup": 0.0})


def report(fold, uid, epoch, held, **metrics):
    values = {"epoch": epoch, "loss": 1 / epoch, "seconds": 1.0} | metrics
    about = {"attempt": 1, "held": held, "decision": "continue", "reason": None, "report": values}
    fold.apply({"event": "reported", "time": fold.time + 1, "uid": uid, **about})


@pytest.fixture
def fold():
    made = Fold()
    costs = {"epoch": 7.0, "evaluation": 1.0}
    plan = {"calibration": {"simclr": costs, "byol": costs}, "calibration_seconds": 0.0}
    made.apply({"event": "run", "time": 1000.0, "settings": {"searcher": "tpe", "baselines": ["random"]}, "plan": plan})
    session = {"number": 0, "slots": 2, "rate": 1.0, "share": 200.0, "facts": {}}
    made.apply({"event": "session", "time": 1000.0, "budget": {"device": "cpu", "seconds": 400.0}} | session)
    return made


def test_a_trial_that_runs_is_told_with_its_epoch_its_pace_and_when_it_is_done(fold):
    suggest(fold, "simclr-0001")
    words, parts = told(fold)
    assert "simclr-0001 simclr search starting 0 s 7.00 s in 28 s, unless it is pruned" in words
    assert parts.figures == {}
    report(fold, "simclr-0001", 1, 10.0, knn_200=0.25)
    report(fold, "simclr-0001", 2, 15.0)
    report(fold, "simclr-0001", 3, 20.0)
    words, parts = told(fold)
    assert "simclr-0001 simclr search 3 of 4 20 s 5.00 s in 5 s" in words
    assert "0.33 of 3.33 core-minutes 1 running" in words
    assert "0.33 of 6.67 core-minutes spent, 5 %; the rest lasts 6 min." in words
    assert list(parts.figures) == ["live-simclr-0001"]
    assert '"x":[1,2,3]' in parts.figures["live-simclr-0001"]
    assert "25.0" in parts.figures["live-simclr-0001"]
    assert "takes a baseline: random" in words
    suggest(fold, "random-1", "random", "baseline", 1)
    suggest(fold, "byol-0000", "byol")
    assert "likely to go to byol" not in told(fold)[0]  # what its trial is going to take counts
    assert "likely to go to simclr" in told(fold)[0]


def test_the_command_that_stops_a_trial_names_the_folder_as_a_shell_wants_it(fold):
    suggest(fold, "simclr-0001")
    words, _ = told(fold, Path("/a folder/it's"))
    command = re.search(r"ssl-bench stop .*?simclr-0001", words)[0]
    assert shlex.split(html.unescape(command)) == ["ssl-bench", "stop", "/a folder/it's", "simclr-0001"]


@pytest.mark.parametrize(
    ("quiet", "said"),
    [(59, None), (61, "1 min"), (179, "2 min"), (7300, "2.0 h")],
)
def test_a_driver_of_which_nothing_is_heard_may_be_gone(quiet, said, fold):
    suggest(fold, "simclr-0001")
    words, _parts = told(fold, now=fold.time + quiet)
    if said is None:
        assert "Nothing has been heard" not in words
        assert "simclr-0001" in words
        return
    seconds = {"1 min": "60 s"}.get(said, said)
    assert f"Nothing has been heard for {seconds}; the driver may be gone. The same command continues the run." in words
    assert "Trials that run" not in words
    assert live.briefly({}, fold, fold.time + quiet).startswith("silent for")


@pytest.mark.parametrize("reason", ["done", "budget", "interrupted", "error", "<b>"])
def test_a_run_that_has_ended_says_how_however_long_ago(reason, fold):
    suggest(fold, "simclr-0001")
    fold.apply({"event": "cut", "time": fold.time, "uid": "simclr-0001", "held": 5.0, "startup": 0.0, "reason": "end"})
    fold.apply({"event": "closed", "time": fold.time, "reason": reason})
    words, parts = told(fold, now=fold.time + 1e6)
    assert live.CLOSED.get(reason, "The run has ended (&lt;b&gt;).") in words
    assert "Trials that run" not in words
    assert "next free slot" not in words
    assert parts.figures == {}


def test_before_there_is_a_ledger_and_where_it_cannot_be_read_that_is_said():
    assert "Nothing is written yet" in told(Fold())[0]
    assert "line 3 is damaged" in told(Fold(), error="line 3 is damaged")[0]
    parts = live.parts(Fold(), {"closed": "done", "share": 3.0}, Path("x"))
    assert "Its tables are here, its ledger is not." in parts.sections["live"]


def test_a_real_run_is_told_at_every_moment():
    whole = read(LEDGER)
    fold = Fold()
    for line in LEDGER.read_text().splitlines():
        fold.apply(json.loads(line))
        told(fold)
    assert vars(fold) == vars(whole)


def test_names_from_files_are_text(fold):
    suggest(fold, f"{HOSTILE}-1", HOSTILE)
    report(fold, f"{HOSTILE}-1", 1, 10.0, knn_200=0.25)
    _words, parts = told(fold, error=HOSTILE)
    assert "<script>alert" not in parts.sections["live"]
    assert "&lt;script&gt;" in parts.sections["live"]
    assert "<" not in "".join(parts.figures.values())
