"""The console script `ssl-bench`: a subcommand for each file that `COMMANDS` names; and how every command answers."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import click

from bench.commands.options import SETTINGS
from bench.errors import UserError
from bench.output import readerless

COMMANDS = (
    *("run", "watch", "stop", "train", "evaluate", "embed", "export", "profile", "report", "anchors"),
    *("methods", "simulate", "log", "export-optuna", "bundle", "verify", "compare"),
)
"""Each is `command` in the file of its name, with underscores for hyphens."""
COMPLETING = "_SSL_BENCH_COMPLETE"
"""The variable by which a shell asks for completions."""
PROJECT = Path(__file__).resolve().parents[2]


class Subcommands(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"bench.commands.{name.replace('-', '_')}").command
        return command


ssl_bench = Subcommands(
    "ssl-bench",
    help="Which self-supervised method should I use on my images, tuned fairly, for the compute I have?",
    epilog='Your shell completes commands, options and names after: eval "$(_SSL_BENCH_COMPLETE=bash_source ssl-bench)"'
    " (or zsh_source).",
    context_settings=SETTINGS,
)


def main() -> int:
    """What the console script calls; returns the exit status."""
    see_working_directory()
    if instruction := os.environ.get(COMPLETING):
        from click.shell_completion import shell_complete

        return shell_complete(ssl_bench, {}, "ssl-bench", COMPLETING, instruction)
    return answer(ssl_bench, sys.argv[1:] or ["--help"], "ssl-bench")


def see_working_directory() -> None:
    """Find the user's modules in the working directory: last, so that a file there hides nothing else, and after this
    project, which an editable installation would leave to be found even later."""
    sys.path += [place for place in (str(PROJECT), os.getcwd()) if place not in sys.path]


@readerless()
def answer(command: click.Command, words: Sequence[str], name: str) -> int:
    """Do what the words say, or say on one line what is wrong; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what it cannot show shall not end a run
            stream.reconfigure(errors="backslashreplace")
    try:
        with some_home(), command.make_context(name, list(words)) as context:
            return command.invoke(context) or 0
    except click.exceptions.Exit as end:  # after --help
        return end.exit_code
    except click.ClickException as error:
        print(f"error: {UserError(_sentence(error))}; --help lists the options", file=sys.stderr)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:  # of a disk: all that was measured is in the ledger
        begun = " (without --fresh)" if "--fresh" in words else ""
        print(f"error: {error}; mend that and run the same command again{begun}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted; nothing that was measured is lost", file=sys.stderr)
        return 130
    return 2


def _sentence(error: click.ClickException) -> str:
    """What is wrong, in the words of all other refusals."""
    if isinstance(error, click.BadParameter) and error.param is not None:
        if isinstance(error, click.MissingParameter):
            return f"{error.param.human_readable_name} is needed"
        named = error.param.opts[0] if isinstance(error.param, click.Option) else error.param.human_readable_name
        return f"argument {named}: {error.message.rstrip('.')}"
    text = error.format_message().rstrip(".")
    return text[:1].lower() + text[1:]


@contextlib.contextmanager
def some_home() -> Iterator[None]:
    """Where this user has no home and no name, as in many containers, a temporary folder and a number: PyTorch, Ray and
    Matplotlib ask for both."""
    try:
        Path.home()
    except RuntimeError:
        os.environ.setdefault("USER", str(os.getuid()))
        with tempfile.TemporaryDirectory(prefix="ssl-bench-home-") as os.environ["HOME"]:
            try:
                yield
            finally:
                del os.environ["HOME"]
    else:
        yield
