"""How many labels pre-training is worth."""

import dataclasses
import io

import numpy as np
import pandas as pd
import pytest

from algorithms.evaluation.metrics import FEW_LINEAR, FEW_SCRATCH, NUMBERS
from bench.report import results, table
from bench.report.labels import WORTH, efficiency
from bench.report.results import parts_column
from bench.report.rows import rows
from bench.report.statistics import Estimate, OverDraws
from bench.report.verdict import verdict
from tests.bench import synthetic_run
from tests.bench.report import runs
from tests.bench.report.pages import TROUBLED, TWO, UNEVEN

METHODS = ("byol", "simclr")
DRAWS = np.random.default_rng(0).normal(0, 0.03, 10)
"""By how much each draw is better than others, for every encoder."""


@pytest.fixture(scope="module")
def judged():
    return runs.loaded(*synthetic_run.rows(METHODS, protocols=synthetic_run.PROTOCOLS))


@pytest.fixture(scope="module")
def made(judged):
    return rows(judged)


def few(made, judged, *, byol, scratch, random=(), seeds=3):
    """What is told of these accuracies with 1, 5, 20, ... a class."""
    generator = np.random.default_rng(1)

    def told(row, family, means, seeds, by_draws):
        found = {}
        for metric, mean in zip(family.values(), means, strict=False):
            noisy = mean + DRAWS + generator.normal(0, 0.001, (seeds, 10))
            draws = {seed: dict(enumerate(values)) for seed, values in enumerate(noisy.tolist())}
            found[metric.name] = OverDraws.of(draws, by_draws)
        return dataclasses.replace(row, evaluated=found)

    wanted = [
        told(runs.of(made, "byol"), FEW_LINEAR, byol, seeds, False),
        told(runs.of(made, "random"), FEW_LINEAR, random, 3, False),
        told(runs.of(made, "supervised"), FEW_SCRATCH, scratch, 1, True),
    ]
    return efficiency(wanted, judged)


def test_the_number_of_labels_is_that_of_the_classes(made, judged):
    sizes = [7, 40, 0, 300]
    run = judged.run | {"facts": {"images": {"per_class": sizes, "train": 9999}}}
    found = efficiency(made, results.Results(judged.trials, judged.epochs, run)).labels
    assert found == {"1": 3, "1_percent": 5, "5": 15, "10_percent": 35, "20": 60, "100": 300, "all": 347}
    assert list(found.values()) == sorted(found.values())


def test_without_the_sizes_of_classes_they_are_taken_as_alike(made, judged):
    run = judged.run | {"facts": {"images": {"train": 50_000, "labelled": 2000}}}
    found = efficiency(made, results.Results(judged.trials, judged.epochs, run)).labels
    assert found == {"1": 10, "1_percent": 20, "5": 50, "20": 200, "10_percent": 200, "100": 1000, "all": 2000}


def test_ahead_level_and_behind_are_by_the_same_draws(made, judged):
    told = few(made, judged, byol=[0.30, 0.50, 0.60, 0.65, 0.605], scratch=[0.20, 0.30, 0.5999, 0.68, 0.60])
    (curve,) = told.linear
    half = curve.points["5"].half_width
    assert half > 0.01, "draws differ by more than what is told apart"
    assert [told.standing(curve, number) for number in told.labels] == [
        *("ahead", "ahead", "level", "ahead", "behind", None, None)
    ]


def test_the_crossing_is_told_in_words(made, judged):
    told = few(made, judged, byol=[0.3, 0.5, 0.6, 0.65], scratch=[0.2, 0.3, 0.6, 0.68])
    (curve,) = told.linear
    assert told.crossing(curve) == (
        "ahead of supervised training from scratch up to 5 a class (50 labels), level with 20 a class (200 labels), "
        "behind with 100 a class (1,000 labels)"
    )
    told = few(made, judged, byol=[0.3, 0.5, 0.6], scratch=[0.2, 0.3, 0.4])
    assert told.crossing(told.linear[0]) == (
        "ahead of supervised training from scratch with all of 1 a class (10 labels) to 20 a class (200 labels)"
    )


@pytest.mark.parametrize(
    ("accuracy", "worth"),
    [(0.30, "fewer than 10"), (0.40, "about 10"), (0.45, "about 22"), (0.5, "about 50"), (0.71, "more than 1,000")],
)
def test_what_labels_are_worth_is_interpolated_over_their_logarithm(accuracy, worth, made, judged):
    scratch = {"1": 0.4, "5": 0.5, "20": 0.6, "100": 0.7}
    points = {FEW_SCRATCH[number].name: Estimate({1: mean}) for number, mean in scratch.items()}
    one = dataclasses.replace(runs.of(made, "supervised"), evaluated=points)
    other = dataclasses.replace(runs.of(made, "byol"), evaluated={FEW_LINEAR["5"].name: Estimate({1: accuracy})})
    told = efficiency([other, one], judged)
    assert told.worth(told.linear[0]) == worth


def test_of_one_seed_nothing_is_told(made, judged):
    told = few(made, judged, byol=[0.9, 0.9], scratch=[0.1, 0.1], seeds=1)
    assert told.crossing(told.linear[0]) == told.told(told.linear[0]) == told.pays(told.linear[0].row) == ""


def test_pre_training_pays_where_it_is_ahead_of_scratch_and_of_a_random_initialisation(made, judged):
    known = {"byol": [0.3, 0.5, 0.6, 0.65], "scratch": [0.2, 0.3, 0.6, 0.68]}
    told = few(made, judged, **known, random=[0.1, 0.4, 0.5, 0.5])
    assert told.pays(told.linear[0].row) == (
        "Up to 50 labels pre-training pays: a linear probe on byol is ahead of supervised training from scratch with "
        "just those, level with 20 a class (200 labels), behind with 100 a class (1,000 labels)."
    )
    told = few(made, judged, **known, random=[0.1, 0.5])
    assert told.pays(told.linear[0].row).startswith("Up to 10 labels pre-training pays: ")
    assert told.pays(told.linear[0].row).endswith(
        "; one on a random initialisation is as good with 5 a class (50 labels)."
    )
    told = few(made, judged, byol=[0.3, 0.4], scratch=[0.3, 0.6])
    assert told.pays(told.linear[0].row).startswith("With no number of labels measured pre-training pays: ")
    told = few(made, judged, byol=[0.3, 0.4], scratch=[0.2, 0.3])
    assert told.pays(told.linear[0].row).startswith("Up to 50 labels, the most measured, pre-training pays: ")


def test_with_all_labels_training_from_scratch_is_the_linear_probe_on_the_supervised_baseline(made, judged):
    told = efficiency(made, judged)
    assert told.scratch.points["all"] is runs.of(made, "supervised").evaluated["linear"]
    assert {told.standing(curve, "all") for curve in told.linear} == {"behind"}


def test_the_verdict_says_up_to_how_many_labels_pre_training_pays(made, judged):
    assert "Up to 1,000 labels pre-training pays: a linear probe on simclr is ahead" in verdict(made, judged).text


def test_what_was_left_out_is_a_dash_and_said():
    run = runs.loaded(*synthetic_run.rows(METHODS, **UNEVEN))
    text = table.markdown(run)
    assert "Left out: 20 a class, 100 a class, where a class has fewer images (the least 15)." in text
    heads, line = _few_lines(text)[0], _few_lines(text)[2]
    at = [place for place, cell in enumerate(heads.split("|")) if cell.startswith((" 20 a", " 100 a"))]
    assert {line.split("|")[place].strip() for place in at} == {"—"}


def _few_lines(text):
    return runs.lines(text[text.index(WORTH) :])


def test_the_second_table_has_a_line_for_each_that_was_judged_and_bold_is_what_is_ahead(made, judged):
    lines = _few_lines(table.markdown(judged))
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        *(row.title for row in made if FEW_LINEAR["5"].name in row.evaluated),
        "supervised from scratch",
    ]
    told = efficiency(made, judged)
    for curve, line in zip(told.linear, lines[2:], strict=False):
        bold = ["**" in cell for cell in line.split("|")[2 : 2 + len(NUMBERS)]]
        assert bold == [told.standing(curve, number) == "ahead" for number in told.labels]


def test_a_run_without_evaluations_has_nothing_of_it(run):
    assert efficiency(rows(run), run) is None
    for text in (table.markdown(run), table.terminal(run), table.csv(run)):
        assert "linear" not in text
        assert WORTH not in text


@pytest.mark.parametrize(
    "kind",
    [
        UNEVEN,
        synthetic_run.EVERY_KIND | UNEVEN,
        TROUBLED | TWO | UNEVEN,
        {"methods": ("byol", "a_method_with_a_very_long_name_indeed", "amdim")} | TWO | UNEVEN,
    ],
)
def test_every_line_of_the_terminal_fits_100_columns(kind):
    lines = table.terminal(runs.loaded(*synthetic_run.rows(**kind))).splitlines()
    assert max(map(len, lines)) <= 100
    assert any("linear %" in line for line in lines)


def test_the_terminal_says_where_it_crosses(judged):
    text = " ".join(table.terminal(judged).split())
    assert (
        "A linear probe on simclr is ahead of supervised training from scratch up to 100 a class (1,000 labels)" in text
    )
    assert "; with 50 labels it is as good as that with about" in text


def test_the_table_shows_balanced_accuracies_where_classes_are_uneven(judged):
    assert "balanced" not in table.markdown(judged)
    uneven = runs.loaded(*synthetic_run.rows(METHODS, **UNEVEN))
    row = runs.of(rows(uneven), "byol")
    line = next(line for line in runs.lines(table.markdown(uneven)) if line.startswith("| [byol]"))
    for metrics, name in ((row.tested, "knn_200"), (row.evaluated, "linear"), (row.evaluated, "finetune_all")):
        assert f"(balanced {100 * metrics[f'{name}_balanced'].mean:.2f})" in line


def test_a_spreadsheet_has_everything_that_was_measured(made, judged):
    told = pd.read_csv(io.StringIO(table.csv(judged))).set_index("method")
    for row in made:
        for name, estimate in row.evaluated.items():
            assert told.loc[row.method, f"{name}_mean"] == pytest.approx(estimate.mean)
            if estimate.half_width is not None:
                assert told.loc[row.method, f"{name}_half_width"] == pytest.approx(estimate.half_width)


def test_draws_are_told_by_seed(made, judged):
    estimate = runs.of(made, "byol").evaluated["few_linear_5"]
    winner = runs.confirming(judged, "byol", "confirm")
    judging = judged.trials[(judged.trials.protocol == "few") & judged.trials.of.isin(winner.uid)]
    assert len(judging) == 3
    for seed, draws in zip(judging.seed, judging[parts_column(FEW_LINEAR["5"])], strict=True):
        assert [estimate.draws[draw][seed] for draw in range(10)] == pytest.approx(list(draws))
    assert runs.of(made, "supervised").evaluated["few_scratch_5"].half_width is not None
