"""The columns of all trials, from which the page's script makes the table."""

import json
import re

from bench.report import report, results
from bench.report.judged import column
from bench.report.page import Page
from bench.report.rows import rows
from bench.report.sections.trials import columns
from tests.bench import synthetic_run
from tests.bench.report.pages import HOSTILE, TROUBLED


def of(made, name):
    """A column's values, a trial each."""
    (found,) = [each for each in made if each["name"] == name]
    return found["values"] if "at" not in found else [None if at is None else found["values"][at] for at in found["at"]]


def page_of(folder, *arguments, **options):
    found = results.load(synthetic_run.write(folder, *arguments, **options))
    return Page(found, rows(found))


def test_every_trial_is_there_with_what_the_files_have_of_it(tmp_path):
    page = page_of(tmp_path, **TROUBLED, protocols=("linear",))
    made, trials = columns(page), page.results.trials.set_index("uid")
    uids = of(made, "trial")
    assert sorted(uids) == sorted(trials.index)
    assert all(len(of(made, each["name"])) == len(uids) for each in made)
    assert len({each["name"] for each in made}) == len(made)
    for uid, method, stage, state, searched, tested, seconds, reason in zip(
        *(of(made, name) for name in ("trial", "method", "stage", "state", "search", "test", "seconds", "reason")),
        strict=True,
    ):
        trial = trials.loc[uid]
        assert (method, stage, state, seconds) == (
            trial.method,
            trial.stage,
            trial.state,
            round(trial.device_seconds, 1),
        )
        for shown, exact in ((searched, trial[page.judged.train]), (tested, trial[column("test", page.judged.tested)])):
            assert (shown is None) == (exact != exact)
            assert shown is None or shown == round(100 * exact, 2)
        assert reason == (trial.reason if isinstance(trial.reason, str) else None)
    started = [moment for moment in of(made, "started") if moment is not None]
    assert started == sorted(started)


def test_hyper_parameters_are_shown_as_trained_a_column_each(tmp_path):
    page = page_of(tmp_path, ("byol",), fitted={"byol": {"prototypes": 400}})
    made = columns(page)
    settings = {each["title"]: of(made, each["name"]) for each in made if each.get("setting")}
    assert set(settings) == set(synthetic_run.search_space("byol")["hyperparameters"])
    methods = of(made, "method")
    reached = of(made, "epoch")
    for value, method, epoch in zip(settings["prototypes"], methods, reached, strict=True):
        assert value == ("400" if method == "byol" and epoch else value)


def test_texts_of_the_run_cannot_end_the_script_and_a_run_without_trials_has_no_table(tmp_path):
    synthetic_run.write(tmp_path, (HOSTILE, "byol"))
    text = report.write(tmp_path).read_text()
    (data,) = re.findall(r'id="trial-data">(.*?)</script>', text, re.DOTALL)
    assert HOSTILE in of(json.loads(data), "method")
    assert "<" not in data
    synthetic_run.write(tmp_path, (), baselines=False)
    assert "trial-data" not in re.sub(r"<script>.*", "", report.write(tmp_path).read_text(), flags=re.DOTALL)
