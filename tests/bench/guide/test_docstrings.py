"""What a method's docstring must have, since it makes the method's page."""

import ast
import re

import pytest

from algorithms import METHODS, WITH_TEACHER, method_class
from bench.guide import docstrings
from bench.guide.docstrings import described

NAMES = (*METHODS, *WITH_TEACHER)
every_method = pytest.mark.parametrize("name", NAMES)


@every_method
def test_the_idea_is_told_in_at_most_five_lines(name: str):
    lines = described(name).idea.splitlines()
    assert 1 <= len(lines) <= 5
    assert max(map(len, lines)) <= 120
    assert not re.match(r"Eq\.|Section|Algorithm", lines[0]), "the idea comes first, in plain words"


@every_method
def test_an_equation_or_a_section_of_the_paper_is_named(name: str):
    assert re.search(r"([Ee]q\.|[Ss]ection|[Aa]lgorithm) ?\d|[Aa]ppendix", "\n".join(described(name).equations))


@every_method
def test_it_is_said_when_to_choose_it(name: str):
    choice = described(name).choice
    assert choice.startswith("Choose it ")
    assert choice.count("Choose it ") == 1


@every_method
def test_the_title_and_the_paper_stand_in_the_first_line(name: str):
    said = described(name)
    assert said.title
    assert re.search(r"arXiv \d{4}\.\d{5}|https://doi\.org/10\.", said.authors)


@every_method
def test_what_it_contrasts_with_is_one_of_four(name: str):
    assert method_class(name).contrasts_with in {"the batch", "a queue", "a bank", "nothing"}


@every_method
def test_the_code_is_the_files_without_the_words_of_the_page(name: str):
    shown, whole = ast.parse(docstrings.code(name)), ast.parse(docstrings.path(name).read_text())
    of = next(
        node for node in whole.body if isinstance(node, ast.ClassDef) and node.name == method_class(name).__name__
    )
    if len(of.body) > 1:
        del of.body[0]
    del whole.body[0]
    assert ast.dump(shown) == ast.dump(whole)


def test_a_paragraph_that_is_no_departure_and_no_choice_is_of_the_paper():
    said = described("moco")
    assert len(said.departures) == 1
    assert not said.departures[0].startswith("Departures")
    assert said.equations[1].startswith("    L = ")
