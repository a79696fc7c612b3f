"""llama.cpp's server in this process, as the wheel `xllamacpp` has it.

    python -m treadle.models.serving.server FILE.gguf --model NAME

It listens on this machine only, answers no other web page's scripts, and shows nobody's prompts.

Threads of llama.cpp wait for each other by spinning, so one that shares its core with other work
stops all: on two busy cores two threads made 6 tokens a second and one made 147. It therefore gets
one thread fewer than there are cores, unless it is told otherwise.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.errors import ModelError

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a file is served: `context` is tokens a request on the average, prompt and reply together."""

    file: Path
    model: str
    port: int = 0
    parallel: int = 16
    context: int = 2048
    threads: int | None = None

    def words(self) -> list[str]:
        """Return them as arguments of this module."""
        named = [
            f"--{name}={getattr(self, name)}" for name in ("model", "port", "parallel", "context")
        ]
        return [str(self.file), *named, *([f"--threads={self.threads}"] if self.threads else [])]


def start(settings: Settings) -> Any:
    """Start the server, and return it once it answers; it stops when nobody holds it any more.

    Raises:
        ModelError: xllamacpp is not installed, the file is no model, or the port is taken.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise ModelError(
            "serving a model needs the package xllamacpp. Run: pip install 'treadle[serve]'"
        ) from error
    threads = settings.threads or max(1, (os.cpu_count() or 1) - 1)
    params = xllamacpp.CommonParams()
    params.model.path = str(settings.file)
    params.model_alias = {settings.model}
    params.hostnames, params.port = [HOST], settings.port
    params.n_parallel, params.kv_unified = settings.parallel, True
    params.n_ctx = settings.parallel * settings.context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = -1
    params.ui = params.endpoint_slots = params.endpoint_props = False
    params.cors_origins = ""
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise ModelError(
            f"{settings.file.name}: llama.cpp cannot serve it on port {settings.port or 'any'} "
            f"({error}). Is it a GGUF file, is the port free, and is there memory for "
            f"{settings.parallel} × {settings.context:,} tokens?"
        ) from error


def _until_end(ended: threading.Event) -> None:
    """Tell when standard input has ended."""
    sys.stdin.read()
    ended.set()


def main() -> None:
    """Serve until standard input ends: with its parent, however that dies."""
    parser = argparse.ArgumentParser(description="Serve a GGUF file on this machine.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", required=True, help="the name that requests use")
    for name in ("port", "parallel", "context", "threads"):
        parser.add_argument(f"--{name}", type=int, default=None)
    given = vars(parser.parse_args())
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    try:
        server = start(settings)
    except ModelError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    print(server.listening_address, flush=True)
    ended = threading.Event()
    threading.Thread(target=_until_end, args=(ended,), daemon=True).start()
    ended.wait()
    os._exit(0)  # requests in flight would hold llama.cpp's own threads


if __name__ == "__main__":
    main()
