"""Standard output and error whose reader may go away, as that of `| head` does: the command goes on without it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class _Readerless:
    """A text stream; what is written when its reader has gone is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._forget_reader()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._forget_reader()

    def _forget_reader(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # also for what is flushed when the process ends
        os.close(nowhere)


@contextlib.contextmanager
def readerless() -> Iterator[None]:
    """Standard output and error go on where nobody reads them."""
    out, error = _Readerless(sys.stdout), _Readerless(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            yield
        finally:
            out.flush()
            error.flush()
