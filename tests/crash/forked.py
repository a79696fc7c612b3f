"""Processes that are forked from a server that has imported everything.

Starting Python and importing treadle costs more than a small run does, and crash tests start
hundreds of processes. Each is a real one: it can be killed, and nothing of its memory is left.

    process = started(turn, folder)
    process.kill()
    process.join()
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from crash.killing import CRASHED, CrashingDisk, environment
from crash.scenario import whole_run
from treadle import op as registry
from treadle import wheel
from treadle.machinery.code import code_hash
from treadle.machinery.disk import Disk

IMPORTED_BY = os.getpid()
for op in registry.ops():
    code_hash(op.factory.__module__)  # remembered, so that no child has to read all sources

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["pytest", __name__])


def started(target: Callable[..., object], *arguments: object) -> ForkServerProcess:
    """Start a process that calls `target`, a function of a module that it can import."""
    process = _server.Process(target=target, args=arguments)
    with pytest.MonkeyPatch.context() as patch:
        # Up to Python 3.12 the server is not told where modules lie, and then imports none.
        patch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
        process.start()
    return process


def crash(folder: Path, *, at: int) -> int:
    """Do a `whole_run` that dies before step `at` of its writing; return the exit code."""
    process = started(_stopped_run, folder, at)
    process.join()
    assert process.exitcode in (0, CRASHED), "the error is on stderr"
    return process.exitcode


def _stopped_run(folder: Path, at: int) -> None:
    whole_run(CrashingDisk(at), str(folder))


def turn(folder: Path, disk: Disk | None = None) -> None:
    """Turn the wheel once in a folder with a recipe."""
    wheel.run(folder / "recipe.yaml", out=folder / "runs" / "x", progress=False, disk=disk)


def is_forked() -> None:
    """Fail in a process that had to import this module itself."""
    assert os.getpid() != IMPORTED_BY
