"""`ssl-bench methods [NAME]`: what each method is, needs and costs."""

from pathlib import Path

import click

from algorithms import METHODS, WITH_TEACHER
from bench.commands.options import SETTINGS, folder, option
from bench.errors import UserError
from bench.search.methods import check_methods


def _names(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    return [name for name in METHODS | WITH_TEACHER if name.startswith(begun)]


@click.command("methods", context_settings=SETTINGS)
@click.argument("name", required=False, shell_complete=_names)
@option("--write", "Write the pages of all methods and the index there, as Markdown.", read=folder, metavar="FOLDER")
def command(name: str | None, write: Path | None) -> None:
    """Tells what each method is, needs and costs.

    Without NAME it prints an index, with it the method's page as Markdown: the idea, the equation, the code, the recipe
    with its sources, what was measured, and when to choose it.

    \b
    ssl-bench methods
    ssl-bench methods byol
    ssl-bench methods --write docs/methods
    """
    if name is not None and write is not None:
        raise UserError("--write writes the pages of all methods; leave out the name")
    if name is not None:
        check_methods([name])
    if write is not None and write.exists() and not write.is_dir():
        raise UserError(f"{write} is a file; give --write a folder")
    from bench.guide import index, page, pages

    if write is not None:
        print(f"Pages: {write} ({len(pages.write(write))} files)")
    else:
        print(index.terminal() if name is None else page.page(name), end="" if name else "\n")
