"""What is installed from a wheel, without the checkout: everything that the product needs is in it."""

import configparser
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from algorithms import METHODS
from bench.trackers.known import TRACKERS
from tests.bench import synthetic_run
from tests.hostile import hostile

pytestmark = pytest.mark.slow

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


def python(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """An interpreter in `folder` that finds what is `installed`, and no checkout."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def ssl_bench(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The console script of the wheel, in `folder`."""
    (entry,) = installed.glob("ssl_bench-*.dist-info/entry_points.txt")
    scripts = configparser.ConfigParser()
    scripts.read(entry)
    module, _, function = scripts["console_scripts"]["ssl-bench"].partition(":")
    code = f"import sys; sys.argv[0] = 'ssl-bench'; from {module} import {function}; sys.exit({function}())"
    return python(installed, folder, "-c", code, *words)


IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
root = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(root))
names = [item.name for item in pkgutil.walk_packages([str(root)])]
for name in names:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in sys.argv[2:]:
            continue
        raise
    assert pathlib.Path(module.__file__).is_relative_to(root), module.__file__
print(*names)
"""


def test_every_module_is_in_the_wheel_and_can_be_imported_from_it(installed: Path, tmp_path: Path):
    of_extras = [needed for _, needed in TRACKERS.values() if importlib.util.find_spec(needed) is None]
    done = python(installed, tmp_path, "-c", IMPORT_ALL, str(installed), *of_extras)
    assert done.returncode == 0, done.stderr
    there = {"run_bench"}
    for package in ("algorithms", "bench", "search_spaces"):
        files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / package).rglob("*.py")]
        there |= {".".join(path.parts).removesuffix(".__init__") for path in files}
    assert set(done.stdout.split()) == there


def test_types_are_told_to_who_imports_it(installed: Path):
    assert (installed / "algorithms" / "py.typed").is_file()
    assert (installed / "bench" / "py.typed").is_file()


def test_the_command_of_a_wheel_tells_its_options_and_reads_every_search_space(installed: Path, tmp_path: Path):
    done = ssl_bench(installed, tmp_path, "run", "--help")
    assert done.returncode == 0, done.stderr
    assert "--budget" in done.stdout
    code = """
from algorithms import METHODS
from bench.execution.brought import load_spaces
print(*load_spaces(METHODS, 32))
"""
    done = python(installed, tmp_path, "-c", code)
    assert done.stdout.split() == list(METHODS)


def test_a_run_on_cifar10_ends_with_its_report_and_published_numbers_from_a_wheel(installed: Path, tmp_path: Path):
    run = synthetic_run.write(tmp_path / "run", dataset="cifar10")
    for command, left in (("report", "report.html"), ("anchors", "anchors.md")):
        done = ssl_bench(installed, tmp_path, command, str(run))
        assert done.returncode == 0, done.stderr
        assert (run / left).stat().st_size > 100


TRAIN = ["train", "simclr", "--dataset", "shapes", "--limit", "64", "--image-size", "8", "--epochs", "1"]


def test_an_installed_command_leaves_its_own_folder_as_it_is_and_what_it_makes_below_the_working_directory(
    installed: Path, tmp_path: Path
):
    def files() -> set[Path]:
        return {path for path in installed.rglob("*") if "__pycache__" not in path.parts}

    before = files()
    ssl_bench(installed, tmp_path, *TRAIN).check_returncode()
    assert files() == before
    assert (tmp_path / "reports" / "shapes-resnet8" / "trained" / "simclr" / "card.json").is_file()


def test_nothing_of_the_working_directory_is_taken_for_a_module_of_the_command(installed: Path, tmp_path: Path):
    """Neither where one is trained, nor in the calibration's process; the user's own searcher is found."""
    hostile(tmp_path)
    done = ssl_bench(installed, tmp_path, *TRAIN)
    assert done.returncode == 0, done.stderr
    words = ["run", "--methods", "simclr", "--budget", "20cpu-minutes", "--dataset", "shapes", "--limit", "64"]
    done = ssl_bench(installed, tmp_path, *words, "--image-size", "8", "--searcher", "mine:find", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "Plan: 1 methods" in done.stdout
