from pathlib import Path

import pytest

from bench.report import results
from bench.report.results import Results
from tests.bench import synthetic_run
from tests.bench.report.pages import make


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A made-up run with nothing wrong."""
    return results.load(synthetic_run.write(tmp_path_factory.mktemp("made-up")))


@pytest.fixture(scope="session")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The page of a made-up run with nothing wrong: its path and its text."""
    return make(tmp_path_factory.mktemp("usual"))
