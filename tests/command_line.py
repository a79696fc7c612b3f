"""The command line, run in this process, which has imported everything, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from treadle import cli


@dataclass(frozen=True)
class Told:
    """What a command wrote, and the exit code that it ended with."""

    returncode: int
    stdout: str
    stderr: str


def treadle(*words: str, cwd: Path) -> Told:
    """Run a command in this process: a second faster, and as true but for signals and imports."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["treadle", *words])
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Told(code, out.getvalue(), err.getvalue())


def treadle_process(*words: str, cwd: Path, env: dict[str, str] | None = None) -> Told:
    """Run a command in a process of its own; `env` is added to the environment."""
    done = subprocess.run(
        [sys.executable, "-c", "from treadle.cli import main; main()", *words],
        cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=1500,
        check=False,
    )  # fmt: skip
    return Told(done.returncode, done.stdout, done.stderr)
