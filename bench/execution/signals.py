"""SIGINT, SIGTERM and SIGUSR1 (that of batch systems), which end a run in good order."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Signals:
    """Takes the first signal; a second one has its usual effect."""

    def __init__(self) -> None:
        self.received: int | None = None
        main = threading.current_thread() is threading.main_thread()  # no other can handle signals
        self._usual: dict[int, Any] = {number: signal.getsignal(number) for number in NUMBERS} if main else {}

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """They are taken as long as this context."""
        self.take()
        try:
            yield
        finally:
            self._give_back()

    def take(self) -> None:
        """Once more, where a library has put its own handlers in their place."""
        if self.received is not None:
            self._give_back()
            return
        for number in self._usual:
            signal.signal(number, self._handle)

    def _give_back(self) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Without a word: it may come in the middle of another."""
        self._give_back()
        self.received = number


@contextlib.contextmanager
def interrupting() -> Iterator[None]:
    """SIGTERM and SIGUSR1 are a KeyboardInterrupt too: what was begun is removed, as after SIGINT."""
    main = threading.current_thread() is threading.main_thread()
    usual = {number: signal.getsignal(number) for number in NUMBERS[1:]} if main else {}
    for number in usual:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
