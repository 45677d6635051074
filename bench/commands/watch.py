"""`ssl-bench watch RUN_DIR...`: the page of a run, renewed while it goes on."""

import contextlib
import sys
from pathlib import Path

import click

from bench.commands.options import SETTINGS, folder, option, whole


@click.command("watch", context_settings=SETTINGS)
@click.argument("run_dirs", metavar="RUN_DIR...", type=folder, nargs=-1, required=True)
@option("--host", "The address to serve at; default: 127.0.0.1, this machine alone.", default="127.0.0.1")
@option(
    "--port",
    "The port to serve at; default: 8700, or the next that is free.",
    read=whole(1, 65535),
    default=None,
    metavar="NUMBER",
)
def command(run_dirs: tuple[Path, ...], host: str, port: int | None) -> None:
    """Shows runs in a browser while they go on.

    The page has what runs now, what is spent, and the report so far. It reads, and changes nothing. It takes the
    folders of runs, also of finished ones, or a folder that has several in it: these are listed, and can be set side by
    side.

    \b
    ssl-bench watch reports/cifar10-resnet18
    ssl-bench watch reports --port 8000
    """
    from bench.watch import server
    from bench.watch.several import Runs

    served = server.Server(Runs(run_dirs), host, port)
    if not server.is_loopback(host):
        click.echo(f"warning: whoever reaches {host} can read these runs; there is no password", file=sys.stderr)
    server.be_nice()
    with contextlib.suppress(KeyboardInterrupt):
        click.echo(f"Watch: {served.url} (Ctrl-C ends it)")
        served.serve()
