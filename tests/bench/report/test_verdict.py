"""The verdict: a person's questions, and answers that are made of the figures."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report import report, results, table
from bench.report.cards import cards
from bench.report.page import Page
from bench.report.rows import rows
from bench.report.text import markdown_text
from bench.report.verdict import at_ends, comparison, uncertainty, verdict
from tests.bench import synthetic_run
from tests.bench.report import runs
from tests.bench.report.pages import HOSTILE, KINDS, Checker

NETWORK = "frozen-resnet18-a1-in1k-224px-1a2b3c4d"


@pytest.fixture(scope="module")
def every():
    """A run with every kind."""
    return runs.loaded(*synthetic_run.rows(**synthetic_run.EVERY_KIND))


def said(run):
    """The answers by their questions."""
    found = verdict(rows(run), run)
    return {point.question: point.text for point in found.points} if found else {}


def with_accuracies(run, accuracies):
    """The run as it would be had its winners these test accuracies, by method, seed by seed."""
    trials = run.trials.copy()
    for method, values in accuracies.items():
        made = next(row for row in rows(run) if row.method == method)
        stage = made.won or ("baseline" if made.baseline else "confirm")
        at = trials.index[(trials.method == method) & (trials.stage == stage)][: len(values)]
        trials.loc[at, "test_knn_200"] = values
    return results.Results(trials, run.epochs, run.run)


# ---- which method ----


def test_the_best_is_named_where_it_is_better_than_all_beyond_doubt(run):
    far = {method: [0.5 + 0.001 * seed for seed in range(3)] for method in synthetic_run.METHODS}
    told = said(with_accuracies(run, far | {"moco": [0.8, 0.801, 0.802]}))["Which method?"]
    assert told.startswith("moco (80.10 ± 0.25 % test kNN) is the best of 6 methods.")


def test_those_that_cannot_be_told_from_the_best_are_named_and_no_others(run):
    far = {method: [0.5 + 0.001 * seed for seed in range(3)] for method in synthetic_run.METHODS}
    near = {"moco": [0.8, 0.801, 0.802], "swav": [0.799, 0.8, 0.801]}
    told = said(with_accuracies(run, far | near))["Which method?"]
    assert told.startswith(
        "The best of 6 methods is one of 2: moco (80.10 ± 0.25 % test kNN) and swav; which, these seeds cannot tell."
    )


def test_where_nothing_can_be_told_apart_no_method_is_recommended(run):
    values = [0.1, 0.11, 0.09]
    alike = with_accuracies(run, dict.fromkeys((*synthetic_run.METHODS, "random"), values))
    told = said(alike)
    assert told["Which method?"].startswith("No method can be told from the best of the 6: ")
    assert "none of 6 methods is above random initialisation" in told["Worth it?"]
    assert "best of 6 methods" not in told["Which method?"]
    assert told["What next?"].startswith("Choose none of them yet, as none is above an untrained network beyond doubt")


def test_a_run_of_one_method_says_so():
    run = runs.loaded(*synthetic_run.rows(("byol",)))
    told = said(run)
    assert re.match(r"byol \(\d\d\.\d\d ± \d\.\d\d % test kNN\) is the only method\.", told["Which method?"])
    assert "the method is above raw pixels" in told["Worth it?"]
    assert re.fullmatch(
        r"\+\d+\.\d\d ± \d+\.\d\d points over the published recipe of byol, (not )?beyond doubt\.",
        told["What did tuning give?"],
    )
    spent = results.Results(run.trials, run.epochs, run.run | {"closed": "budget"})
    assert said(spent)["What next?"] == told["What next?"]


def test_one_seed_is_compared_with_nothing():
    run = runs.loaded(*synthetic_run.rows(("byol", "moco"), seeds=1))
    told = said(run)["Which method?"]
    assert "cannot be compared: one seed has no interval" in told
    assert "best" not in told


def test_before_all_are_confirmed_it_says_how_many_are():
    run = runs.loaded(*synthetic_run.rows(finished=False))
    assert said(run)["Which method?"] == "Not to be told yet: 0 of 6 methods are confirmed."


def test_without_labels_methods_are_not_ranked():
    told = said(runs.loaded(*synthetic_run.rows(labelled=0)))
    assert "not ranked, as no image has a label" in told["Which method?"]
    assert not {"Worth it?", "What did tuning give?", "And with more compute?", "What next?"} & told.keys()


# ---- tuning, compute, ranges ----


def test_what_tuning_gave_is_the_middle_gain_and_names_those_beyond_doubt(run):
    told = said(run)["What did tuning give?"]
    gains = sorted(row.gain.mean for row in rows(run) if row.gain)
    middle = (gains[(len(gains) - 1) // 2] + gains[len(gains) // 2]) / 2
    assert told.startswith(
        f"{100 * middle:+.2f} points over the published recipe in the median of {len(gains)} methods"
    )


def test_the_order_of_methods_before_and_at_the_end_is_correlated(run):
    told = said(run)["And with more compute?"]
    assert re.search(r"correlates -?[01]\.\d\d with that at half and -?[01]\.\d\d with that at a quarter", told)
    assert "After epoch 1 of 20" in told


def test_a_winner_at_an_end_of_its_range_is_told_and_a_recipe_is_not(run):
    made = rows(run)
    row = next(row for row in made if row.won is None and not row.baseline)
    uid = run.run["winners"][row.method]
    trials = run.trials.copy()
    at = trials.uid == uid
    trials.loc[at, "hyperparameters"] = trials.loc[at, "hyperparameters"].str.replace(
        r'"temperature": [\d.]+', '"temperature": 1.0', regex=True
    )
    changed = results.Results(trials, run.epochs, run.run)
    assert "temperature 1 (0.05 to 1)" in at_ends(row, changed)
    recipe = next((row for row in made if row.won == "published"), None)
    assert recipe is None or not at_ends(recipe, run)


def test_another_search_moves_what_was_searched_and_nothing_else(run):
    made = rows(run)
    found = comparison(made)
    for row in made:
        if not row.baseline:
            by = uncertainty(row, run, found)
            assert by.seeds > 0
            assert by.search is None or 0 <= by.search < 0.5
    one = runs.loaded(*synthetic_run.rows(("byol",), trials=1))
    row = next(row for row in rows(one) if row.method == "byol")
    assert uncertainty(row, one, comparison(rows(one))).search is None


# ---- next ----


def test_of_near_ones_it_says_how_many_seeds_would_tell_and_what_they_cost(run):
    far = {method: [0.5 + 0.001 * seed for seed in range(3)] for method in synthetic_run.METHODS}
    near = {"moco": [0.8, 0.801, 0.802], "swav": [0.799, 0.8, 0.801]}
    told = said(with_accuracies(run, far | near))["What next?"]
    assert re.search(
        r"moco and swav are 0\.10 points apart: about \d+ seeds would tell.*"
        r"--methods moco,swav --seeds \d+ --budget \d+gpu",
        told,
    ) or told.startswith("Search longer")


def test_it_recommends_nothing_of_a_run_that_goes_on():
    assert "What next?" not in said(runs.loaded(*synthetic_run.rows(finished=False)))


# ---- of any run ----


@pytest.mark.parametrize("kind", KINDS)
def test_of_every_kind_of_run_each_sentence_is_whole_and_has_no_empty_figure(kind):
    for text in said(runs.loaded(*synthetic_run.rows(**KINDS[kind]))).values():
        assert text.endswith((".", "."))
        assert not re.search(r"\bnan\b|\bNone\b|  |\.\.|, \.", text), text


@given(st.data())
@settings(max_examples=8)
def test_any_subset_of_results_has_a_verdict_or_none_and_no_traceback(run, every, data):
    whole = data.draw(st.sampled_from([run, every]))
    kept = data.draw(st.sets(st.sampled_from(sorted(whole.trials.uid)), max_size=len(whole.trials)))
    trials = whole.trials[whole.trials.uid.isin(kept)]
    part = results.Results(trials, whole.epochs[whole.epochs.uid.isin(kept)], whole.run)
    for text in said(part).values():
        assert "nan" not in text.split()
    assert report.render(part)


# ---- in every output, once ----


def test_it_stands_at_the_head_of_every_output_and_nowhere_else(every):
    found = verdict(rows(every), every)
    markdown = table.markdown(every)
    lines = markdown.splitlines()[2:]
    for line, point in zip(lines, found.points, strict=False):
        assert line == f"- **{point.question}** {markdown_text(point.text)}"
    assert markdown.count(" won with ") == 1
    assert f"- Verdict: {markdown_text(found.how)}" in markdown
    head = " ".join(table.terminal(every).split("\n\n")[0].split())
    assert head == " ".join(f"{point.question} {point.text}" for point in found.points)
    page = report.render(every)
    for point in found.points:
        assert page.count(f"<dt>{point.question}</dt>") == 1
    assert page.index(found.points[-1].question) < page.index('<div class="cards">')


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


def test_the_card_of_the_page_calls_a_method_the_best_only_where_the_verdict_does(run):
    far = {method: [0.5 + 0.001 * seed for seed in range(3)] for method in synthetic_run.METHODS}
    best = {"moco": [0.8, 0.801, 0.802]}
    near = {"swav": [0.799, 0.8, 0.801]}
    for more, label, note in (({}, "Best method", "seeds"), (near, "Leading method", "1 other may be the best")):
        made = with_accuracies(run, far | best | more)
        card = str(cards(Page(made, rows(made)))).split("Budget")[0]
        assert label in card
        assert note in card
    assert "Best method" not in card
