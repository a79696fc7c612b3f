"""A headless Chromium, driven over a pipe with the DevTools protocol: no driver, no socket.

with Browser() as browser:
    browser.open(path)
    browser.value("document.title")
    browser.events("Network.requestWillBeSent")
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-extensions", "--remote-debugging-pipe",
    "--disable-dev-shm-usage",
)  # fmt: skip


def find_chromium() -> str | None:
    """Return the path of a Chromium on this machine, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of one browser. Everything that the page did is in `log`."""

    def __init__(self, *, width: int = 1360, height: int = 900, dark: bool = False) -> None:
        self.size, self.dark = (width, height), dark
        self.log: list[dict[str, Any]] = []
        self._serial, self._pending = 0, b""

    def __enter__(self) -> Browser:
        chromium = find_chromium()
        assert chromium is not None
        self._profile = tempfile.mkdtemp(prefix="treadle-chromium-")
        commands, self._write = os.pipe()
        self._read, replies = os.pipe()

        def at_3_and_4() -> None:
            # Chromium reads commands from descriptor 3 and answers on 4. Via high numbers first:
            # the pipes may themselves have been given 3 or 4.
            high = [os.dup2(fd, fd + 100) for fd in (commands, replies)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        arguments = [chromium, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"]
        self._process = subprocess.Popen(
            arguments, preexec_fn=at_3_and_4, close_fds=False, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(replies)
        target = self.send("Target.createTarget", url="about:blank", session="")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True, session="")
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride", width=self.size[0], height=self.size[1],
            deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        theme = {"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[theme])
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)
        os.close(self._read)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, path: Path, anchor: str = "") -> None:
        """Open a file and wait until it has loaded. A dialog would be closed, and is logged."""
        loads = len(self.events("Page.loadEventFired"))
        self.send("Page.navigate", url=f"{path.resolve().as_uri()}{anchor}")
        while len(self.events("Page.loadEventFired")) <= loads:
            self._receive(60)
        self.settle()

    def settle(self, seconds: float = 0.3) -> None:
        """Collect what happens in the next moment."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._receive(left, may_time_out=True)

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the page."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def events(self, method: str) -> list[dict[str, Any]]:
        """Return what was logged under a name of the protocol."""
        return [event["params"] for event in self.log if event.get("method") == method]

    def picture(self, path: Path) -> None:
        """Save what is on screen."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    def send(self, method: str, *, session: str | None = None, **parameters: Any) -> Any:
        """Send a command and wait for its answer."""
        self._serial += 1
        message: dict[str, Any] = {"id": self._serial, "method": method, "params": parameters}
        if session is None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive(60)
            if answer is not None and answer.get("id") == message["id"]:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self, seconds: float, *, may_time_out: bool = False) -> dict[str, Any] | None:
        end = time.monotonic() + seconds
        while b"\0" not in self._pending:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                assert may_time_out, "Chromium does not answer"
                return None
            block = os.read(self._read, 1 << 20)
            assert block, "Chromium has ended"
            self._pending += block
        text, _, self._pending = self._pending.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.log.append(message)
            if message["method"] == "Page.javascriptDialogOpening":
                self._serial += 1
                close = {
                    "id": self._serial,
                    "sessionId": self._session,
                    "params": {"accept": False},
                }
                line = json.dumps(close | {"method": "Page.handleJavaScriptDialog"})
                os.write(self._write, line.encode() + b"\0")
        return message
