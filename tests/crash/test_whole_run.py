"""A whole run of the scripted student, stopped everywhere: it always resumes to the same bytes.

While one run works, the folder is copied before every step that could be its last, if the step
before changed anything (temp files alone: one step in nine). Each copy is what a crash at that
moment leaves, and is resumed in a process of its own.
`TREADLE_KILLS` sets the number of random kills (20 by default; `make crash` sets 200).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from crash.forked import is_forked, started, turn
from crash.killing import CountingDisk, tree_hash
from turns import write_turn

# Small, but with every kind of stage: audits with tasks of their own, features, a student trained on
# the way of the selection, arms, a reference.
RECIPE = """\
student: scripted
data: {train: pool.jsonl, evaluate: heldout.jsonl, sample: 16}
audit: {near_duplicates: 0.8, contamination: {ngram: 6}}
select: {method: mods, by: ifd, keep: 30%}
train: {method: ngram}
gate: {metric: nll, controls: [random], reference: full, seeds: 1}
"""
AT_ONCE = 2
NOT_DATA = ["*/ledger.sqlite*", "*/.lock", "*/estimate.json", "*/report.html"]


def left(folder: Path) -> dict[str, str]:
    """Hashes of all that is durable. Blobs that a crash orphaned cost room only: not compared."""
    found = tree_hash(folder / "runs", ignore=NOT_DATA)
    return {name: value for name, value in found.items() if not name.startswith(".store/objects")}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    write_turn(folder, RECIPE, rows=14)
    turn(folder)
    return left(folder)


class CopyingDisk(CountingDisk):
    """Before each step, resumes a copy of the folder, unless nothing has changed since the last."""

    def __init__(self, folder: Path, copies: Path, wanted: dict[str, str]) -> None:
        super().__init__()
        self._folder, self._copies, self._wanted = folder, copies, wanted
        self._seen: frozenset[tuple[str, int, int]] = frozenset()
        self.resumed: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._running: list[tuple[str, Path, ForkServerProcess]] = []

    def reached(self, number: int, path: Path) -> None:
        # What differs in temp files alone is resumed now and then only: the store sweeps them.
        state = frozenset(
            (str(p), p.stat().st_size, p.stat().st_mtime_ns)
            for p in self._folder.rglob("*")
            if p.is_file() and (number % 9 == 0 or p.suffix != ".tmp")
        )
        if state == self._seen:
            return
        self._seen = state
        self._resume(number)
        self.resumed[self.names[-1]] += 1

    def _resume(self, number: int) -> None:
        copy = self._copies / str(number)
        shutil.copytree(self._folder, copy)
        place = f"before step {number}, {self.names[-1]}"
        self._running.append((place, copy, started(turn, copy)))
        if len(self._running) == AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Wait for the resumed runs and compare what they left."""
        for place, copy, process in self._running:
            process.join()
            if process.exitcode != 0:
                self.wrong.append(f"{place}: the resumed run failed")
            elif left(copy) != self._wanted:
                self.wrong.append(f"{place}: the resumed run ended with other bytes")
            shutil.rmtree(copy)
        self._running.clear()


def test_a_process_starts_with_everything_imported() -> None:
    process = started(is_forked)
    process.join()
    assert process.exitcode == 0


@pytest.mark.slow
def test_a_run_stopped_at_any_step_of_its_writing_resumes_to_the_same_bytes(
    unbroken: dict[str, str], fast_path: Path
) -> None:
    write_turn(fast_path / "run", RECIPE, rows=14)
    disk = CopyingDisk(fast_path / "run", fast_path / "copies", unbroken)
    turn(fast_path / "run", disk)
    disk.finish()
    assert disk.wrong == []
    assert left(fast_path / "run") == unbroken
    assert sum(disk.resumed.values()) > 100
    assert set(disk.resumed) >= {"write", "fsync", "unlink", "sql_begin"}


@pytest.mark.slow
def test_a_run_killed_at_random_moments_resumes_to_the_same_bytes(
    unbroken: dict[str, str], fast_path: Path
) -> None:
    kills, done, chance = int(os.environ.get("TREADLE_KILLS", "20")), 0, random.Random(8)
    write_turn(fast_path / "timed", RECIPE, rows=14)
    started(is_forked).join()  # now the server has started, too
    began = time.monotonic()
    started(turn, fast_path / "timed").join()
    length_s = time.monotonic() - began
    for number in range(10 * kills):
        folder = fast_path / str(number)
        write_turn(folder, RECIPE, rows=14)
        code: int | None = None
        while code != 0 and done < kills:
            process = started(turn, folder)
            process.join(chance.uniform(0, length_s))
            process.kill()
            process.join()
            code = process.exitcode
            assert code in (0, -signal.SIGKILL)
            done += code != 0
        process = started(turn, folder)
        process.join()
        assert process.exitcode == 0
        assert left(folder) == unbroken
        if done >= kills:
            break
    assert done == kills
