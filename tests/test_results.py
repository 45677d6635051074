"""Published results: every bundle in `results/` is right, and the README's tables are theirs."""

from pathlib import Path

import pytest

from bench.report import bundle
from bench.report.readme import update_readme
from bench.report.table import markdown
from tests.bench import simulated_run
from tests.bench.commands.answering import answer_of, check_refusal

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = sorted((ROOT / "results").glob(f"*{bundle.SUFFIX}"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.name)
def test_a_published_bundle_is_right(path):
    status, out, _ = answer_of(["verify", str(path)])
    assert status == 0, out


def test_results_hold_bundles_and_how_to_add_one_alone():
    assert {path.name for path in (ROOT / "results").iterdir()} == {"README.md", *(path.name for path in PUBLISHED)}


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.name)
def test_the_readmes_table_of_a_bundle_is_what_its_command_makes(path):
    text = (ROOT / "README.md").read_text()
    command = f"ssl-bench report results/{path.name} --update-readme "
    if command in text:
        place = text.split(command)[1].split()[0]
        assert markdown(bundle.load(path)).strip() in text, f"run: {command}{place}"


def test_the_readme_has_its_table_from_a_bundle(tmp_path, monkeypatch):
    events = simulated_run.events()
    events[0]["settings"]["dataset"] = "cifar10"
    run = simulated_run.write(tmp_path / "run", events)
    packed = bundle.write(run, tmp_path / "run.bundle.zip")
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n<!-- table:here:begin -->\n<!-- table:here:end -->\nEnd\n")
    monkeypatch.chdir(tmp_path)

    status, out, err = answer_of(["report", str(packed), "--update-readme", "here"])
    assert status == 0, err
    assert "README.md has the new table" in out
    assert (run / "table.md").read_text().strip() in readme.read_text()
    assert not update_readme(readme, markdown(bundle.load(run)), "here")
    check_refusal(*answer_of(["report", str(packed), "--update-readme", "elsewhere"])[::2])


def test_a_bundle_has_its_page_below_reports_and_no_other_run_is_written_over(tmp_path, monkeypatch):
    packed = bundle.write(simulated_run.write(tmp_path / "run", simulated_run.events()), tmp_path / "my.bundle.zip")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # what is there already is made again
        status, out, err = answer_of(["report", str(packed)])
        assert (status, out) == (0, "reports/my/report.html\n"), err
        assert (tmp_path / out.strip()).is_file()
    other = tmp_path / "reports" / "my" / "ledger.jsonl"
    other.write_text("{}\n")
    check_refusal(*answer_of(["report", str(packed)])[::2])
    assert other.read_text() == "{}\n"
