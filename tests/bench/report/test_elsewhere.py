"""What knows something from elsewhere, frozen networks, warm-started methods and students, in every output."""

import csv
import io

import pandas as pd
import pytest

from bench.report import anchors, report, results, table
from bench.report.anchors import Anchor
from bench.report.columns import columns
from bench.report.page import Page
from bench.report.rows import leader, rows
from bench.search.events import FORMAT
from bench.search.simulate import MemoryLedger
from tests.bench import synthetic_run
from tests.bench.report import runs
from tests.bench.report.pages import charts

NETWORK = "frozen-resnet18-a1-in1k-224px-1a2b3c4d"
TITLES = ("frozen resnet18.a1_in1k, 224 px", "frozen lite0.py:pretrained, 32 px")


@pytest.fixture(scope="module")
def every():
    return runs.loaded(*synthetic_run.rows(**synthetic_run.EVERY_KIND))


def test_the_ledgers_facts_of_them_are_columns_of_the_trials(tmp_path):
    ledger = MemoryLedger()
    ledger.append("run", format=FORMAT, settings={"image_size": 32, "encoder": "resnet18"}, plan={})
    trial = {"seed": 0, "number": 0, "hyperparameters": {}, "parameters": {}, "epochs": 1, "evaluate_at": [1]}
    report = {"epoch": 1, "loss": None, "knn_200": 0.5, "seconds": 1.0, "evaluation_seconds": 0.1}
    told = {
        NETWORK: {"weights": "timm:resnet18.a1_in1k", "trained_on": "ImageNet-1k", "image_size": 224},
        "simclr-warm": {"weights": "lite0.py:pretrained", "trained_on": None},
        "distill": {"teacher": "timm:resnet50.a1_in1k", "teacher_trained_on": "ImageNet-1k"},
        "simclr": {},
    }
    for method, facts in told.items():
        stage = "baseline" if method == NETWORK else "confirm"
        ledger.append("suggested", uid=method, method=method, stage=stage, published=False, of=None, **trial)
        ledger.append("assigned", uid=method, attempt=1)
        ended = {"held": 1.0, "decision": "complete", "facts": facts}
        ledger.append("reported", uid=method, attempt=1, report=report, **ended)
    results.write(ledger.fold, tmp_path)
    trials = results.load(tmp_path).trials.set_index("method")
    for method, facts in told.items():
        for name in results.ORIGIN:
            value = trials.loc[method, name]
            assert value == facts[name] if facts.get(name) else pd.isna(value)
        assert trials.loc[method, "image_size"] == facts.get("image_size", 32)


def test_a_frozen_network_stands_among_the_baselines_with_dashes_for_what_it_has_not(every):
    made = rows(every)
    frozen = [row for row in made if row.frozen]
    assert [row.title for row in frozen] == list(TITLES)
    for row in frozen:
        assert row.baseline
        assert row.published is row.gain is row.search_accuracy is row.first is row.paper is None
        assert row.images_per_second is row.peak_memory_bytes is None
        cells = {c.heading: c.text(row) for c in columns(made, every.run, every.judged) if c.heading}
        assert {heading for heading, text in cells.items() if text == "—"} >= {
            "gain of tuning",
            "images/s",
            "P(rank 1)",
        }
    assert [row.method for row in made].index(NETWORK) > max(
        place for place, row in enumerate(made) if not row.baseline
    )


def test_before_its_first_report_a_frozen_network_has_its_name_alone(every):
    trials = every.trials.assign(weights=None, trained_on=None)
    assert runs.of(rows(results.Results(trials, every.epochs, every.run)), NETWORK).title == (
        "frozen resnet18-a1-in1k-224px-1a2b3c4d"
    )


def test_every_output_says_which_began_with_what_and_on_what_it_was_trained(every, tmp_path):
    told = (
        "byol-warm and simclr-warm began with resnet18.a1_in1k; distill followed lite0.py:pretrained; resnet18.a1_in1k "
        "was trained on ImageNet-1k; lite0.py:pretrained was trained on what is not said; whether these images were "
        "among those is not checked"
    )
    markdown, shown, page = table.markdown(every), table.terminal(every), report.render(every)
    assert f"- From elsewhere: {told.replace('_', chr(92) + '_')}" in markdown
    assert told in " ".join(shown.split())
    assert page.count(told) == 1
    lines = {line["method"]: line for line in csv.DictReader(io.StringIO(table.csv(every)))}
    assert (lines[NETWORK]["weights"], lines[NETWORK]["trained_on"]) == ("timm:resnet18.a1_in1k", "ImageNet-1k")
    assert lines["simclr-warm"]["weights"] == "timm:resnet18.a1_in1k"
    assert lines["simclr"]["weights"] == lines["simclr"]["teacher"] == ""
    assert lines["distill"]["teacher"] == "lite0.py:pretrained"


def test_a_run_from_scratch_says_nothing_of_it(run):
    assert "From elsewhere" not in table.markdown(run)
    assert "Warm-started" not in table.markdown(run)


@pytest.mark.parametrize("options", [{}, {"published": {m: {"learning_rate": 0.6} for m in ("simclr", "simclr-warm")}}])
def test_the_terminals_table_fits_and_names_them(options):
    kinds = synthetic_run.EVERY_KIND | {"methods": ("simclrv2", "a_method_with_a_very_long_name-warm", "simclrv2-warm")}
    failing = {("simclrv2-warm", "confirm"): 1}
    run = runs.loaded(*synthetic_run.rows(**kinds | options, failing=failing))
    run.run["budget"]["device"] = "cpu"
    shown = table.terminal(run).splitlines()
    assert max(map(len, shown)) <= 100
    for start in ("simclrv2-warm ", "a_metho…-warm ", "frozen 1 ", "frozen 2 "):
        assert any(line.startswith(start) for line in shown), start
    assert "frozen 1 is resnet18.a1_in1k, 224 px" in shown


def test_warm_started_methods_and_students_are_ranked_with_the_others_and_the_notes_say_what_sets_them_apart(every):
    made = rows(every)
    methods = [row for row in made if not row.baseline]
    assert sum(row.first for row in methods) == pytest.approx(1)
    assert leader(made) is methods[0]
    assert "Warm-started methods and those with a teacher are ranked among the others" in table.markdown(every)


def test_encoder_and_image_size_of_the_run_are_not_those_of_a_frozen_network(every):
    trials = every.trials.copy()
    frozen = trials.method.str.startswith("frozen-")
    trials = trials.assign(
        encoder=trials.encoder.mask(frozen, "vit"), encoder_parameters=trials.encoder_parameters.mask(frozen, 10**9)
    )
    trials = trials.reindex([*trials.index[frozen], *trials.index[~frozen]])
    markdown = table.markdown(results.Results(trials, every.epochs, every.run))
    assert "- Encoder: resnet18, 11.2 M parameters" in markdown
    assert "- Data: made-up numbers; 32 px" in markdown


def test_published_numbers_are_never_beside_warm_started_methods_students_or_frozen_networks(every):
    setting = {"kind": "knn", "encoder": "resnet18", "epochs": 20}
    lines = anchors.page(every, [Anchor("simclr", 70.0, "a paper", "once", setting)]).splitlines()
    assert sum("a paper" in line for line in lines) == 1
    for method in ("simclr-warm", "distill"):
        (line,) = [line for line in lines if line.startswith(f"| {method} |")]
        assert "nothing published" in line
    assert not any("frozen" in line for line in lines)
    assert {anchor.method for anchor in anchors.load()}.isdisjoint({"distill", "simclr-warm"})


def test_a_warm_started_method_has_the_colour_of_its_method_and_another_shape(every):
    page = Page(every, rows(every))
    for method in ("simclr", "byol"):
        assert page.color(f"{method}-warm") == page.color(method)
        assert page.shape(f"{method}-warm") != page.shape(method)
    assert runs.of(page.rows, "simclr-warm").paper == runs.of(page.rows, "simclr").paper


def test_frozen_networks_are_labelled_in_the_accuracy_chart_and_the_best_is_a_line(every):
    layout = charts(report.render(every))["accuracy"]["layout"]
    assert set(TITLES) <= {label.replace("<br>", " ") for label in layout["yaxis"]["ticktext"]}
    (line,) = layout["shapes"]
    assert line["x0"] == pytest.approx(100 * runs.of(rows(every), NETWORK).accuracy.mean)
