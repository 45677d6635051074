"""The verdict: which kind of training won, in words."""

import dataclasses
import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.report import report, results, table
from bench.report.rows import rows
from bench.report.statistics import Estimate
from bench.report.text import markdown_text, with_interval
from bench.report.verdict import DISTILLED, FROZEN, SCRATCH, SUPERVISED, WARM, kind_of, verdict
from tests.bench import synthetic_run
from tests.bench.report import runs
from tests.bench.report.pages import HOSTILE, Checker

NETWORK, OTHER = "frozen-resnet18-a1-in1k-224px-1a2b3c4d", "frozen-lite0-32px-5e6f7a8b"
KINDS = {NETWORK: FROZEN, "distill": DISTILLED, "simclr-warm": WARM, "simclr": SCRATCH, "supervised": SUPERVISED}


@pytest.fixture(scope="module")
def every():
    """A run with every kind."""
    return runs.loaded(*synthetic_run.rows(**synthetic_run.EVERY_KIND))


@pytest.fixture(scope="module")
def made(every):
    return {row.method: row for row in rows(every)}


def measured(made, accuracies):
    """The rows of these methods as they would be with these test accuracies."""
    estimates = {method: Estimate(dict(enumerate(values, 1))) for method, values in accuracies.items()}
    return [dataclasses.replace(made[method], accuracy=estimate) for method, estimate in estimates.items()]


def test_every_row_but_raw_pixels_and_a_random_initialisation_is_of_a_kind(made):
    kinds = {method: kind_of(row) for method, row in made.items()}
    assert kinds.pop("pixels") is kinds.pop("random") is None
    assert {method: kinds[method] for method in KINDS} == KINDS
    assert None not in kinds.values()


def test_the_winner_is_named_with_what_it_is_and_the_others_with_their_distance(every, made):
    accuracies = {NETWORK: [0.71], "simclr-warm": [0.685, 0.69, 0.695], "simclr": [0.39, 0.4, 0.41]}
    assert verdict(measured(made, accuracies), every).text == (
        "A frozen resnet18.a1_in1k (ImageNet-1k, 224 px) won with 71.00 % test kNN: 2.00 ± 1.24 points above the "
        "warm-started simclr-warm (69.00 ± 1.24 %; from resnet18.a1_in1k) and 31.00 ± 2.48 above training from scratch "
        "with simclr (40.00 ± 2.48 %). So, at this budget, use that network as it is."
    )


def test_what_cannot_be_told_apart_is_said_so(every, made):
    accuracies = {"distill": [0.68, 0.69, 0.70], NETWORK: [0.68], "supervised": [0.39, 0.4, 0.41]}
    assert verdict(measured(made, accuracies), every).text == (
        "The student distill (69.00 ± 2.48 %; taught by lite0.py:pretrained) and a frozen resnet18.a1_in1k (68.00 %; "
        "ImageNet-1k, 224 px) cannot be told apart: the first leads by 1.00 ± 2.48 points. The first is 29.00 ± 2.27 "
        "points above supervised training from scratch (40.00 ± 2.48 %). The frozen network needs no training."
    )


def test_of_one_seed_nothing_is_concluded(every, made):
    told = verdict(measured(made, {"simclr": [0.9], "supervised": [0.1]}), every).text
    assert "cannot be told apart: the first leads by 80.00 points (one seed has no interval). More seeds" in told


def test_of_a_frozen_network_that_does_not_say_so_what_it_was_trained_on_is_not_said(every, made):
    told = verdict(measured(made, {OTHER: [0.9], "supervised": [0.1, 0.11]}), every).text
    assert told.startswith("A frozen lite0.py:pretrained (on what it was trained is not said, 32 px) won with 90.00 %")


@pytest.mark.parametrize(("images", "doubted"), [(400, True), (100_000, False), (None, False)])
def test_a_lead_that_few_test_images_may_make_is_doubted(images, doubted, every, made):
    facts = every.run["facts"] | {"images": {"train": 5, "test": images}}
    run = results.Results(every.trials, every.epochs, every.run | {"facts": facts})
    found = verdict(measured(made, {"simclr": [0.500, 0.501], "supervised": [0.46]}), run)
    assert "cannot be told apart" in found.text
    found = verdict(measured(made, {"simclr": [0.500, 0.501], NETWORK: [0.46]}), run)
    assert ("So small a lead may be that of these test images alone." in found.text) == doubted
    assert ("So, at this budget, train on the images alone." in found.text) != doubted
    assert ("with these 400 that of the first has a standard error of 2.50 points" in found.how) == (images == 400)


def test_for_a_kind_stands_what_was_best_in_the_search_and_of_frozen_networks_on_the_test_images(every, made):
    accuracies = {"simclr": [0.5, 0.51], "byol": [0.6, 0.61], NETWORK: [0.2], OTHER: [0.3]}
    changed = measured(made, accuracies)
    changed[0] = dataclasses.replace(changed[0], search_accuracy=0.99)
    found = verdict(changed, every)
    assert "simclr" in found.text
    assert "byol" not in found.text
    assert "a frozen lite0" in found.text
    assert "best in the search (leave-one-out), not on the test images, for frozen networks" in found.how
    changed[0] = dataclasses.replace(changed[0], search_accuracy=None)
    found = verdict(changed, every)
    assert "byol" in found.text
    assert "the more methods a kind has" in found.how


def test_few_labels_choose_by_the_test_images_since_their_searches_compare_no_methods():
    run = runs.loaded(*synthetic_run.rows(**synthetic_run.EVERY_KIND, labelled=50))
    assert "the more methods a kind has" in verdict(rows(run), run).how


def test_a_row_with_a_failed_seed_or_an_encoder_of_its_own_stands_for_nothing(every, made):
    accuracies = {"simclr": [0.8, 0.81], "byol": [0.6, 0.61], "supervised": [0.1, 0.11]}
    whole = measured(made, accuracies)
    for change in ({"failed_seeds": frozenset({3})}, {"own_encoder": "another"}):
        changed = [dataclasses.replace(whole[0], search_accuracy=0.99, **change), *whole[1:]]
        told = verdict(changed, every).text
        assert "scratch with byol won" in told
        assert "with simclr" not in told.partition("Beside these")[0]


def test_a_better_one_with_an_encoder_of_its_own_is_named_beside_the_winner(every, made):
    rows = measured(made, {"simclr": [0.8, 0.81], "byol": [0.6, 0.61], "supervised": [0.1, 0.11]})
    rows[0] = dataclasses.replace(rows[0], own_encoder="another", title="simclr †")
    told = verdict(rows, every).text
    assert told.endswith(" train on the images alone. Beside these, simclr † has 80.50 ± 6.35 % with another encoder.")
    rows[0] = dataclasses.replace(rows[0], accuracy=Estimate({1: 0.3}))
    assert "simclr" not in verdict(rows, every).text


def test_there_is_none_of_one_kind_alone_nor_before_all_are_tested_nor_without_labels(every, made):
    assert verdict([], every) is None
    assert verdict([made["simclr"], made["byol"], made["pixels"]], every) is None
    awaited = dataclasses.replace(made["simclr-warm"], accuracy=None, awaited=True)
    assert verdict([made["simclr"], made["supervised"]], every)
    assert verdict([made["simclr"], made["supervised"], awaited], every) is None
    unlabelled = runs.loaded(*synthetic_run.rows(**synthetic_run.EVERY_KIND, labelled=0))
    assert verdict(rows(unlabelled), unlabelled) is None


def expected(one, other, frozen):
    """Half of the interval, as SciPy has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of equal values
        found = stats.ttest_1samp(one, other[0]) if frozen else stats.ttest_ind(one, other, equal_var=False)
        interval = found.confidence_interval(0.95)
    return (interval.high - interval.low) / 2


SEEDS = st.lists(st.integers(0, 1000).map(lambda value: value / 1000), min_size=1, max_size=4)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(KINDS, SEEDS)))
def test_it_names_no_winner_whose_interval_has_0_in_it_and_no_figure_that_is_not_of_the_rows(every, made, accuracies):
    given = {method: accuracies[method] for method in KINDS if method in accuracies}  # of equals the first leads
    changed = measured(made, {method: values[:1] if method == NETWORK else values for method, values in given.items()})
    found = verdict(changed, every)
    if len(accuracies) < 2:
        assert found is None
        return
    best = max(changed, key=lambda row: row.accuracy.mean)
    sure, figures = True, {with_interval(row.accuracy) for row in changed}
    for row in changed:
        if row is best:
            continue
        one, other = ([*each.accuracy.values.values()] for each in (best, row))
        one, other = (other, one) if best.method == NETWORK else (one, other)
        difference = best.accuracy.mean - row.accuracy.mean
        if len(one) < 2 or (len(other) < 2 and NETWORK not in (best.method, row.method)):
            sure = False
            figures.add(f"{100 * difference:.2f}")
            continue
        half = expected(one, other, NETWORK in (best.method, row.method))
        half = 0.0 if half != half or len({*one}) == len({*other}) == 1 else half
        figures.add(f"{100 * difference:.2f} ± {100 * half:.2f}")
        sure &= difference > half
    assert (" won with " in found.text) == sure
    assert ("cannot be told apart" in found.text) != sure
    assert {*re.findall(r"\d+\.\d\d(?: ± \d+\.\d\d)?", found.text)} <= figures


# ---- in every output, once ----


def test_it_stands_at_the_head_of_every_output_and_nowhere_else(every, tmp_path):
    said = verdict(rows(every), every)
    markdown = table.markdown(every)
    assert markdown.splitlines()[2] == markdown_text(said.text)
    assert markdown.count(" won with ") == 1
    assert f"- Verdict: {said.how}" in markdown
    shown = table.terminal(every)
    assert " ".join(shown.split("\n\n")[0].split()) == said.text
    page = report.render(every)
    assert page.count(said.text) == 1
    assert page.index(said.text) < page.index('<div class="cards">')


def test_what_a_ledger_told_of_networks_becomes_neither_markup_nor_a_line(tmp_path):
    origins = {name: dict.fromkeys(("weights", "trained_on", "teacher"), HOSTILE) for name in ("a-warm", NETWORK)}
    origins["a-warm"]["trained_on"] = "two\nlines\x1b[2J"
    synthetic_run.write(tmp_path, ("a-warm",), origins=origins)
    page = report.write(tmp_path).read_text()
    assert Checker(page).scripts == 4
    found = results.load(tmp_path)
    assert "<script" not in table.markdown(found)
    assert "\x1b" not in table.markdown(found) + table.terminal(found)
    assert max(map(len, table.terminal(found).splitlines())) <= 100


def test_without_a_frozen_network_the_terminal_says_how_to_have_one(every, run):
    hint = "--reference default would set a frozen pretrained network beside these"
    assert hint in table.terminal(run)
    assert hint not in table.terminal(every)
