"""What encoders have learned, on the page."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.report import inspections, report, results
from bench.report.inspections import Inspections
from bench.report.page import ORDER, Page
from bench.report.rows import rows
from bench.report.sections import learned
from tests.bench.report import inspected_run
from tests.bench.report.pages import HOSTILE, Checker, charts


def made(folder, **options):
    run = inspected_run.write(folder, **options)
    return report.write(run).read_text()


def test_the_page_shows_of_each_method_and_baseline_one_encoder(tmp_path):
    page = made(tmp_path, methods=("byol", "simclr"), trials=3)
    assert Checker(page).scripts == 4
    section = page[page.index('<section id="learned">') : page.index('<section id="compute">')]
    assert section.count("<option") == 4  # with the random and the supervised baseline
    assert "byol, seed 1</option>" in section
    assert "inspected/images.webp" in section
    told = charts(page)["learned-map"]["told"]
    assert len(told["encoders"]) == 4
    assert told["classes"][3] == "name 3"
    assert told["encoders"][0]["pairs"][0] == [0, 1, 91]  # once of eleven times
    assert len(charts(page)["learned-map"]["data"]) == 10
    assert sorted(place for trace in charts(page)["learned-map"]["data"] for place in trace["customdata"]) == list(
        range(60)
    )


def test_the_winners_encoder_is_shown_where_the_winner_is_confirmed(tmp_path):
    run = results.load(inspected_run.write(tmp_path, ("byol",), trials=4))
    found = inspections.load(tmp_path, run)
    page = Page(run, rows(run), found)
    confirm = run.trials[(run.trials.stage == "confirm") & (run.trials.method == "byol")]
    wanted = confirm.sort_values("seed").uid.iloc[0] if len(confirm) else None
    (shown,) = [each for each in learned._chosen(page) if each.title.startswith("byol")]
    assert wanted is None or shown.found == found.of[wanted]


def test_without_labels_there_is_no_confusion_and_nothing_is_right_or_wrong(tmp_path):
    page = made(tmp_path, methods=("byol",), trials=2, classes=0, labelled=0)
    section = page[page.index('<section id="learned">') : page.index('<section id="compute">')]
    assert "Confusions" not in section
    assert "✓" not in section
    assert "learned-confusion" not in charts(page)
    assert charts(page)["learned-map"]["told"]["classes"] == []


def test_of_many_classes_pairs_stand_in_the_place_of_a_matrix(tmp_path):
    page = made(tmp_path, methods=("byol",), trials=2, classes=150, count=300)
    assert "learned-confusion" not in charts(page)
    (first, *_) = charts(page)["learned-map"]["told"]["encoders"]
    assert len(first["pairs"]) == 20
    assert first["confusion"] == []


def test_without_files_there_is_no_such_section(tmp_path):
    run = inspected_run.write(tmp_path, ("byol",), trials=2)
    for path in (run / "inspected").iterdir():
        path.unlink()
    assert 'id="learned"' not in report.write(run).read_text()


def test_hostile_names_of_classes_stay_text(tmp_path):
    page = made(tmp_path, methods=("byol",), trials=2, names=[HOSTILE] * 10)
    assert Checker(page).scripts == 4
    assert "<script>alert" not in page
    assert "<script>" not in json.dumps(charts(page))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = inspected_run.write(tmp_path_factory.mktemp("some"), ("byol", HOSTILE, "swav"), trials=2, seeds=2)
    found = results.load(folder)
    return found, inspections.load(folder, found)


@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_part_of_a_run_gives_a_section_or_none(data, run):
    whole, found = run
    kept = whole.trials[[data.draw(st.booleans()) for _ in range(len(whole.trials))]]
    uids = data.draw(st.sets(st.sampled_from(sorted(found.of))))
    some = results.Results(kept, whole.epochs, whole.run)
    page = Page(some, rows(some), Inspections(found.images, {uid: found.of[uid] for uid in uids}))
    html = learned.section(page)
    assert (html is None) == (not uids & set(kept[kept.stage != "evaluate"].uid))
    if html is not None:
        Checker(str(html))
        assert "<script>" not in html
        assert "<script>" not in json.dumps(page.figures)


@pytest.mark.slow
def test_twenty_five_methods_take_little_of_the_page(tmp_path):
    methods = (*ORDER, *(f"method{place}" for place in range(9)))
    run = inspected_run.write(tmp_path, methods, trials=1, seeds=1, epochs=1, count=792)
    found = results.load(run)
    page = Page(found, rows(found), inspections.load(run, found))
    assert len(learned.section(page)) < 10_000
    assert len(json.dumps(page.figures, separators=(",", ":"))) < 800_000
