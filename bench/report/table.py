"""The table as Markdown, as CSV and as text for a terminal; `bench.report.columns` says what it has."""

import textwrap
from pathlib import Path

import pandas as pd

from bench.files import write_atomically
from bench.report.columns import ADAPTED, SOFT_HYPHEN, Column, any_adapted, columns, numbers
from bench.report.labels import WORTH, Efficiency, efficiency
from bench.report.notes import UNRANKED, footer, from_elsewhere, title
from bench.report.results import Results
from bench.report.rows import Row, leader, rows
from bench.report.run import Run
from bench.report.text import bracketed, markdown_text, one_line, seeds_note
from bench.report.verdict import verdict


def write(results: Results, folder: str | Path) -> None:
    """Write table.md and table.csv into the run's folder."""
    write_atomically(Path(folder) / "table.md", markdown(results))
    write_atomically(Path(folder) / "table.csv", csv(results))


# ---- Markdown ----


def markdown(results: Results) -> str:
    """The whole table with its title and footer, for table.md and the README."""
    made = rows(results)
    best = leader(made)
    name, *others = (column for column in columns(made, results.run, results.judged) if column.heading)
    heads = [column.heading.replace(SOFT_HYPHEN, "") for column in (name, *others) if column.heading]
    lines = [
        "| " + " | ".join(heads) + " |",
        "|:--|" + "--:|" * len(others),
        *(
            "| " + " | ".join([_linked(name, row), *(_cell(column, row, row is best) for column in others)]) + " |"
            for row in made
        ),
    ]
    said = verdict(made, results)
    notes = [
        f"- {note.label}: {markdown_text(note.text) if note.plain else note.text}"
        for note in footer(results, made, said)
    ]
    answers = [f"- **{point.question}** {markdown_text(point.text)}" for point in said.points] if said else []
    head = [f"**{markdown_text(title(results))}**", "", *answers, *([""] if answers else [])]
    few = efficiency(made, results)
    return "\n".join([*head, *lines, "", *(_few(few) if few else []), *notes]) + "\n"


def _few(few: Efficiency) -> list[str]:
    """The accuracies by how many labels there are."""
    heads, lines = few.table()
    return [
        f"**{WORTH}**",
        "",
        markdown_text(few.lead),
        "",
        "| " + " | ".join(heads) + " |",
        "|:--|" + "--:|" * (len(heads) - 2) + (":--|" if few.few else "--:|"),
        *(
            "| "
            + " | ".join([markdown_text(row.title), *(f"**{c.text}**" if c.ahead else c.text for c in cells)])
            + " |"
            for row, cells in lines
        ),
        "",
    ]


def _linked(name: Column, row: Row) -> str:
    text = markdown_text(name.text(row))
    return f"[{text}]({row.paper})" if row.paper else text


def _cell(column: Column, row: Row, best: bool) -> str:
    text = column.text(row)
    return (f"**{text}**" if best and column.headline else text) + bracketed(column.note(row))


# ---- a terminal ----


def terminal(results: Results) -> str:
    """The verdict and the table in at most 100 columns."""
    made, run = rows(results), results.run
    said = verdict(made, results)
    shown = [column for column in columns(made, run, results.judged) if column.terminal]
    lines = [[column.terminal or "" for column in shown]]
    lines += [[(column.short or column.text)(row) for column in shown] for row in made]
    widths = [max(len(line[place]) for line in lines) for place in range(len(shown))]
    aligned = [
        " ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    baselines = next((place for place, row in enumerate(made) if row.baseline), len(made))
    rule = "-" * len(aligned[0])
    aligned.insert(1, rule)
    if 0 < baselines < len(made):
        aligned.insert(2 + baselines, rule)
    notes = _terminal_notes(made, run)
    if few := efficiency(made, results):
        notes = [*filter(None, map(few.told, few.best())), *notes]
    notes = [textwrap.fill(one_line(note, 1000), 100, subsequent_indent="  ") for note in notes]
    answers = [f"{point.question} {one_line(point.text, 4000)}" for point in said.points] if said else []
    wrapped = (textwrap.wrap(each, 100, subsequent_indent="  ", break_on_hyphens=False) for each in answers)
    head = [line for lines in wrapped for line in lines]
    head += [""] if head else []
    return "\n".join([*head, *aligned, *notes]) + "\n"


def _terminal_notes(made: list[Row], run: Run) -> list[str]:
    notes = [] if all(row.ranks for row in made) else [UNRANKED]
    notes += ["† brings its own encoder"] if any(row.own_encoder for row in made) else []
    named = numbers(made)
    notes += [f"{named[row.method]} is {row.title.removeprefix('frozen ')}" for row in made if row.frozen]
    notes += filter(None, [from_elsewhere(made)])
    if not named and any(row.accuracy and row.ranks for row in made):
        notes.append("--reference default would set a frozen pretrained network beside these")
    notes += [f"{ADAPTED} adapted: the table's notes say how"] if any_adapted(made) else []
    if won := [row.method for row in made if row.won == "ours"]:
        notes.append(f"our recipe, which is not the published one, won: {', '.join(won)}")
    for row in made:
        if note := seeds_note(row.accuracy, row.failed_seeds):
            notes.append(f"{row.method}: {note}{'' if row.baseline else ', so it is not ranked'}")
        if row.won != "published" and (note := seeds_note(row.published, row.published_failed_seeds)):
            notes.append(f"{row.method}, published recipe: {note}")
        if row.won != "ours" and (note := seeds_note(row.ours, row.ours_failed_seeds)):
            notes.append(f"{row.method}, our recipe: {note}")
    return notes + [f"{method} was given up: {reason}" for method, reason in (run.get("given_up") or {}).items()]


# ---- a spreadsheet ----


def csv(results: Results) -> str:
    """The table for a spreadsheet: a line per method, fractions and seconds unrounded."""
    made = rows(results)
    told = [column for column in columns(made, results.run, results.judged) if column.csv]
    lines = [{column.csv: column.value(row) for column in told} for row in made]
    return str(pd.DataFrame(lines).to_csv(index=False, lineterminator="\n"))
