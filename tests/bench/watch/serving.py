"""For tests of what is watched: a server in this process, and what it answers."""

import contextlib
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

from bench.watch.server import Server
from bench.watch.several import Runs


@contextlib.contextmanager
def serving(*folders: Path, expected: bool = False) -> Iterator[Server]:
    server = Server(Runs(folders, expected=expected), port=None)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", host: str | None = None) -> tuple[int, str, bytes]:
    """(status, its type or where it leads, content); the path is sent as it is."""
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=host is not None)
        if host:
            connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        about = answer.getheader("Location") or answer.getheader("Content-Type") or ""
        return answer.status, about, answer.read()
    finally:
        connection.close()
