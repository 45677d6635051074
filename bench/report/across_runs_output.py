"""Several runs beside each other, as text, Markdown, CSV or a page."""

import html
import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from bench.report.across_runs import AcrossRuns, Rank, accuracy
from bench.report.page import TEMPLATES
from bench.report.text import DASH, markdown_text, one_line, percent, with_interval

WIDTH = 100
"""Columns of a terminal."""


def _tables(found: AcrossRuns) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Title, heads and rows of each."""
    letters = [run.letter for run in found.runs]
    if found.settings:
        yield "What differs", ["", *letters], [[name, *values] for name, values in found.settings]
    cells = []
    for method in found.methods:
        made = [run.rows.get(method) for run in found.runs]
        cells.append([method, *(DASH if row is None else with_interval(row.accuracy) for row in made)])
    yield "Accuracy, %", ["method", *letters], cells
    if found.differences:
        lines = [
            [
                each.method,
                f"{each.second} minus {each.first}",
                f"{100 * each.mean:+.2f}" + ("" if each.half_width is None else f" ± {100 * each.half_width:.2f}"),
                DASH if each.adjusted is None else f"{each.adjusted:.3f}",
                "yes" if each.certain else "not known" if each.adjusted is None else "no",
            ]
            for each in found.differences
        ]
        yield "Differences, points", ["method", "runs", "difference", "p, Holm", "more than noise"], lines
    if found.ranks:
        lines = [
            [
                each.method,
                f"{each.mean:.2f}",
                f"{each.low:.2f} to {each.high:.2f}",
                f"{percent(each.wins)}",
                f"{percent(each.ahead)}",
            ]
            for each in found.ranks
        ]
        yield "Over runs", ["method", "mean rank", "95 %", "leads, % of pairs", "P(ahead), %"], lines
    if found.agreement:
        lines = [[f"{one}, {other}", f"{value:+.2f}"] for one, other, value in found.agreement]
        yield "Rank correlation of runs (Spearman)", ["runs", "correlation"], lines


def terminal(found: AcrossRuns) -> str:
    """All of it in at most 100 columns."""
    parts = ["\n".join(f"{run.letter}  {one_line(run.title, 90)}" for run in found.runs)]
    for title, heads, lines in _tables(found):
        if title == "What differs":
            parts.append("\n".join([title, *_listed(heads[1:], lines)]))
        else:
            parts += _blocks(title, heads, lines)
    parts.append("\n".join(textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in found.notes))
    return "\n\n".join(parts) + "\n"


def _listed(letters: Sequence[str], lines: list[list[str]]) -> Iterator[str]:
    for name, *values in lines:
        told = "; ".join(f"{letter}: {value}" for letter, value in zip(letters, values, strict=True))
        yield textwrap.fill(f"{name}: {told}", WIDTH, subsequent_indent="    ", break_long_words=True)


def _blocks(title: str, heads: list[str], lines: list[list[str]]) -> Iterator[str]:
    """A table, its columns in several blocks where they are too many for a line."""
    all_lines = [[one_line(cell, 40) for cell in line] for line in (heads, *lines)]
    widths = [max(len(line[place]) for line in all_lines) for place in range(len(heads))]
    places = list(range(1, len(heads)))
    while places:
        taken, width = [0], widths[0]
        while places and (len(taken) == 1 or width + 2 + widths[places[0]] <= WIDTH):
            width += 2 + widths[places[0]]
            taken.append(places.pop(0))
        made = [
            "  ".join(line[at].ljust(widths[at]) if at == 0 else line[at].rjust(widths[at]) for at in taken).rstrip()
            for line in all_lines
        ]
        yield "\n".join([title, *made])


def markdown(found: AcrossRuns) -> str:
    """The same for a README."""
    parts = ["\n".join(f"- {run.letter}: {markdown_text(run.title)}" for run in found.runs)]
    for title, heads, lines in _tables(found):
        rule = "|:--|" + "--:|" * (len(heads) - 1)
        table = [f"| {' | '.join(markdown_text(cell) for cell in line)} |" for line in (heads, *lines)]
        parts.append("\n".join([f"**{title}**", "", table[0], rule, *table[1:]]))
    parts.append("\n".join(f"- {markdown_text(note)}" for note in found.notes))
    return "\n\n".join(parts) + "\n"


def csv(found: AcrossRuns) -> str:
    """A line for each method in each run: fractions, unrounded; and its rank over all runs where there is one."""
    ranks: Mapping[str, Rank] = {rank.method: rank for rank in found.ranks}
    lines = []
    for run in found.runs:
        for method, row in sorted(run.rows.items()):
            estimate, rank = accuracy(row), ranks.get(method)
            lines.append(
                {
                    "run": run.title,
                    "letter": run.letter,
                    "method": method,
                    "accuracy": estimate.mean,
                    "half_width": estimate.half_width,
                    "seeds": len(estimate.values),
                    "mean_rank": rank and rank.mean,
                    "rank_low": rank and rank.low,
                    "rank_high": rank and rank.high,
                    "win_rate": rank and rank.wins,
                    "probability_ahead": rank and rank.ahead,
                }
            )
    text = io.StringIO()
    pd.DataFrame(lines).to_csv(text, index=False, lineterminator="\n")
    return text.getvalue()


def page(found: AcrossRuns) -> str:
    """A page of its own, that needs no network and no script."""
    tables = [{"title": title, "heads": heads, "lines": lines} for title, heads, lines in _tables(found)]
    return TEMPLATES.get_template("across_runs.html").render(
        title="Runs compared", runs=found.runs, tables=tables, notes=found.notes, chart=_chart(found.ranks)
    )


def _chart(ranks: Sequence[Rank]) -> str:
    """Mean ranks with their intervals, as SVG."""
    if not ranks:
        return ""
    row, left, width, most = 26, 150, 700, len(ranks)

    def across(rank: float) -> float:
        return left + (rank - 1) / max(1, most - 1) * (width - left - 20)

    parts = [
        f'<svg class="ranks" viewBox="0 0 {width} {row * (most + 1) + 10}" role="img" '
        'aria-label="Mean rank of each method with its 95 % interval; left is better">'
    ]
    for at in range(1, most + 1):
        x = across(at)
        parts.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{row * most}"/>')
        parts.append(f'<text class="axis" x="{x:.1f}" y="{row * most + 20}" text-anchor="middle">{at}</text>')
    for place, rank in enumerate(ranks):
        y = row * place + row / 2
        low, middle, high = map(across, (rank.low, rank.mean, rank.high))
        name = html.escape(one_line(rank.method, 20))
        parts.append(f'<text x="{left - 12}" y="{y + 5}" text-anchor="end">{name}</text>')
        parts.append(f'<line class="interval" x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}"/>')
        parts.append(f'<circle cx="{middle:.1f}" cy="{y}" r="5"/>')
    return "".join([*parts, "</svg>"])
