"""Imports run one way: run_bench -> bench -> algorithms."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "algorithms": {"ray", "optuna", "pandas", "pyarrow", "plotly", "yaml", "bench", "run_bench"},
    "bench": {"run_bench"},
}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_imports_nothing_from_above_it(package: str):
    imported = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    assert imported, "no import was found at all: the test reads the wrong folder"
    assert not imported & FORBIDDEN[package]
