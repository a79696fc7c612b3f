"""Tools that stop a process at any step of its writing, and compare what is left.

A scenario is a function `(disk, *texts) -> None` in a module under `tests/`. It runs in a child:

    done = run(child("crash.scenario:whole_run", folder))

Children that die before a given step of their writing are started by `forked.crash`, with a
`CrashingDisk`.
`kill_at_random` sends SIGKILL to a child and everything that it has started. Power loss and full
disks need other disks: `RecordingDisk` is in `test_power_loss`, `FailingDisk` is here.
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from treadle.machinery.disk import Disk

CRASHED = 77
TESTS = Path(__file__).resolve().parents[1]


class CountingDisk(Disk):
    """Remembers the name of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self._guard = threading.Lock()

    def step(self, name: str, path: Path) -> None:
        with self._guard:
            self.names.append(name)
            self.reached(len(self.names), path)

    def reached(self, number: int, path: Path) -> None:
        """Called with the number of the step that is about to be taken, from 1."""


class CrashingDisk(CountingDisk):
    """Ends the process, without any clean-up, right before one step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def reached(self, number: int, path: Path) -> None:
        if number == self._at:
            os._exit(CRASHED)


class FailingDisk(CountingDisk):
    """Fails one step as the operating system would, or every step from there on."""

    def __init__(self, at: int, code: int, *, for_good: bool = False) -> None:
        super().__init__()
        self._at, self._code, self._for_good = at, code, for_good

    def reached(self, number: int, path: Path) -> None:
        if number == self._at or (self._for_good and number > self._at):
            raise OSError(self._code, os.strerror(self._code), str(path))


def child(scenario: str, *texts: object) -> list[str]:
    """Return the command that runs a scenario."""
    return [sys.executable, "-m", "crash.killing", scenario, *map(str, texts)]


def environment() -> dict[str, str]:
    """Return an environment in which a child finds the tests."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )


def kill_at_random(command: Sequence[str], chance: random.Random, within_s: float) -> bool:
    """SIGKILL a child and its whole process group at a random moment; return whether it hit."""
    process = subprocess.Popen(
        command, env=environment(), start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    try:
        _, errors = process.communicate(timeout=chance.uniform(0, within_s))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return process.returncode == -signal.SIGKILL
    assert process.returncode == 0, errors
    return False


def tree_hash(folder: Path, ignore: Sequence[str] = ()) -> dict[str, str]:
    """Return the hash of every file under a folder by its relative path.

    `ignore` holds patterns (`ledger.sqlite*`). Temp files of a dead writer are not ignored: the
    next opening of the store must have swept them.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(fnmatch.fnmatch(name, pattern) for pattern in ignore):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def main() -> None:
    """Run a scenario (the child's side of `child`)."""
    scenario, *texts = sys.argv[1:]
    module, _, function = scenario.partition(":")
    getattr(importlib.import_module(module), function)(Disk(), *texts)


if __name__ == "__main__":
    main()
