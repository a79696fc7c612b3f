"""A process that dies before any one step of its writing loses nothing that it had finished."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from crash.forked import crash
from crash.killing import (
    CRASHED,
    CountingDisk,
    FailingDisk,
    child,
    environment,
    kill_at_random,
    run,
    tree_hash,
)
from crash.scenario import LIMIT_TOKENS, NOT_DATA, whole_run
from treadle.errors import StoreError, TreadleError
from treadle.machinery.disk import Disk
from treadle.machinery.ledger import Ledger
from treadle.machinery.store import Store

SCENARIO = "crash.scenario:whole_run"
TASKS = {"split": 4, "merge": 3, "add_up": 1}


def committed(folder: Path) -> int:
    return len(list(folder.glob("store/commits/*/*"))) - len(
        list(folder.glob("store/commits/*/.*"))
    )


def runs(folder: Path) -> int:
    witness = folder / "witness"
    return len(witness.read_text().splitlines()) if witness.exists() else 0


def resume_and_compare(folder: Path, unbroken: dict[str, str]) -> None:
    """Resume with a plain disk; nothing may be lost, doubled or done twice."""
    finished, ran = committed(folder), runs(folder)
    assert finished <= ran
    whole_run(Disk(), str(folder))
    assert tree_hash(folder, NOT_DATA) == unbroken
    assert runs(folder) - ran == sum(TASKS.values()) - finished, "a committed task ran again"
    ledger = Ledger(folder / "ledger.sqlite")
    assert {cost["stage"]: cost["tasks"] for cost in ledger.costs()} == TASKS
    assert ledger.decisions("verdict") == [{"decision": "accept"}]
    assert ledger.tokens <= LIMIT_TOKENS
    ledger.close()


def error_of(disk: Disk, folder: Path) -> str | None:
    """Return the message of the StoreError that a run ends with; any other error is a failure."""
    try:
        whole_run(disk, str(folder))
    except StoreError as error:
        return str(error)
    return None


def steps(folder: Path) -> list[str]:
    """Return the names of all steps of an unbroken run, in order."""
    disk = CountingDisk()
    whole_run(disk, str(folder))
    return disk.names


@pytest.fixture
def unbroken(fast_path: Path) -> dict[str, str]:
    whole_run(Disk(), str(fast_path / "unbroken"))
    return tree_hash(fast_path / "unbroken", NOT_DATA)


@pytest.mark.slow
def test_a_run_stopped_before_any_step_resumes_to_the_same_bytes(
    fast_path: Path, unbroken: dict[str, str]
) -> None:
    names = steps(fast_path / "counted")
    kinds = {"write", "fsync", "rename", "link", "unlink", "fsync_folder", "mkdir"}
    assert kinds | {"sql_begin", "sql_commit"} <= set(names)
    for at in range(1, len(names) + 1):
        folder = fast_path / f"stopped-{at}"
        assert crash(folder, at=at) == CRASHED, f"step {at} was not reached"
        resume_and_compare(folder, unbroken)
    assert crash(fast_path / "whole", at=len(names) + 1) == 0


def test_a_run_stopped_before_some_steps_resumes_to_the_same_bytes(
    fast_path: Path, unbroken: dict[str, str]
) -> None:
    names = steps(fast_path / "counted")
    for at in random.Random(1).sample(range(1, len(names) + 1), 6):
        folder = fast_path / f"stopped-{at}"
        assert crash(folder, at=at) == CRASHED
        resume_and_compare(folder, unbroken)


@pytest.mark.slow
def test_a_run_stopped_again_while_it_resumes_still_ends_with_the_same_bytes(
    fast_path: Path, unbroken: dict[str, str]
) -> None:
    chance = random.Random(2)
    for number in range(10):
        folder, stops = fast_path / f"again-{number}", 0
        while crash(folder, at=chance.randrange(30, 120)) == CRASHED:
            stops += 1
        assert stops >= 2
        resume_and_compare(folder, unbroken)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_leave_the_same_bytes(
    fast_path: Path, unbroken: dict[str, str]
) -> None:
    began = time.monotonic()
    assert run(child(SCENARIO, fast_path / "timed", "0.03")).returncode == 0
    within_s = time.monotonic() - began
    chance, hits, number = random.Random(3), 0, 0
    while hits < 20:
        folder = fast_path / f"killed-{number}"
        hits += kill_at_random(child(SCENARIO, folder, "0.03"), chance, within_s)
        resume_and_compare(folder, unbroken)
        number += 1


@pytest.mark.slow
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "from_then_on"])
def test_a_step_that_fails_is_one_clear_error_and_does_no_damage(
    fast_path: Path, unbroken: dict[str, str], for_good: bool
) -> None:
    names = steps(fast_path / "counted")
    codes = [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EACCES]
    failed = Counter[int]()
    for at in range(1, len(names) + 1):
        folder, code = fast_path / f"failed-{at}", codes[at % len(codes)]
        message = error_of(FailingDisk(at, code, for_good=for_good), folder)
        if message is not None:
            assert os.strerror(code) in message
            assert str(folder) in message
            failed[code] += 1
        resume_and_compare(folder, unbroken)
    assert all(failed[code] > 5 for code in codes)


def test_the_second_process_on_a_folder_is_refused_and_a_dead_owner_is_taken_over(
    tmp_path: Path,
) -> None:
    owner = subprocess.Popen(
        child("crash.scenario:hold", tmp_path), env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        second = run(child("crash.scenario:refused", tmp_path))
        assert f"pid {owner.pid}" in second.stderr
        assert "StoreError" in second.stderr
        with pytest.raises(StoreError, match="another treadle process"):
            whole_run(Disk(), str(tmp_path))
    finally:
        owner.kill()
        owner.communicate()
    whole_run(Disk(), str(tmp_path))
    assert tree_hash(tmp_path, NOT_DATA)


def test_temp_files_of_dead_writers_are_swept_and_those_of_living_ones_are_not(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    key = store.put(b"x" * 100)
    orphan = store.path(key).with_name(".0123456789abcdef.tmp")
    orphan.write_bytes(b"half")
    seen: list[bool] = []

    class Watching(Disk):
        def step(self, name: str, path: Path) -> None:
            if name == "fsync":
                Store(tmp_path)  # another process opens the store while this one writes
                seen.append(path.exists() and not orphan.exists())

    assert Store(tmp_path, Watching()).get(key) == b"x" * 100
    assert not orphan.exists()
    Store(tmp_path, Watching()).put(b"y")
    assert seen == [True]
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_budget_that_ran_out_is_resumed_without_doing_anything_twice(
    fast_path: Path, unbroken: dict[str, str]
) -> None:
    folder = fast_path / "poor"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crash.scenario.LIMIT_TOKENS", 100)
        with pytest.raises(TreadleError, match="budget of 100 tokens") as stopped:
            whole_run(Disk(), str(folder))
    assert stopped.value.exit_code == 4
    assert 0 < committed(folder) < sum(TASKS.values())
    resume_and_compare(folder, unbroken)
