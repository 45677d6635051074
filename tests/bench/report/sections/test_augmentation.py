"""What augmentations were worth, on the page."""

import json
import re

import pandas as pd
import pytest

from bench.report import report, results
from bench.report.page import Page
from bench.report.rows import rows
from bench.report.sections import augmentation
from bench.report.sections.method.tried import tried
from tests.bench import synthetic_run
from tests.bench.report.pages import charts, make
from tests.bench.report.runs import loaded


def page_of(**options) -> Page:
    found = loaded(*synthetic_run.rows(**options))
    return Page(found, rows(found))


def test_a_run_without_a_preset_has_no_such_section(usual):
    _, page = usual
    assert "Augmentation" not in page
    assert augmentation.section(page_of(trials=3)) is None


def test_a_run_with_a_preset_shows_every_setting_that_was_searched_and_no_other(tmp_path):
    _, page = make(tmp_path, augment=True, trials=20)
    assert page.count('<section id="augmentation">') == 1
    shown = page[page.index('<section id="augmentation">') : page.index('<section id="methods">')]
    assert re.findall(r'class="slice"><b>(.*?)</b>', shown) == [
        "least crop",
        "jitter strength",
        "vertical flip probability",
    ]
    assert {"augmentation-0", "augmentation-1", "augmentation-2"} <= set(charts(page))
    assert charts(page)["augmentation-1"]["layout"]["xaxis"]["ticktext"] == ["off", "0.25", "0.5", "1"]


def test_figures_are_centred_within_the_method_over_the_full_trials_with_the_preset():
    page = page_of(augment=True, trials=30)
    methods = [tried(page, place, row) for place, row in enumerate(page.methods)]
    centred = augmentation._centred(methods, "texture")
    search = page.trials[(page.trials.stage == "search") & (page.trials.state == "complete")]
    own = [json.loads(each)["augment"] for each in search.hyperparameters]
    assert len(centred) == own.count("texture")
    assert centred.groupby("method").figure.mean().abs().max() < 1e-12
    # No trial counts by how good its method is.
    plain = page.trials.set_index("uid").train_knn_200
    assert centred.figure.std() < plain.std()


@pytest.mark.parametrize("name", ["jitter_strength", "vertical_flip_probability", "least_crop"])
def test_every_trial_counts_in_one_value_and_off_stands_apart(name):
    page = page_of(augment=True, trials=30)
    methods = [tried(page, place, row) for place, row in enumerate(page.methods)]
    centred = augmentation._centred(methods, "texture")
    off = 1.0 if name == "least_crop" else 0.0
    values = augmentation._values(synthetic_run.PRESET[name], off, centred, name)
    assert sum(len(value.trials) for value in values) == len(centred)
    assert values[0].name == "off"
    assert set(values[0].trials[name]) == {off}
    assert not any((value.trials[name] == off).any() for value in values[1:])
    for value in values:
        assert value.worth.mean == pytest.approx(value.trials.figure.mean())


def test_what_all_trials_have_is_beside_nothing_else_and_is_given_no_worth():
    trials = pd.DataFrame({"method": "byol", "figure": [-0.1, 0.1], "jitter_strength": 0.5})
    values = augmentation._values(synthetic_run.PRESET["jitter_strength"], 0.0, trials, "jitter_strength")
    assert [(value.name, len(value.trials), value.worth) for value in values] == [
        ("off", 0, None),
        ("0.25", 0, None),
        ("0.5", 2, None),
        ("1", 0, None),
    ]


def test_what_helps_and_what_hurts_is_told_as_it_is():
    page = page_of(augment=True, trials=200)
    methods = [tried(page, place, row) for place, row in enumerate(page.methods)]
    centred = augmentation._centred(methods, "texture")

    def means(name, off):
        found = augmentation._values(synthetic_run.PRESET[name], off, centred, name)
        return {value.name: value.worth.mean for value in found}

    flips, jitter = means("vertical_flip_probability", 0.0), means("jitter_strength", 0.0)
    assert flips["0.5"] - flips["off"] == pytest.approx(0.02, abs=0.012)
    assert jitter["1"] - jitter["off"] == pytest.approx(-0.04, abs=0.016)


def test_each_methods_paper_stands_beside_the_preset_paired_by_seed_with_what_else_differs(tmp_path):
    trials, epochs, run = synthetic_run.rows(
        ("byol", "moco"), augment=True, published={"byol": {"learning_rate": 0.3}}, trials=20
    )
    results.save(trials, epochs, run, tmp_path)
    page = report.write(tmp_path).read_text()
    shown = page[page.index('<section id="augmentation">') : page.index('<section id="methods">')]
    table = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in re.findall(r"<tr>.*?</tr>", shown)]
    lines = {method: next(line for line in table if line and f"{method}</a>" in line[0]) for method in ("byol", "moco")}
    assert lines["byol"][4] == "learning rate"
    assert lines["moco"][4] == "—"
    for method, cells in lines.items():
        figures = {
            stage: {t["seed"]: t["test_knn_200"] for t in trials if t["method"] == method and t["stage"] == stage}
            for stage in ("published", "ours")
        }
        gains = [100 * (figures["ours"][seed] - figures["published"][seed]) for seed in figures["ours"]]
        assert cells[3].startswith(f"{sum(gains) / len(gains):+.2f} ± ")
        winner = next(t for t in trials if t["uid"] == run["winners"][method])
        assert cells[5] == json.loads(winner["hyperparameters"])["augment"]
