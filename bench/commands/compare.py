"""`ssl-bench compare RUN RUN ...`: several runs beside each other."""

from pathlib import Path

import click

from bench.commands.options import SETTINGS, folder, option


@click.command("compare", context_settings=SETTINGS)
@click.argument("runs", metavar="RUN RUN ...", type=folder, nargs=-1)
@option("--output", "Write it to a file, too: .md, .csv or .html.", read=folder, metavar="FILE")
def command(runs: tuple[Path, ...], output: Path | None) -> None:
    """Compares runs: folders, or bundles.

    It tells what differs in how they were made, each method's accuracy in each, which differences are more than noise,
    each method's mean rank over the runs, and how well the runs agree.

    \b
    ssl-bench compare reports/cifar10-resnet18 reports/cifar10-resnet8 --output compared.html
    """
    from bench.errors import UserError
    from bench.files import check_output, write_atomically

    endings = (".md", ".csv", ".html")
    if output is not None:
        if output.suffix not in endings:
            raise UserError(f"{output} ends in {output.suffix or 'nothing'}; give a file in {', '.join(endings)}")
        check_output(output)
    from bench.report import across_runs, across_runs_output, bundle

    found = across_runs.compare([(str(run), bundle.load(run)) for run in runs])
    print(across_runs_output.terminal(found), end="")
    if output is not None:
        makers = (across_runs_output.markdown, across_runs_output.csv, across_runs_output.page)
        made = dict(zip(endings, makers, strict=True))[output.suffix]
        write_atomically(output, made(found))
        print(f"\nWritten: {output}")
