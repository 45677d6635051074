"""A real browser for tests: headless Chromium, spoken to by the DevTools protocol through a pipe."""

import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-extensions", "--remote-debugging-pipe"),
)


PIPED = """
import os, sys
ends = [os.dup(int(each)) for each in sys.argv[1:3]]
ends = [os.dup2(each, 100 + place, inheritable=False) for place, each in enumerate(ends)]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Starts Chromium with the descriptors on which it listens and speaks."""


class Browser:
    """One tab. `errors` are what it wrote to its console as errors, exceptions that nobody caught among them."""

    def __init__(self, profile: Path, width: int = 1400, height: int = 900) -> None:
        (read, out), (answers, write) = os.pipe(), os.pipe()
        flags = [*FLAGS, f"--user-data-dir={profile}", "about:blank"]
        line = [sys.executable, "-c", PIPED, str(read), str(write), str(BROWSER), *flags]
        nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(line, pass_fds=[read, write], **nowhere)
        os.close(read)
        os.close(write)
        self._out, self._answers, self._buffer = out, answers, b""
        self._numbers, self.errors, self._session = itertools.count(1), [], None
        (target,) = [each for each in self._ask("Target.getTargets")["targetInfos"] if each["type"] == "page"][:1]
        attached = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._ask(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._answers)

    def resize(self, width: int, height: int = 900) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)

    def open(self, url: str) -> None:
        self._ask("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def see(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        found = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, f"{expression}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def wait(self, expression: str, timeout: float = 60) -> None:
        """Until the expression is true, as a thing of the page is that is there."""
        end = time.monotonic() + timeout
        while not self.see(f"!!({expression})"):
            assert time.monotonic() < end, f"it never came to pass: {expression}"
            time.sleep(0.1)

    def press(self, key: str) -> None:
        """Tab, Enter or Space."""
        codes = {"Tab": (9, ""), "Enter": (13, "\r"), "Space": (32, " ")}
        code, text = codes[key]
        about = {"key": text if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
        self._ask("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self._ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def picture(self, path: Path) -> None:
        import base64

        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def dark(self, on: bool = True) -> None:
        value = "dark" if on else "light"
        self._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._hear()
            self._note(heard)
            if heard.get("id") == number:
                assert "error" not in heard, f"{method}: {heard['error']}"
                return heard["result"]

    def _hear(self, timeout: float = 120) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._answers], [], [], timeout)[0], "the browser does not answer"
            more = os.read(self._answers, 1 << 20)
            assert more, "the browser has ended"
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, heard: dict[str, Any]) -> None:
        about = heard.get("params", {})
        if heard.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(about["exceptionDetails"])[:500])
        if heard.get("method") == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.errors.append(json.dumps(about["args"])[:500])
        if heard.get("method") == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.errors.append(about["entry"]["text"] + " " + about["entry"].get("url", ""))
