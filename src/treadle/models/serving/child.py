"""A served model as a process of its own, for the length of a `with`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from treadle.errors import ModelError
from treadle.models.serving.gguf_file import find
from treadle.models.serving.server import Settings


class Served:
    """The embedded model, one of its trained students, or any GGUF file, behind an endpoint.

    The process ends with the block, and with this process, however that ends.
    """

    def __init__(
        self,
        name: str = "embedded",
        *,
        adapter: Path | None = None,
        port: int = 0,
        parallel: int = 16,
        context: int = 2048,
        threads: int | None = None,
    ) -> None:
        """Say what to serve.

        Raises:
            ModelError: there is no such model.
        """
        found = find(name, adapter)
        self.model = found.model
        self.settings = Settings(found.file, found.model, port, parallel, context, threads)
        self.url = ""
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Served:
        command = [sys.executable, "-m", "treadle.models.serving.server", *self.settings.words()]
        with tempfile.TemporaryFile("w+") as complaints:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True
            )
            assert self.process.stdout is not None
            line = self.process.stdout.readline().strip()
            if not line:  # it died before it listened
                self.kill()
                complaints.seek(0)
                raise ModelError(complaints.read().strip() or "the server died without a word.")
        self.url = f"{line}/v1"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End the process at once, whatever it is at."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process = None
