"""The table of a run in a README."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.report.readme import publish, update_readme
from tests.bench import synthetic_run
from tests.bench.report import runs


def readme(tmp_path, name="table", newline="\n"):
    path = tmp_path / "README.md"
    lines = ["# Title", f"<!-- {name}:begin -->", "old", f"<!-- {name}:end -->", "after"]
    path.write_bytes(newline.join(lines).encode())
    return path


def test_the_readme_gets_the_table_between_its_markers_and_nothing_else_changes(run, tmp_path):
    path = readme(tmp_path)
    assert publish(run, path)
    text = path.read_text()
    assert text.startswith(
        "# Title\n<!-- table:begin -->\n\n**made-up numbers; resnet18; 20 epochs**\n\n- **Worth it?** Supervised"
    )
    assert text.endswith("\n\n<!-- table:end -->\nafter")
    assert "old" not in text.split("<!-- table:begin -->")[1][:20]


def test_publishing_twice_changes_nothing_the_second_time(run, tmp_path):
    path = readme(tmp_path)
    assert publish(run, path)
    once, moment = path.read_bytes(), path.stat().st_mtime_ns
    assert not publish(run, path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (once, moment)


def test_a_run_on_other_data_leaves_the_readme_alone_and_says_so(tmp_path):
    run = runs.loaded(*synthetic_run.rows(dataset="shapes"))
    path = readme(tmp_path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="cifar10, and this one is on shapes"):
        publish(run, path)
    assert path.read_bytes() == before


def test_named_tables_live_side_by_side(tmp_path):
    path = readme(tmp_path, "table:small")
    path.write_text(path.read_text() + "\n" + "<!-- table:begin -->\n<!-- table:end -->\n")
    update_readme(path, "SMALL", "small")
    update_readme(path, "LARGE")
    assert path.read_text().index("SMALL") < path.read_text().index("LARGE")


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "<!-- table:begin -->",
        "<!-- table:end --><!-- table:begin -->",
        "<!-- table:begin --><!-- table:begin --><!-- table:end -->",
    ],
)
def test_missing_or_crossed_markers_are_named(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(UserError, match="table:begin"):
        update_readme(path, "x")
    assert path.read_text() == text
    with pytest.raises(UserError, match="cannot be read"):
        update_readme(tmp_path / "none.md", "x")


@given(st.text(string.printable, max_size=60), st.text(string.printable, max_size=60), st.sampled_from(["\n", "\r\n"]))
def test_what_surrounds_the_markers_survives_byte_for_byte(tmp_path_factory, before, after, newline):
    path = tmp_path_factory.mktemp("readme") / "README.md"
    begin, end = b"<!-- table:begin -->", b"<!-- table:end -->"
    content = before.encode() + begin + newline.encode() + end + after.encode()
    path.write_bytes(content)
    update_readme(path, "a\nb")
    found = path.read_bytes()
    assert found.startswith(before.encode() + begin)
    assert found.endswith(end + after.encode())
    assert not update_readme(path, "a\nb")
