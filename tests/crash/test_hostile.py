"""Whatever the hostile engine does to the attempts of a task, the results are the local engine's.

Small jobs here; the real stages are in `test_hostile_stages`. A failure names its seed, which does
the same again.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from crash import toy
from crash.hostility import hostile_hits, local
from treadle.errors import BudgetError, StoreError
from treadle.machinery.disk import Disk
from treadle.machinery.engine import Stage, Task, gather
from treadle.machinery.hostile import FAULTS, HostileEngine
from treadle.machinery.store import Store


@pytest.mark.slow
def test_two_hundred_hostile_runs_give_the_local_bytes_and_meet_every_fault(
    fast_path: Path,
) -> None:
    hits = hostile_hits(toy.job, range(200), fast_path)
    # Equal work gives equal bytes here, so no late attempt has anything else to say.
    assert {fault for fault in FAULTS if hits[fault] < 10} == {"overruled"}


def test_ten_hostile_runs_give_the_local_bytes(fast_path: Path) -> None:
    hits = hostile_hits(toy.job, range(1_000, 1_010), fast_path)
    assert hits["killed_put"]
    assert hits["late_commit"]


def all_see_one_winner(seeds: range, folder: Path) -> Counter[str]:
    hits = Counter[str]()
    for seed in seeds:
        root = folder / str(seed)
        engine = HostileEngine(Store(root / "store"), seed)
        first = toy.dice(engine)
        second = toy.dice(engine)
        engine.finish()
        assert first == second == toy.dice(local(root)), f"seed {seed}"
        hits += engine.hits
    return hits


@pytest.mark.slow
def test_of_attempts_with_different_bytes_the_first_wins_and_everybody_sees_it(
    fast_path: Path,
) -> None:
    hits = all_see_one_winner(range(200), fast_path)
    assert not [fault for fault in FAULTS if hits[fault] < 10]


def test_of_a_few_attempts_with_different_bytes_the_first_wins(fast_path: Path) -> None:
    assert all_see_one_winner(range(2_000, 2_006), fast_path)["overruled"]


def test_a_seed_does_the_same_again(fast_path: Path) -> None:
    hits = []
    for name in ("one", "two"):
        engine = HostileEngine(Store(fast_path / name), seed=11)
        toy.job(engine)
        hits.append(engine.hits)
    assert hits[0] == hits[1]


def test_equal_tasks_are_told_once_each_and_in_the_order_of_the_tasks_by_gather(
    fast_path: Path,
) -> None:
    engine = HostileEngine(Store(fast_path), seed=1)
    keys = [engine.store.put(toy.lines_of(shard)) for shard in (0, 1, 0, 2)]
    stage = Stage("split", toy.split, [Task((key,)) for key in keys], "v1")
    told = [commit.task for commit in engine.run(stage)]
    assert sorted(told) == sorted(stage.task_id(task) for task in stage.tasks)
    gathered = [commit.task for commit in gather(engine, stage)]
    assert gathered == [stage.task_id(task) for task in stage.tasks]


def broke(blobs: object, options: object, resources: object) -> object:
    raise BudgetError("the budget is used up")


def test_an_error_of_the_work_itself_comes_through(fast_path: Path) -> None:
    engine = HostileEngine(Store(fast_path), seed=1)
    key = engine.store.put(b"x")
    with pytest.raises(BudgetError):
        gather(engine, Stage("broke", broke, [Task((key,))], "v1"))  # type: ignore[arg-type]


class Overwriting(Disk):
    """A disk with the bug that the engine must notice: the last commit wins."""

    def publish_if_absent(self, path: Path, blob: bytes) -> bool:
        self.publish(path, blob)
        return True


def test_the_engine_notices_a_disk_on_which_the_last_attempt_wins(fast_path: Path) -> None:
    def run_all() -> None:
        for seed in range(20):
            engine = HostileEngine(Store(fast_path / str(seed), Overwriting()), seed)
            toy.dice(engine)
            engine.finish()

    with pytest.raises(StoreError, match="different winners"):
        run_all()
