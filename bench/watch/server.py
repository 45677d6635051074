"""The server of `ssl-bench watch`: it reads runs, and writes nothing.

`python -m bench.watch.server RUN_DIR` serves one run until its standard input ends: as `ssl-bench run --watch` has it
beside itself, in a process of its own, so that it takes nothing from the run's.
"""

import contextlib
import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from plotly.offline import get_plotlyjs

from bench.errors import UserError
from bench.output import readerless
from bench.watch.several import Runs, side_by_side

PORT, TRIED = 8700, 100
"""Where nothing else is asked for, the first of so many ports from this one on that is free."""
NICENESS = 19
"""Of a watcher: whatever trains comes first."""
TURN = 0.5
"""Seconds between two looks whether a page is to be made."""
FIRST = 3.0
"""Seconds that a browser waits at most for a report that was never made; then it comes later."""
TYPES = {
    "": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".ico": "image/x-icon",
    ".parquet": "application/vnd.apache.parquet",
    ".md": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
}
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'"
"""A page fetches nothing from elsewhere. Plotly makes code of its own for some charts."""


def is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Server(ThreadingHTTPServer):
    """Serves `runs` at `host`; at `port`, or at the first that is free where that is None. Raises UserError."""

    daemon_threads = True

    def __init__(self, runs: Runs, host: str = "127.0.0.1", port: int | None = None) -> None:
        self.runs, self.host = runs, host
        self._end = threading.Event()
        ports = range(PORT, PORT + TRIED) if port is None else [port]
        try:
            self.address_family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        except OSError as error:
            raise UserError(f"--host {host} is no address of this machine ({error.strerror or error})") from error
        for each in ports:
            try:
                super().__init__((host, each), Handler)
                break
            except OSError as error:
                if each == ports[-1]:
                    why = error.strerror or error
                    raise UserError(
                        f"{host}:{each} cannot be served at ({why}); give another --host or --port"
                    ) from error

    def server_bind(self) -> None:
        """Without asking who this host is, which may take long where no name server answers."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.host, self.server_address[1]

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_port}/"

    def serve(self) -> None:
        """Until `shutdown`."""
        threading.Thread(target=self._make_pages, daemon=True).start()
        try:
            self.serve_forever(poll_interval=0.2)
        finally:
            self._end.set()
            self.server_close()

    def _make_pages(self) -> None:
        """In a thread of its own, so that who asks is answered meanwhile."""
        while not self._end.wait(TURN):
            for run in list(self.runs.known.values()):
                if run.due:
                    run.make()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is nothing to tell."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@cache
def _plotly() -> bytes:
    script: str = get_plotlyjs()
    return script.encode()


@cache
def _script() -> bytes:
    return (files("bench.watch") / "templates" / "live.js").read_bytes()


class Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "ssl-bench", ""

    def do_GET(self) -> None:
        if not self._host_is_right():
            self._tell(
                HTTPStatus.FORBIDDEN,
                b"This address is another host's; open the one that ssl-bench watch printed.\n",
                ".md",
            )
            return
        path, _, query = self.path.partition("?")
        found = self._find(path.split("/")[1:], parse_qs(query))
        if found is None:
            self._tell(HTTPStatus.NOT_FOUND, b"There is nothing here; / has all that is watched.\n", ".md")
        elif isinstance(found, str):
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", found)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._tell(HTTPStatus.OK, *found)

    do_HEAD = do_GET

    def _host_is_right(self) -> bool:
        """Whether a browser has found this machine by a name of its own: else a page from elsewhere could have its name
        lead here, and read what is on the loopback address (DNS rebinding)."""
        if not is_loopback(self.server.host):
            return True
        try:
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        except ValueError:
            return False
        return name is not None and is_loopback(name)

    def _find(self, words: list[str], query: dict[str, list[str]]) -> tuple[bytes, str] | str | None:
        """The content at a path and the ending that tells its type, or where it is instead; None where nothing is.
        Nothing of a path becomes one of a file: names are looked up among those that there are."""
        runs, since = self.server.runs, query.get("since", [""])[0]
        if words == [""]:
            return f"/{next(iter(runs.known))}/" if runs.single else (runs.page().encode(), ".html")
        if not words:
            return None
        name, *rest = words
        if not rest:
            if name == "plotly.min.js":
                return _plotly(), ".js"
            if name == "favicon.ico":  # which browsers ask for by themselves
                return b"", ".ico"
            if name == "live.js":
                return _script(), ".js"
            if name == "state" and not runs.single:
                runs.look()
                return runs.list.since(since).encode(), ".json"
            if name == "side-by-side" and not runs.single:
                chosen = [
                    (each, runs.known[each]) for each in dict.fromkeys(query.get("run", ())) if each in runs.known
                ]
                return side_by_side(chosen).encode(), ".html"
            return f"/{name}/" if name in runs.known else None
        run = runs.known.get(name)
        if run is None or len(rest) > 1:
            return None
        (file,) = rest
        if file == "":
            run.look()
            run.made.wait(FIRST)
            return run.page().encode(), ".html"
        if file == "state":
            run.look()
            return run.versions.since(since).encode(), ".json"
        if file in ("plotly.min.js", "live.js"):
            return (_plotly() if file.startswith("plotly") else _script()), ".js"
        content = run.file(file)
        return None if content is None else (content, Path(file).suffix)

    def _tell(self, status: HTTPStatus, content: bytes, ending: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", TYPES[ending])
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "max-age=3600" if content is _plotly() else "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def be_nice() -> None:
    """Let whatever trains on this machine come first."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)


@contextlib.contextmanager
def _until_end_of(stream: IO[Any], server: Server) -> Iterator[None]:
    def wait() -> None:
        while stream.read(1):
            pass
        server.shutdown()

    threading.Thread(target=wait, daemon=True).start()
    yield


@readerless()
def main() -> int:
    be_nice()
    try:
        server = Server(Runs([Path(sys.argv[1])], expected=True))
    except UserError as error:
        print(f"warning: the run cannot be watched: {error}", file=sys.stderr)
        return 0
    print(f"Watch: {server.url}", flush=True)
    with _until_end_of(sys.stdin, server):
        server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
