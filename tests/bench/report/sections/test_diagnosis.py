"""What went wrong with trials, on the page and by itself."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.report import report, results
from bench.report.diagnosis import ADVICE, TITLES, Baselines, diagnose, groups
from bench.report.page import Page
from bench.report.sections import diagnosis
from tests.bench import older_runs, synthetic_run
from tests.bench.report.pages import HOSTILE, TROUBLED, Checker, charts, make
from tests.bench.report.runs import loaded


def test_what_failed_is_shown_in_its_rows_and_charts(tmp_path):
    _, page = make(tmp_path, **TROUBLED)
    rows = {method: re.search(rf"<tr[^>]*><td data-value=.{method}.*?</tr>", page)[0] for method in ("byol", "simsiam")}
    assert "<small>2 of 3 seeds;<br>1 failed</small>" in rows["byol"]  # its accuracy
    assert "<small>1 of 3 seeds;<br>2 failed</small>" in rows["byol"]  # its recipe's
    assert rows["simsiam"].count("<small>0 of 3 seeds;<br>3 failed</small>") == 2
    assert "class=best" not in rows["byol"]
    assert "the method is not ranked" in page
    shown = charts(page)
    assert "byol<br>2 of 3 seeds; 1 failed" in shown["accuracy"]["layout"]["yaxis"]["ticktext"]
    assert any("failed" in note["text"] for note in shown["gain"]["layout"]["annotations"])


def test_a_search_that_was_given_up_is_said_where_the_diagnosis_is_told(tmp_path):
    trials, epochs, run = synthetic_run.rows(("byol", "moco"), failing={("moco", "search"): 12})
    run["given_up"]["moco"] = "<b>all failed alike</b>"
    results.save(trials, epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    section = page[page.index('<section id="diagnosis">') :]
    assert "moco was given up: &lt;b&gt;all failed alike&lt;/b&gt;" in section
    assert "given up: &lt;b&gt;all failed" in page[page.index('<section id="methods">') :]
    assert "<h3>moco: 12 trials diverged</h3>" in section
    assert "Lower the learning rate" in section


def trial(method="swav", state="complete", stage="search", **values):
    told = {"learning_rate": 0.1, "batch_size": 256, "prototypes": 512, "epsilon": 0.05, "queue_length": 1024}
    told |= values.pop("hyperparameters", {})
    own = {"failure": None, "reason": None, "epoch": 3, "epochs": 5, "attempts": 1, "batch_size": 256}
    return pd.Series(
        {"method": method, "state": state, "stage": stage, "hyperparameters": json.dumps(told), "effective": None}
        | own
        | values
    )


def epochs(loss=(5.0, 4.0, 3.0), feature_std=(0.8, 0.7, 0.6), rankme=(50.0, 45.0, 44.0)):
    return pd.DataFrame({"epoch": range(1, len(loss) + 1), "loss": loss, "feature_std": feature_std, "rankme": rankme})


USUAL = Baselines(untrained=0.3, rank=45.0)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("diverged", "no longer finite in epoch 3 of 5; before, it was 3"),
        ("collapsed", "their deviation fell from 0.8 to 0.6 in epoch 3 of 5"),
        ("memory", "Memory was out in epoch 3 of 5"),
        ("hung", "took too long"),
        ("lost", "died 1 time"),
        ("device", "in error"),
        ("error", "raised an error"),
        (None, "raised an error"),
        ("of another version", "raised an error"),
    ],
)
def test_a_failure_is_told_with_its_figures_its_reason_and_advice(failure, words):
    told = diagnose(trial(state="failed", failure=failure, reason="because\nof this"), epochs(), USUAL, None)
    assert words in told.seen
    assert "(because of this)" in told.seen
    assert told.advice


def test_advice_is_of_the_method_and_of_what_it_has():
    swav = diagnose(trial("swav", "failed", failure="collapsed"), epochs(), USUAL, None).advice
    assert "epsilon" in swav[0].text
    byol = diagnose(
        trial("byol-warm", "failed", failure="collapsed", hyperparameters={"ema_momentum": 0.99}), epochs(), USUAL, None
    ).advice
    assert "EMA momentum" in byol[0].text
    assert not any("epsilon" in advice.text for advice in byol)


@pytest.mark.parametrize(
    ("method", "at"),
    [("swav", math.log(512)), ("simclr", math.log(511)), ("moco", math.log(1025)), ("nnclr", math.log(256))],
)
def test_a_loss_at_the_logarithm_of_its_choices_stood_still(method, at):
    stuck = epochs(loss=(at + 1, at + 0.01, at - 0.01))
    assert diagnose(trial(method, "pruned"), stuck, USUAL, None).kind == "uniform"
    assert diagnose(trial(method), stuck, USUAL, 0.2).kind == "uniform"
    assert diagnose(trial(method), stuck, USUAL, 0.5) is None, "it has learned all the same"
    falling = epochs(loss=(at, at, 0.8 * at))
    assert diagnose(trial(method, "pruned"), falling, USUAL, None) is None
    twice = trial("moco", "pruned", hyperparameters={"symmetric": True})
    assert diagnose(twice, epochs(loss=(15, *[2 * math.log(1025)] * 2)), USUAL, None).kind == "uniform"


def test_dimensions_that_are_lost_and_accuracies_of_a_random_network_are_told():
    lost = diagnose(trial(), epochs(rankme=(50.0, 20.0, 4.0)), USUAL, 0.5)
    assert lost.kind == "narrowed"
    assert "from 50 to 4; the method's complete trainings end at 45" in lost.seen
    assert diagnose(trial(), epochs(rankme=(50.0, 30.0, 20.0)), USUAL, 0.5) is None, "others have not many more"
    assert diagnose(trial(), epochs(rankme=(5.0, 4.0, 4.0)), USUAL, 0.5) is None, "it has not fallen"
    still = diagnose(trial(), epochs(), USUAL, 0.29)
    assert still.kind == "still"
    assert "29.00 %; a random initialisation has 30.00 %" in still.seen
    assert diagnose(trial(state="pruned"), epochs(), USUAL, 0.29) is None, "it was not trained to its end"
    assert diagnose(trial(stage="baseline"), epochs(), USUAL, 0.29) is None
    assert diagnose(trial(), epochs(), Baselines(None, None), 0.29) is None


@pytest.mark.parametrize("state", ["complete", "pruned", "cut", "running"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_nothing_is_said_of_a_training_that_learns(state, data):
    """Whose accuracy is above a random network's, whose loss leaves where it began, and whose rank is like others'."""
    method = data.draw(st.sampled_from(["swav", "byol", "simclr", "moco", "dino"]))
    count = data.draw(st.integers(2, 6))
    ranks = data.draw(st.lists(st.floats(16, 90), min_size=count, max_size=count))
    told = epochs([5 * 0.7**place for place in range(count)], [0.5] * count, ranks)
    assert diagnose(trial(method, state), told, USUAL, data.draw(st.floats(0.301, 1))) is None


def test_nothing_is_said_of_the_winners_of_a_recorded_run():
    run = results.load(older_runs.FIRST)
    told = {case.trial.uid for group in groups(run) for case in group.cases}
    assert len(set(run.run["winners"].values())) == 16
    assert not told & set(run.run["winners"].values())
    assert len(told) < 10


CELLS = st.sampled_from([None, np.nan, 0.0, -1.0, 0.25, 1e30])


@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_part_of_any_run_gives_a_section_with_nothing_unescaped(data):
    trials, told, run = synthetic_run.rows(
        (HOSTILE, "swav"), trials=3, epochs=2, seeds=1, failing={("swav", "search"): 2}
    )
    kept = data.draw(st.lists(st.sampled_from(trials), unique_by=lambda each: each["uid"]))
    for each in kept:
        each["state"] = data.draw(st.sampled_from(["complete", "failed", "pruned", "running", "cut"]))
        each["failure"] = data.draw(st.sampled_from([None, HOSTILE, *TITLES]))
        each["reason"] = data.draw(st.sampled_from([None, HOSTILE]))
    rest = data.draw(st.lists(st.sampled_from(told), unique_by=id))
    for each in rest:
        each |= {name: data.draw(CELLS) for name in ("loss", "feature_std", "rankme")}
    page = Page(loaded(kept, rest, run), [])
    html = str(diagnosis.section(page))
    found = Checker(html)
    assert not found.scripts
    assert not found.handlers
    assert "<script>" not in json.dumps(page.figures)
    assert html.count("<h3>") == len(groups(page.results))


def test_trials_alike_stand_together_so_that_a_thousand_make_no_endless_page():
    methods = [f"method{place}" for place in range(60)]
    trials, told, run = synthetic_run.rows(tuple(methods), trials=17, seeds=1, epochs=2, baselines=False)
    for each in trials:
        each |= {"state": "failed", "failure": "diverged"}
    section = str(diagnosis.section(Page(loaded(trials, told, run), [])))
    assert section.count("<h3>") == diagnosis.GROUPS
    assert "more trials, of rarer kinds" in section
    assert len(section) < 300_000


def test_charts_stand_beside_the_methods_other_trials(tmp_path):
    _, page = make(tmp_path, **TROUBLED)
    (name,) = [name for name in charts(page) if name.startswith("diagnosis-feature_std-0")]
    assert len(charts(page)[name]["data"]) > 1


def test_every_kind_has_a_title_and_advice_for_whatever_method():
    assert ADVICE.keys() == TITLES.keys()
    for advice in ADVICE.values():
        assert any(not each.methods for each in advice)


def test_a_run_without_trouble_says_so():
    trials, told, run = synthetic_run.rows(("byol",), trials=2)
    for each in trials:
        each["state"] = "complete"
    assert groups(loaded(trials, told, run)) == []
    assert groups(loaded(trials, [], run)) == []
    assert groups(loaded([], [], run)) == []
