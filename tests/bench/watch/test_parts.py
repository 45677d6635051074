"""A page in parts: no part is lost, and those travel that have changed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report import report, results
from bench.watch.parts import Parts, Versions, filled
from tests.bench import synthetic_run
from tests.bench.report.pages import HOSTILE, KINDS


@pytest.mark.parametrize("kind", ["usual", "no trial yet", "troubled", "judged, every kind, uneven classes"])
def test_the_parts_of_a_page_are_all_that_changes_of_it(kind, tmp_path):
    page = report.render(results.load(synthetic_run.write(tmp_path, **KINDS[kind])))
    parts = Parts.of(page)
    assert next(iter(parts.sections)) == "results"
    assert list(parts.sections)[-1] == "protocol"
    assert page.count("<section ") == len(parts.sections)
    assert filled(page, parts) == page
    empty = filled(page, Parts("", "", {}, {}))
    assert "<section" not in empty
    assert filled(empty, parts) == page


def test_names_from_files_do_not_divide_a_page_elsewhere(tmp_path):
    hostile = f"</section></header></nav></script>{HOSTILE}"
    page = report.render(results.load(synthetic_run.write(tmp_path, ("byol",), trials=3, dataset=hostile)))
    assert filled(page, Parts.of(page)) == page


named = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2", "{}"]))
made = st.builds(Parts, st.sampled_from("xy"), st.sampled_from("xy"), named, named)


@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), made), max_size=8), st.data())
def test_who_puts_together_what_was_told_since_any_version_has_what_there_is_now(renewals, data):
    versions = Versions(["one", "two"])
    known, sections, parts, figures = "", [], {}, {}
    for layer, new in renewals:
        # A layer may have what another has only by another name, as pages do.
        own = {f"{layer}-{name}": text for name, text in new.sections.items()}
        versions.put(layer, Parts(new.head, new.nav, own, {f"{layer}-{n}": text for n, text in new.figures.items()}))
        if data.draw(st.booleans()):
            told = json.loads(versions.since(known))
            known, sections = told["version"], told["sections"]
            parts |= told["parts"]
            figures |= told["figures"]
            whole = versions.whole
            assert sections == list(whole.sections)
            assert {name: parts[name] for name in sections} == whole.sections
            assert (parts["header"], parts["nav"]) == (whole.head, whole.nav)
            assert {name: json.dumps(figures[name]) for name in whole.figures} == whole.figures
            again = json.loads(versions.since(known))
            assert (again["version"], again["parts"], again["figures"]) == (known, {}, {})


@pytest.mark.parametrize("version", ["", "x", "x-9", "-1", "9" * 5000, "\0"])
def test_to_who_knows_nothing_of_this_server_everything_is_told(version):
    versions = Versions(["one"])
    versions.put("one", Parts("head", "nav", {"a": "text"}, {"f": "1"}))
    told = json.loads(versions.since(version))
    assert told["parts"] == {"header": "head", "nav": "nav", "a": "text"}
    assert told["figures"] == {"f": 1}
