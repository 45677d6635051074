"""Runs beside each other."""

import csv
import io
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UserError
from bench.report import across_runs, across_runs_output, results
from bench.report.comparison import adjusted_by_holm
from tests.bench import simulated_run, synthetic_run
from tests.bench.commands.answering import answer_of, check_refusal

METHODS = ("simclr", "byol", "swav", "moco")


def shifted(folder, by, methods=METHODS, name="run", fingerprint="0123456789abcdef", **options):
    """A made-up run whose test accuracies are higher by method, with a little luck of their own."""
    trials, epochs, run = synthetic_run.rows(methods, trials=3, **{"baselines": False} | options)
    chance = random.Random(name)
    for trial in trials:
        if trial["test_knn_200"] is not None:
            trial["test_knn_200"] += by.get(trial["method"], 0.0) + chance.gauss(0, 0.001)
    run["name"] = name
    run["settings"]["dataset_fingerprint"] = fingerprint
    folder.mkdir(exist_ok=True)
    results.save(trials, epochs, run, folder)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [
        shifted(root / "one", {}, name="one"),
        shifted(root / "two", {"byol": 0.05}, name="two", encoder="resnet8"),
        shifted(root / "three", {"moco": -0.02}, name="three"),
    ]


def compared(folders):
    return across_runs.compare([(str(folder), results.load(folder)) for folder in folders])


def test_what_differs_is_told_and_nothing_else(runs):
    found = dict(compared(runs[:2]).settings)
    assert found == {"encoder": ["resnet18", "resnet8"]} or found.keys() == {"encoder", "budget"}


def test_a_difference_beyond_noise_is_certain_and_one_within_is_not(runs):
    found = {each.method: each for each in compared(runs[:2]).differences}
    assert found["byol"].certain
    assert found["byol"].mean == pytest.approx(0.05, abs=0.01)
    assert not found["simclr"].certain
    assert found["simclr"].half_width > 0


def test_ranks_have_intervals_that_hold_them_and_leads_add_up(runs):
    found = compared(runs)
    assert sum(rank.mean for rank in found.ranks) == pytest.approx(10)
    assert all(1 <= rank.low <= rank.high <= 4 for rank in found.ranks)
    for each in ("wins", "ahead"):
        assert np.mean([getattr(rank, each) for rank in found.ranks]) == pytest.approx(0.5)
    assert [rank.mean for rank in found.ranks] == sorted(rank.mean for rank in found.ranks)
    assert len(found.agreement) == 3


def test_the_order_of_the_runs_changes_no_rank_and_the_same_runs_give_the_same_text(runs):
    one, other = compared(runs[:2]), compared(runs[1::-1])
    assert {rank.method: rank.mean for rank in one.ranks} == {rank.method: rank.mean for rank in other.ranks}
    assert across_runs_output.page(one) == across_runs_output.page(compared(runs[:2]))


def test_accuracies_on_other_images_are_not_subtracted_and_that_is_said(runs, tmp_path):
    found = compared([runs[0], shifted(tmp_path / "other", {}, name="other", fingerprint="ff")])
    assert found.differences == []
    assert found.ranks
    assert "other images" in across_runs_output.terminal(found)


def test_every_line_for_a_terminal_has_at_most_100_columns(runs, tmp_path):
    many = [*runs, *(shifted(tmp_path / f"more{n}", {}, name=f"more{n}", encoder=f"e{n}") for n in range(6))]
    text = across_runs_output.terminal(compared(many))
    assert max(map(len, text.splitlines())) <= 100
    assert "resnet18" in text


def test_files_are_written_by_their_ending(runs, tmp_path):
    for ending, told in ((".md", "| method |"), (".csv", "run,letter,method,accuracy"), (".html", "<svg")):
        path = tmp_path / f"compared{ending}"
        status, _, err = answer_of(["compare", *map(str, runs), "--output", str(path)])
        assert status == 0, err
        assert told in path.read_text()
    lines = list(csv.DictReader(io.StringIO((tmp_path / "compared.csv").read_text())))
    assert len(lines) == 3 * len(METHODS)
    check_refusal(*answer_of(["compare", *map(str, runs), "--output", str(tmp_path / "x.pdf")])[::2])


def test_what_comes_from_files_is_escaped(runs, tmp_path):
    bad = shifted(tmp_path / "<script>alert(1)<|script>", {}, name="bad", encoder="<b>net</b>|x")
    found = compared([runs[0], bad])
    assert "<script>alert" not in across_runs_output.page(found)
    assert "<b>net" not in across_runs_output.page(found)


def test_one_line_says_what_cannot_be_compared(runs, tmp_path):
    unlabelled = shifted(tmp_path / "unlabelled", {}, name="unlabelled", labelled=0)
    begun = shifted(tmp_path / "begun", {}, name="begun", finished=False)
    for words in (
        [],
        [runs[0]],
        [runs[0], runs[0]],
        [runs[0], unlabelled],
        [runs[0], begun],
        [runs[0], tmp_path / "no"],
    ):
        check_refusal(*answer_of(["compare", *map(str, words)])[::2])


def test_runs_with_one_method_or_none_in_common_have_no_ranks(runs, tmp_path):
    one = compared([runs[0], shifted(tmp_path / "a", {}, ("byol", "barlow"), name="a")])
    assert one.ranks == []
    assert "share one method, byol" in across_runs_output.terminal(one)
    none = compared([runs[0], shifted(tmp_path / "b", {}, ("barlow",), name="b")])
    assert none.differences == []
    assert "share no method" in across_runs_output.terminal(none)


def test_an_unfinished_run_is_told(tmp_path):
    events = simulated_run.events()
    first = simulated_run.write(tmp_path / "first", events)
    second = simulated_run.write(tmp_path / "second", simulated_run.events(seed=1)[:-1])
    assert "B has not ended" in across_runs_output.terminal(compared([first, second]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_never_below_the_value_nor_above_bonferroni_and_keeps_the_order(values):
    adjusted = adjusted_by_holm(values)
    for value, each in zip(values, adjusted, strict=True):
        assert value <= each <= min(1, max(len(values) * value, *adjusted))
    order = sorted(range(len(values)), key=values.__getitem__)
    assert [adjusted[place] for place in order] == sorted(adjusted)
    assert adjusted[order[0]] == min(1.0, len(values) * values[order[0]])


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_subset_of_results_is_compared_or_refused_in_one_line(data, tmp_path_factory):
    folders = []
    for place in range(data.draw(st.integers(2, 3))):
        folder = tmp_path_factory.mktemp("any") / f"run{place}"
        some = tuple(data.draw(st.sets(st.sampled_from(METHODS), min_size=1)))
        options = {"seeds": data.draw(st.integers(1, 3)), "finished": data.draw(st.booleans())}
        options["labelled"] = data.draw(st.sampled_from([50_000, 50_000, 0]))
        folders.append(shifted(folder, {}, tuple(sorted(some)), name=f"run{place}", **options))
    try:
        found = compared(folders)
    except UserError:  # its message is one line by its class
        return
    for write in (
        across_runs_output.terminal,
        across_runs_output.markdown,
        across_runs_output.csv,
        across_runs_output.page,
    ):
        assert "nan" not in write(found)
