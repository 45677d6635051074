"""What is installed from a wheel, without the checkout: everything that the product needs is in it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.bench import synthetic_run

ROOT = Path(__file__).resolve().parent.parent
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what the checkout's wheel holds, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    # In a copy, since setuptools builds in the folder and packs what an earlier build has left there.
    left_out = shutil.ignore_patterns(".*", "*.egg-info", "build", "__pycache__", "tests")
    shutil.copytree(ROOT, folder / "checkout", ignore=left_out)
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=folder / "checkout", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "installed")
    shutil.rmtree(folder / "checkout")
    return folder / "installed"


def python(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    """An interpreter in `folder` that finds what is `installed`, and no checkout."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
root = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(root))
names = [item.name for item in pkgutil.walk_packages([str(root)])]
for name in names:
    module = importlib.import_module(name)
    assert pathlib.Path(module.__file__).is_relative_to(root), module.__file__
print(*names)
"""


def test_every_module_is_in_the_wheel_and_can_be_imported_from_it(installed: Path, tmp_path: Path):
    done = python(installed, tmp_path, "-c", IMPORT_ALL, str(installed))
    assert done.returncode == 0, done.stderr
    there = {"run_bench"}
    for package in ("algorithms", "bench", "search_spaces"):
        files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / package).rglob("*.py")]
        there |= {".".join(path.parts).removesuffix(".__init__") for path in files}
    assert set(done.stdout.split()) == there


def test_the_command_of_a_wheel_tells_its_options_and_reads_every_search_space(installed: Path, tmp_path: Path):
    done = python(installed, tmp_path, "-m", "run_bench", "--help")
    assert done.returncode == 0, done.stderr
    assert "--budget" in done.stdout
    # What it refuses, it refuses when it has read the search spaces.
    words = ["--methods", "all", "--budget", "20cpu-minutes", "--encoder", "resnet81"]
    done = python(installed, tmp_path, "-m", "run_bench", *words)
    assert done.returncode == 2
    assert "no encoder 'resnet81'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_on_cifar10_ends_with_its_report_and_published_numbers_from_a_wheel(installed: Path, tmp_path: Path):
    run = synthetic_run.write(tmp_path / "run", dataset="cifar10")
    for module, left in (("report", "report.html"), ("anchors", "anchors.md")):
        done = python(installed, tmp_path, "-c", f"from bench.report.{module} import write; write({str(run)!r})")
        assert done.returncode == 0, done.stderr
        assert (run / left).stat().st_size > 100


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="without --run-dir an installed command keeps its runs beside its modules",
)
def test_an_installed_command_leaves_its_own_folder_as_it_is(installed: Path, tmp_path: Path):
    def files() -> set[Path]:
        return {path for path in installed.rglob("*") if "__pycache__" not in path.parts}

    before = files()
    words = ["--train", "simclr", "--dataset", "shapes", "--limit", "64", "--image-size", "8", "--epochs", "1"]
    python(installed, tmp_path, "-m", "run_bench", *words).check_returncode()
    assert files() == before
