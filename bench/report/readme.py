"""The table of a run in a README, between its markers."""

from pathlib import Path

from bench.errors import UserError
from bench.files import write_atomically
from bench.report.results import Results
from bench.report.run import fact
from bench.report.table import markdown
from bench.report.text import one_line


def publish(results: Results, readme: str | Path, name: str | None = None) -> bool:
    """Put the table of a CIFAR-10 run into the README, at the place of that `name`.

    Returns whether the file changed. Raises UserError where the run is on other images or has no place there.
    """
    check_place(readme, str(fact(results.run, "dataset")), name, results.judged.ranks)
    return update_readme(readme, markdown(results), name)


def check_place(readme: str | Path, dataset: str, name: str | None = None, by_labels: bool = True) -> None:
    """Raises UserError unless a run on this data set, judged by labels, may have its table at the README's place of
    that `name`."""
    if not by_labels:
        raise UserError(
            f"the tables in {readme} are of test accuracies, and this run has no labels; leave out --update-readme"
        )
    if dataset != "cifar10":
        raise UserError(
            f"the tables in {readme} are of runs on cifar10, and this one is on {one_line(dataset)}; leave out "
            "--update-readme"
        )
    _parts(readme, name)


def update_readme(readme: str | Path, text: str, name: str | None = None) -> bool:
    """Replace what stands between `<!-- table:begin -->` and `<!-- table:end -->`, with a name between
    `<!-- table:NAME:begin -->` and its end.

    Returns whether the file changed. Raises UserError unless each marker stands once, and OSError.
    """
    head, inside, tail = _parts(readme, name)
    newline = "\r\n" if "\r\n" in head + inside + tail else "\n"
    fresh = f"{newline}{newline}{text.strip().replace(chr(10), newline)}{newline}{newline}"
    if fresh == inside:
        return False
    write_atomically(readme, (head + fresh + tail).encode())
    return True


def _parts(readme: str | Path, name: str | None) -> tuple[str, str, str]:
    """The README up to the end of the begin marker, what stands between the markers, and the rest."""
    prefix = "table" if name is None else f"table:{name}"
    begin, end = f"<!-- {prefix}:begin -->", f"<!-- {prefix}:end -->"
    try:
        text = Path(readme).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{readme} cannot be read as text ({error}); it should hold {begin} and {end}") from error
    start, stop = text.find(begin), text.find(end)
    if text.count(begin) != 1 or text.count(end) != 1 or stop < start:
        raise UserError(f"{readme} should hold the lines {begin} and {end} once each, in this order")
    start += len(begin)
    return text[:start], text[start:stop], text[stop:]
