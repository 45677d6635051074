"""The notes below the table."""

import json
import re

from bench.report import results, table
from bench.report.notes import MEMORY
from tests.bench import synthetic_run
from tests.bench.report import runs


def test_the_footer_names_budget_data_software_and_search_spaces(run):
    text = table.markdown(run)
    assert re.fullmatch(r"\*\*made-up numbers; resnet18; \d+ epochs\*\*", text.splitlines()[0])
    for part in ("GPU-hours", "H100", "4 slots", "made-up numbers", "torch 2.14.1", "commit 0123abc", "resnet18"):
        assert part in text, part
    assert f"byol `{synthetic_run.search_space('byol')['hash']}`" in text


def test_the_footer_tells_what_of_the_published_recipes_was_fitted():
    fitted = {"swav": {"prototypes": 400}, "byol": {"prototypes": 400, "batch_size": 64}}
    text = table.markdown(runs.loaded(*synthetic_run.rows(("byol", "simclr", "swav"), fitted=fitted)))
    (line,) = [line for line in text.splitlines() if line.startswith("- Published recipes: ")]
    assert line.endswith(
        "fitted to this encoder and data set: byol batch\\_size 64; byol and swav prototypes 512 → 400"
    )
    assert "- Published recipes: " not in table.markdown(runs.loaded(*synthetic_run.rows(("byol", "simclr", "swav"))))


def test_the_images_in_a_step_are_told_of_runs_that_told_no_more_of_what_was_trained():
    trials, epochs, facts = synthetic_run.rows(("byol",))
    for trial in trials:
        asked = json.loads(trial["hyperparameters"])
        trial |= {"effective": None, "hyperparameters": json.dumps(asked | {"batch_size": 1024})}
    assert "byol batch\\_size 1024 → 512; what else was fitted is not on record" in table.markdown(
        runs.loaded(trials, epochs, facts)
    )


def test_devices_precisions_and_versions_of_all_sessions_are_told():
    trials, epochs, facts = synthetic_run.rows(("byol",))
    sessions = [
        {"slots": 4, "rate": 1.0, "device": "H100 in bfloat16", "versions": {"torch": "2.14.1"}, "commit": "aa"},
        {"slots": 8, "rate": 0.5, "device": "T4 in float32", "versions": {"torch": "2.15.0"}, "commit": "bb"},
        {"slots": 8, "rate": 0.5, "device": "T4 in float32", "versions": {"torch": "2.14.1"}, "commit": None},
    ]
    for trial in trials:
        trial["device"] = "H100 in bfloat16"
    text = table.markdown(runs.loaded(trials, epochs, facts | {"sessions": sessions}))
    assert "; H100 in bfloat16 and T4 in float32; 4 and 8 slots of 1 and 0.5 GPU; " in text
    assert "- Software: torch 2.14.1 and 2.15.0, commits aa and bb" in text


def test_remarks_about_the_data_are_in_the_footer_and_escaped():
    trials, epochs, facts = synthetic_run.rows(("byol",))
    facts["facts"]["remarks"] = ["The test folder has no labels.", "12 images are in <both> splits."]
    text = table.markdown(runs.loaded(trials, epochs, facts))
    assert "- About the data: The test folder has no labels. 12 images are in &lt;both&gt; splits." in text


def test_memory_is_said_to_be_that_of_the_training(run):
    text = table.markdown(run)
    assert "| training memory, GB |" in text
    assert MEMORY in text


def test_the_notes_tell_epochs_and_batch_sizes_as_trained(run):
    trials = run.trials.assign(batch_size=[64, *[256] * (len(run.trials) - 1)])
    text = table.markdown(results.Results(trials, run.epochs, run.run))
    assert re.search(r"Encoder: .*; 20 epochs, 64 to 256 images a step", text)


def test_how_protocols_measure_is_told_of_those_that_have():
    labels = ("- Linear probe: ", "- Few labels: ", "- From scratch with few labels: ", "- Fine-tuning: ")
    for protocols in ((), ("linear",), synthetic_run.PROTOCOLS):
        text = table.markdown(runs.loaded(*synthetic_run.rows(("byol",), protocols=protocols)))
        assert sum(label in text for label in labels) == len(protocols)
