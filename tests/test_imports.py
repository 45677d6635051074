"""Imports run one way, between the wings of the house and between files; each wing has a map of its files."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOOR = {"bench.doors", "bench.errors", "bench.files", "bench.machine", "bench.output"}
"""What all of bench/ may use."""
BELOW = {
    "algorithms.images": set(),
    "algorithms.encoders": {"algorithms.images"},
    "algorithms.parts": {"algorithms.encoders", "algorithms.images", "algorithms.method"},
    "algorithms.evaluation": {"algorithms.encoders", "algorithms.images", "algorithms.parts"},
    "algorithms.training": {
        *("algorithms.encoders", "algorithms.evaluation", "algorithms.images", "algorithms.method", "algorithms.parts"),
    },
    "bench.search": {"algorithms", *FLOOR},
    "bench.trackers": {"algorithms", "bench.search", *FLOOR},
    "bench.data": {"algorithms", "bench.search", *FLOOR},
    "bench.report": {"algorithms", "bench.search", *FLOOR},
    "bench.watch": {"algorithms", "bench.search", "bench.report", *FLOOR},
    "bench.guide": {"algorithms", "bench.search", "bench.report", *FLOOR},
    "bench.execution": {"algorithms", "bench.search", "bench.trackers", "bench.data", "bench.report", *FLOOR},
    "bench.tabular": {"algorithms", "bench.search", "bench.data", *FLOOR},
    "bench.commands": {
        *(
            "algorithms",
            "bench.search",
            "bench.trackers",
            "bench.data",
            "bench.report",
            "bench.guide",
            "bench.watch",
            "bench.execution",
            "bench.tabular",
        ),
        *FLOOR,
    },
}
"""Wing -> what its files may import beside each other."""
MAPPED = sorted(BELOW.keys() - {"algorithms.encoders"})
"""Those whose `__init__` is a map; the encoders' is the table of their names."""
HEAVY = {"ray", "optuna", "pandas", "pyarrow", "plotly", "yaml", "jinja2", "click"}
"""What algorithms/ knows nothing of."""


@cache
def imports() -> dict[str, set[str]]:
    """Of every file of the product, the modules that it imports, wherever in the file."""
    paths = [ROOT / "run_bench.py", *(ROOT / "algorithms").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths}
    own = set(names.values())

    def imported(path: Path) -> Iterator[str]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path} has a relative import"
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    yield whole if whole in own else node.module

    return {name: set(imported(path)) for path, name in names.items()}


def is_in(module: str, wings: set[str]) -> bool:
    return any(f"{module}.".startswith(f"{wing}.") for wing in wings)


def test_algorithms_know_nothing_of_the_bench_and_of_its_libraries():
    wrong = {name: found for name, modules in imports().items() if is_in(name, {"algorithms"})
             if (found := {module for module in modules if is_in(module, HEAVY | {"bench", "run_bench"})})}  # fmt: skip
    assert not wrong


@pytest.mark.parametrize("wing", BELOW)
def test_a_wing_imports_nothing_but_what_stands_below_it(wing: str):
    files = {name: modules for name, modules in imports().items() if is_in(name, {wing})}
    assert files, "no file was found: the test reads the wrong folder"
    allowed = {wing, *BELOW[wing]}
    wrong = {
        name: found
        for name, modules in files.items()
        if (
            found := {
                module for module in modules if is_in(module, {"algorithms", "bench"}) if not is_in(module, allowed)
            }
        )
    }
    assert not wrong


def test_the_floor_stands_on_itself_alone():
    used = {module for name in FLOOR for module in imports()[name] if is_in(module, {"algorithms", "bench"})}
    assert used <= FLOOR


def test_only_the_registry_imports_a_method():
    methods = {name for name in imports() if name.count(".") == 1 and name.startswith("algorithms.")}
    methods -= {name for name in methods if (ROOT / name.replace(".", "/")).is_dir()} | {"algorithms.method"}
    assert len(methods) > 16
    wrong = {
        name: modules & methods for name, modules in imports().items() if modules & methods and name not in methods
    }
    assert not wrong


def test_no_file_imports_itself_through_others():
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("wing", [*MAPPED, "bench.report.sections", "bench.report.sections.method"])
def test_the_map_of_a_wing_names_its_files_each_once(wing: str):
    folder = ROOT / wing.replace(".", "/")
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    named = re.findall(r"`(\w+)`", ast.get_docstring(ast.parse((folder / "__init__.py").read_text())))
    assert sorted(named) == sorted(files)
