"""A server for tests as a process of its own on this machine, for the length of a `with`.

It outlives the client that a test kills, and says the port that it got on its first line.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Self


class Loopback:
    """Runs `python -m MODULE ARGUMENTS --port PORT`."""

    def __init__(self, module: str, arguments: Sequence[str], port: int) -> None:
        self._command = [sys.executable, "-m", module, *arguments, "--port", str(port)]
        self._process: subprocess.Popen[str] | None = None
        self.port = port

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"
