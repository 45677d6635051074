"""Whether what a run left follows from its ledger: the Parquet files, the tables, and what it was made with."""

import csv
import io
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from algorithms.evaluation.metrics import SELECTION
from bench.errors import UserError, one_line
from bench.report import results, table
from bench.report.bundle import ENVIRONMENT, LEDGER, Source, environment
from bench.report.judged import HELD_OUT, column
from bench.report.results import Results
from bench.search import audit
from bench.search.audit import Check
from bench.search.events import FORMAT, plain, read_events
from bench.search.fold import Fold, fold_events


def verify(source: Source) -> list[Check]:
    """All that can be checked of a run without a training. Raises UserError where it has no ledger that can be read,
    and OSError."""
    path = source.folder / LEDGER
    events, size = read_events(path)
    if not events or events[0].get("event") != "run":
        raise UserError(f"{source.title} has no {LEDGER} of a run; give a run's folder or a bundle of one")
    fold = fold_events(events, path)
    try:
        checks = audit.audit(events)
    except UserError as error:
        raise UserError(f"{source.title}: {error}") from None
    if source.bundled and size != path.stat().st_size:
        checks[0].wrong.append(f"line {len(events) + 1}: what stands at the end of the ledger is no event")
    old = events[0]["format"] != FORMAT
    with tempfile.TemporaryDirectory(prefix="ssl-bench-") as folder:
        try:
            results.write(fold, folder, source.name)
        except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
            what = f"{type(error).__name__}: {one_line(error)}"[:200]
            raise UserError(
                f"{source.title} has a ledger of which no results can be made ({what}); restore it"
            ) from None
        made = results.load(folder)
        checks.append(_parquet(source.folder, Path(folder), made, old))
    checks.append(_tables(source.folder, made, old))
    if source.bundled:
        checks.append(_environment(source.folder, fold, source.name))
    return checks


def told(checks: list[Check]) -> str:
    """A line for each check, for each thing that is wrong, and for what could not be checked."""
    lines = []
    for check in checks:
        lines.append(f"{'wrong' if check.wrong else 'ok':5}  {check.name}: {check.checked}")
        lines += [f"       wrong: {one_line(each)}" for each in check.wrong[:MOST]]
        if len(check.wrong) > MOST:
            lines.append(f"       and {len(check.wrong) - MOST:,} more")
        lines += [f"       not checked: {one_line(each)}" for each in check.untold]
    return "\n".join(UserError(line).args[0] for line in lines)  # what is quoted may hold what no terminal should get


MOST = 10
"""Lines of what is wrong that are shown of each check."""


def _parquet(folder: Path, remade: Path, made: Results, old: bool) -> Check:
    """Whether each cell of the two files is the one that the ledger gives."""
    check, cells = Check("Parquet"), 0
    there = results.load(folder)
    if old:
        there.epochs["split"] = there.epochs["split"].replace("validation", "train")
    for name, one, other, keys in (
        ("trials.parquet", there.trials, made.trials, ["uid"]),
        ("epochs.parquet", there.epochs, made.epochs, ["uid", "epoch"]),
    ):
        stored, right = (pq.read_schema(each / name).names for each in (folder, remade))
        columns = [each for each in right if each in stored]
        if old and HELD_OUT in stored:  # what was held out then is read as the search's figure
            columns.append(column("train", SELECTION))
        foreign = sorted(set(stored) - set(right))
        missing = sorted(set(right) - set(stored))
        if foreign or missing:
            note = f"{name}: {len(foreign)} columns that this version does not make, and {len(missing)} that it adds"
            (check.untold if old or not foreign else check.wrong).append(note)
        cells += len(other) * len(columns)
        check.wrong += [f"{name}, {each}" for each in _different(one[columns], other[columns], keys)]
    for key in sorted(there.run.keys() & made.run.keys()):
        one, other = _plain(there.run.get(key)), _plain(made.run.get(key))
        if one != other and not (old and key == "sessions"):
            check.wrong.append(f"trials.parquet, facts of the run, {key}: {_short(one)}, and {_short(other)} by ledger")
    if lacking := sorted(made.run.keys() - there.run.keys()):
        note = f"the facts {', '.join(lacking)} of the run, which trials.parquet lacks"
        (check.untold if old else check.wrong).append(note)
    check.checked = f"{cells:,} cells are those that the ledger gives"
    if check.wrong:
        check.checked = f"{cells:,} cells compared with what the ledger gives"
    return check


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value, sort_keys=True))


def _short(value: Any) -> str:
    text = one_line(json.dumps(value, sort_keys=True))
    return text if len(text) <= 80 else text[:77] + "..."


def _different(one: pd.DataFrame, other: pd.DataFrame, keys: list[str]) -> Iterator[str]:
    """The cells of two tables that differ, and the rows that only one has."""
    if one.duplicated(keys).any():
        yield f"{' '.join(map(str, one[one.duplicated(keys)][keys].iloc[0]))}: it is there twice"
        return
    one, other = one.set_index(keys, drop=False), other.set_index(keys, drop=False)
    for place in one.index.difference(other.index):
        yield f"{_place(place)}: the ledger has no such row"
    for place in other.index.difference(one.index):
        yield f"{_place(place)}: the row of the ledger is missing"
    shared = other.index.intersection(one.index)
    one, other = one.loc[shared], other.loc[shared]
    for name in other.columns:
        for place, found, right in zip(shared, one[name], other[name], strict=True):
            if not _same(found, right):
                yield f"{_place(place)}, {name}: {_cell(found)}, and {_cell(right)} by the ledger"


def _place(place: Any) -> str:
    return " epoch ".join(map(str, place)) if isinstance(place, tuple) else str(place)


def _same(one: Any, other: Any) -> bool:
    if hasattr(one, "__len__") and not isinstance(one, str):
        return (
            hasattr(other, "__len__")
            and len(one) == len(other)
            and all(_same(a, b) for a, b in zip(one, other, strict=True))
        )
    if hasattr(other, "__len__") and not isinstance(other, str):
        return False
    return bool(pd.isna(one) and pd.isna(other)) or bool(one == other)


def _cell(value: Any) -> str:
    return one_line(str(value))[:60] or "empty"


def _tables(folder: Path, made: Results, old: bool) -> Check:
    """Whether each cell of table.csv and table.md is what the ledger gives. Their words may be those of another
    version: that is told."""
    check, cells = Check("tables"), 0
    for name, text, read in (
        ("table.csv", table.csv(made), _csv_cells),
        ("table.md", table.markdown(made), _markdown_cells),
    ):
        path = folder / name
        try:
            there = path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            check.wrong.append(f"{name} cannot be read as text ({one_line(error)})")
            continue
        if old:
            check.untold.append(f"{name}, which an earlier version laid out otherwise")
            check.checked = "laid out by an earlier version"
            continue
        one, other = read(there), read(text)
        cells += len(other)
        if there == text:
            continue
        found = [
            f"{name}, {row}, {column}: {_cell(one[row, column])}, and {_cell(value)} by the ledger"
            for (row, column), value in other.items()
            if (row, column) in one and one[row, column] != value
        ]
        rows = {row for row, _ in one} ^ {row for row, _ in other}
        found += [f"{name}, {row}: the row stands in one of table and ledger alone" for row in sorted(rows)]
        found += _other_numbers(name, there, text)
        check.wrong += found
        if not found:
            check.untold.append(f"the words of {name}, which are not those of this version; its figures are the same")
    if not old:
        check.checked = f"{cells:,} cells of table.csv and table.md"
    return check


def _other_numbers(name: str, there: str, right: str) -> Iterator[str]:
    """Lines beside the table with a figure that the same line of the ledger's has otherwise."""
    lines = [each for each in right.splitlines() if not each.startswith("|")]
    known = {_without_numbers(each) for each in lines}
    for number, line in enumerate(there.splitlines(), 1):
        if not line.startswith("|") and name.endswith(".md") and line not in lines and _without_numbers(line) in known:
            yield f"{name}, line {number}: other figures than the ledger gives"


def _without_numbers(line: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "0", line)


def _csv_cells(text: str) -> dict[tuple[str, str], str]:
    """By row and column."""
    try:
        lines = list(csv.DictReader(io.StringIO(text)))
    except csv.Error:
        return {}
    return {
        (str(next(iter(line.values()))), str(column)): str(value)
        for line in lines
        for column, value in line.items()
        if column is not None
    }


def _markdown_cells(text: str) -> dict[tuple[str, str], str]:
    """By row and column, of all tables of the text."""
    found: dict[tuple[str, str], str] = {}
    heads: list[str] = []
    number = 0
    for line in text.splitlines():
        if not line.startswith("|"):
            heads = []
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if not heads:
            heads, number = cells, number + 1
        elif not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            for head, cell in zip(heads, cells, strict=False):
                found[f"table {number}, {cells[0]}", head] = cell
    return found


def _environment(folder: Path, fold: Fold, name: str) -> Check:
    """Whether what the run was made with is what its ledger tells."""
    check = Check("environment")
    try:
        there = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        check.wrong.append(f"{ENVIRONMENT} is no JSON ({one_line(error)})")
        return check
    right = _plain(plain(environment(fold, name)))
    if not isinstance(there, dict):
        check.wrong.append(f"{ENVIRONMENT} is no mapping")
        return check
    for key in sorted(there.keys() | right.keys()):
        if there.get(key) != right.get(key):
            check.wrong.append(
                f"{ENVIRONMENT}, {key}: {_short(there.get(key))}, and {_short(right.get(key))} by ledger"
            )
    check.checked = "versions, devices, commands, plan, budgets and images are those of the ledger"
    return check
