"""The pages of docs/methods are what the command writes; what they count is what the methods are."""

from pathlib import Path

import pytest

from algorithms import GROUPS, METHODS, method_class
from bench.guide.built import MEGABYTE, built, relative
from bench.guide.docstrings import year
from bench.guide.evidence import learned
from bench.guide.markdown import cell, paragraph, prose
from bench.guide.pages import pages
from bench.guide.recipe import departures, published

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docs" / "methods"
COMMAND = "ssl-bench methods --write docs/methods"


@pytest.mark.slow
def test_the_pages_are_what_the_command_writes():
    written = pages()
    there = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    stale = sorted(name for name in written | there if written.get(name) != there.get(name))
    assert not stale, f"docs/methods is not what its sources say ({', '.join(stale)}); run: {COMMAND}"


def test_a_second_encoder_is_counted_as_a_teacher_and_a_half_training_as_half():
    simclr, byol, sela = built("simclr"), built("byol"), built("sela")
    assert (simclr.teacher, byol.teacher) == (False, True)
    assert (simclr.passes, byol.passes, sela.passes) == (2, 4, 1)
    # a pass forward and backward is three times one forward: 2 x 3 against 2 x 3 + 2
    assert relative("byol") == pytest.approx(8 / 6, rel=0.02)
    assert relative("sela") == pytest.approx(1 / 2, rel=0.02)


@pytest.mark.slow
def test_the_fast_methods_are_those_whose_step_costs_no_more_than_simclrs_with_the_runs_encoder():
    brought = {name for name in METHODS if method_class(name).brings_encoder()}
    assert set(GROUPS["fast"]) == {name for name in METHODS if name not in brought and relative(name) <= 1.05}


def test_memory_is_that_of_the_queue_the_bank_and_the_labels():
    assert built("moco").kept["queue"] == 4096 * (4 * 128 + 8) + 8
    assert built("sela").kept["labels"] == 10 * 50_000 * 8
    assert built("simclr").kept == {} or sum(built("simclr").kept.values()) < MEGABYTE / 20


def test_departures_are_the_defaults_that_are_not_the_published_ones():
    found = {each.name: each for each in departures("swav")}
    assert found["prototypes"].ours == "512 (small images)"
    assert found["prototypes"].published == "3000"
    assert found["queue_length"].ours == "0"
    assert "temperature" not in found
    assert published("byol", "learning_rate") == 0.03
    assert (year("byol"), year("fastsiam")) == ("2020", "2022")


def test_what_was_not_measured_is_none():
    assert learned("distill") is None
    assert len(learned("simclr").after) == 3


def test_words_are_no_markup():
    assert prose("a_b |x| `c_d` <e>\n  f*g") == r"a\_b \|x\| `c_d` &lt;e&gt; f\*g"
    assert cell("`a|b` |") == r"`a\|b` \|"
    assert paragraph("    L = a_b\n      + c") == "```text\nL = a_b\n  + c\n```"
