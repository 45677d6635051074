"""For tests of commands: what they answer in this process."""

import contextlib
import io
from collections.abc import Sequence

from bench.commands.main import answer, ssl_bench


def answer_of(words: Sequence[str]) -> tuple[int, str, str]:
    """(status, stdout, stderr) of `ssl-bench` with these words, on streams such as a process has."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = answer(ssl_bench, words, "ssl-bench")
    return status, *(stream.buffer.getvalue().decode() for stream in (out, err))


def check_refusal(status: int, err: str) -> None:
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert len(err) < 20_000
