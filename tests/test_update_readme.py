"""The README of the checkout and a run's table: `run_bench.py --update-readme`."""

import shutil
import signal
from pathlib import Path

import pytest

import run_bench
from bench.execution import benchmark, driver
from bench.search.fold import Fold
from tests.bench import synthetic_run
from tests.bench.class_folders import class_folders

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_readme_gets_the_table_when_asked_and_never_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):
    """Of a run on CIFAR-10 that has ended; its trials are made up."""

    def calibrate(experiment):
        seconds = {"epoch": 0.1, "evaluation": 0.1, "start": 0.0}
        names = [*experiment.spaces, *experiment.baselines]
        return {"calibration": dict.fromkeys(names, seconds), "startup": 1.0, "choices": {}}

    monkeypatch.setattr(benchmark, "calibrate", calibrate)
    checkout, run_dir = tmp_path / "checkout", tmp_path / "run"
    checkout.mkdir()
    readme = Path(shutil.copy(ROOT / "README.md", checkout))
    before = readme.read_text()
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(driver, "run", lambda *_, **__: synthetic_run.write(run_dir, encoder="resnet8") and Fold())
    images = class_folders(tmp_path / "cifar10", [16])
    words = ["--methods", "simclr", "--budget", "20cpu-minutes", "--epochs", "2", "--run-dir", str(run_dir)]
    words += ["--dataset", str(images)]

    assert run_bench.main(words) == 0
    told = capfd.readouterr().out
    assert f"Table:  {run_dir / 'table.md'}\n" in told
    assert "README" not in told
    assert readme.read_text() == before

    assert run_bench.main([*words, "--update-readme"]) == 0
    assert f"README: {readme} has the new table\n" in capfd.readouterr().out
    after, table = readme.read_text(), (run_dir / "table.md").read_text()
    assert f"<!-- table:resnet8:begin -->\n\n{table}\n<!-- table:resnet8:end -->" in after
    begin, end = "<!-- table:resnet8:begin -->", "<!-- table:resnet8:end -->"
    assert after.partition(begin)[0] == before.partition(begin)[0]
    assert after.partition(end)[2] == before.partition(end)[2]

    def interrupted(*_, **__):
        raise driver.Interrupted(signal.SIGINT)

    readme.write_text(before)
    monkeypatch.setattr(driver, "run", interrupted)
    assert run_bench.main([*words, "--update-readme"]) == 130
    assert f"README: {readme} keeps its table, as the run was interrupted\n" in capfd.readouterr().out
    assert readme.read_text() == before
