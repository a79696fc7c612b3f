"""The durable parts one by one: disk, store, ledger, lock, engine."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from treadle.errors import BudgetError, StoreError
from treadle.machinery.disk import Disk
from treadle.machinery.engine import LocalEngine, Output, Stage, Task, gather
from treadle.machinery.ledger import COUNTS, Ledger, Limits
from treadle.machinery.lock import only_writer
from treadle.machinery.store import Store

TASK = "ab" + "0" * 62
NO_COUNTS = dict.fromkeys(COUNTS, 0)


class FailAt(Disk):
    """Fails every step of one name."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__()
        self._name, self._code = name, code

    def step(self, name: str, path: Path) -> None:
        if name == self._name:
            raise OSError(self._code, os.strerror(self._code))


# --- disk -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "no room for 3 bytes"),
        (errno.EDQUOT, "no room for 3 bytes"),
        (errno.EROFS, "--out"),
        (errno.EACCES, "permissions"),
        (errno.EIO, "fault"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EFBIG, "ulimit -f"),
        (errno.ESTALE, "Check the folder"),
    ],
)
@pytest.mark.parametrize("step", ["write", "fsync", "rename", "fsync_folder"])
def test_an_error_names_the_file_and_says_what_to_do(
    tmp_path: Path, step: str, code: int, advice: str
) -> None:
    path = tmp_path / "made.txt"
    Disk().publish(path, b"old")
    with pytest.raises(StoreError, match=advice) as failed:
        FailAt(step, code).publish(path, b"new")
    assert str(path) in str(failed.value)
    assert path.read_bytes() == (b"new" if step == "fsync_folder" else b"old")
    assert os.listdir(tmp_path) == ["made.txt"]


@pytest.mark.parametrize("name", ["replace", "link"])
def test_bytes_are_synced_before_they_get_a_name_and_the_name_before_it_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path, done = tmp_path / "folder" / "made.txt", list[str]()
    sync, act = os.fsync, getattr(os, name)

    def synced(descriptor: int) -> None:
        done.append("sync " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    def named(temp: Path, target: Path) -> None:
        done.append(f"name {target.name}")
        act(temp, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, name, named)
    publish = Disk().publish if name == "replace" else Disk().publish_if_absent
    publish(path, b"bytes")
    assert tmp_path.name in done[-4].removeprefix("sync ")  # where the new folder's name is
    assert done[-3].startswith("sync .")
    assert done[-2:] == ["name made.txt", "sync folder"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_without_hard_links_the_first_still_wins(tmp_path: Path, code: int) -> None:
    disk, path = FailAt("link", code), tmp_path / "record"
    assert disk.publish_if_absent(path, b"first")
    assert not disk.publish_if_absent(path, b"second")
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["record"]


def test_without_hard_links_nobody_comes_between_the_look_and_the_rename(tmp_path: Path) -> None:
    path, wins = tmp_path / "record", list[bool]()

    def second() -> None:
        wins.append(FailAt("link", errno.EPERM).publish_if_absent(path, b"second"))

    class Interrupted(FailAt):
        def step(self, name: str, path: Path) -> None:
            super().step(name, path)
            if name == "rename":  # nothing was there; let another one try right now
                rival.start()
                rival.join(timeout=0.3)

    rival = threading.Thread(target=second)
    wins.append(Interrupted("link", errno.EPERM).publish_if_absent(path, b"first"))
    rival.join()
    assert sorted(wins) == [False, True]
    assert path.read_bytes() == b"first"


def test_one_of_many_threads_wins(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / str(number)
        wins = race(8, lambda i, path=path: Disk().publish_if_absent(path, b"%d" % i))
        assert wins.count(True) == 1
        assert path.read_bytes() == b"%d" % wins.index(True)


def test_a_file_system_without_links_and_locks_is_refused(tmp_path: Path) -> None:
    class NoLinksNoLocks(Disk):
        def step(self, name: str, path: Path) -> None:
            if name == "link":
                raise OSError(errno.EPERM, "Operation not permitted")
            if name == "lock_folder":
                raise OSError(errno.ENOLCK, "No locks available")

    with pytest.raises(StoreError, match="No locks available"):
        NoLinksNoLocks().publish_if_absent(tmp_path / "x", b"")
    assert not os.listdir(tmp_path)


def test_only_temp_files_are_swept(tmp_path: Path) -> None:
    kept = [".hidden.tmp", "a.tmp", ".0123456789abcdef.tmp.txt", "0123456789abcdef"]
    for name in (*kept, ".0123456789abcdef.tmp"):
        (tmp_path / name).write_bytes(b"")
    assert Disk().sweep(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def race(threads: int, work: Callable[[int], bool]) -> list[bool]:
    """Run `work(i)` in threads that start together; return what they returned."""
    barrier, results = threading.Barrier(threads), [False] * threads

    def body(number: int) -> None:
        barrier.wait()
        results[number] = work(number)

    running = [threading.Thread(target=body, args=(i,)) for i in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return results


# --- store ----------------------------------------------------------------------------------------


def test_a_damaged_blob_that_is_put_again_is_mended(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = store.put(b"blob")
    store.path(key).write_bytes(b"blab")
    assert store.put(b"blob") == key
    assert store.get(key) == b"blob"


@pytest.mark.parametrize("damage", [b"", b"blo", None])
def test_a_blob_that_is_lost_or_cut_before_its_commit_is_not_committed(
    tmp_path: Path, damage: bytes | None
) -> None:
    store = Store(tmp_path)
    key = store.put(b"blob")
    store.path(key).unlink()
    if damage is not None:
        store.path(key).write_bytes(damage)
    with pytest.raises(StoreError, match="before its commit"):
        store.commit(TASK, {"blobs": [key]}, [4])
    assert store.lookup(TASK) is None


def test_every_flipped_bit_of_a_commit_record_is_noticed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit(TASK, {"blobs": [], "kept": 41})
    path = tmp_path / "commits" / "ab" / TASK
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        path.write_bytes(flipped(whole, bit))
        assert store.lookup(TASK) is None, f"bit {bit}"
        assert not path.exists()
    path.write_bytes(whole)
    assert store.lookup(TASK) == {"blobs": [], "kept": 41}


def flipped(blob: bytes, bit: int) -> bytes:
    changed = bytearray(blob)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_record_under_another_tasks_name_is_noticed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit(TASK, {"blobs": []})
    other = TASK[:-1] + "1"
    folder = tmp_path / "commits" / "ab"
    shutil.copy(folder / TASK, folder / other)
    assert store.lookup(other) is None
    assert store.lookup(TASK) == {"blobs": []}


def test_what_cannot_be_read_is_not_taken_for_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = store.put(b"blob")
    store.commit(TASK, {"blobs": [key]})
    path = store.path(key)
    path.rename(tmp_path / "aside")
    path.mkdir()  # reading it fails with EISDIR, even for root: as EIO or EMFILE would
    with pytest.raises(StoreError, match="directory"):
        store.lookup(TASK)
    with pytest.raises(StoreError, match="directory"):
        store.get(key)
    path.rmdir()
    (tmp_path / "aside").rename(path)
    assert store.lookup(TASK) == {"blobs": [key]}


def test_a_commit_whose_winner_is_damaged_takes_its_place(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lost = store.put(b"lost")
    store.commit(TASK, {"blobs": [lost]})
    store.path(lost).write_bytes(b"lust")
    mine = store.put(b"mine")
    assert store.commit(TASK, {"blobs": [mine]}) == {"blobs": [mine]}
    assert store.lookup(TASK) == {"blobs": [mine]}


def test_a_commit_that_shares_the_damaged_blob_of_the_winner_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shared = store.put(b"shared")
    store.commit(TASK, {"blobs": [shared], "kept": 1})
    store.path(shared).write_bytes(b"sharet")
    with pytest.raises(StoreError, match="lost before its commit"):
        store.commit(TASK, {"blobs": [shared], "kept": 2}, [6])
    assert store.lookup(TASK) is None


# --- ledger ---------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_minutes_add_up_over_sessions_and_stop_the_run(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "ledger.sqlite"
    ledger = Ledger(path, Limits(minutes=2), clock=clock)
    clock.now += 70
    ledger.check()
    ledger.close()
    clock.now += 10_000  # between the sessions nothing is spent
    ledger = Ledger(path, Limits(minutes=2), clock=clock)
    assert ledger.seconds == 70
    clock.now += 49.9
    ledger.check()
    clock.now += 0.1
    with pytest.raises(BudgetError, match=r"2 minutes is used up \(2.0 spent\)"):
        ledger.check()
    ledger.close()
    Ledger(path, Limits(minutes=3), clock=clock).check()


def test_a_clock_that_goes_back_a_day_takes_no_time_back(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger(tmp_path / "ledger.sqlite", Limits(minutes=2), clock=clock)
    clock.now += 100
    assert ledger.seconds == 100
    clock.now -= 86_400
    assert ledger.seconds == 100
    ledger.record("stage", "key", NO_COUNTS, 1.0)
    ledger.check()
    ledger.close()
    assert Ledger(tmp_path / "ledger.sqlite", clock=clock).seconds == 100


def test_a_kill_forgets_at_most_ten_seconds(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "ledger.sqlite"
    ledger = Ledger(path, clock=clock)
    for _ in range(30):
        clock.now += 3
        ledger.check()
    assert 80 <= Ledger(path, clock=clock).seconds <= 90  # the first one is as good as killed


def test_a_task_that_used_more_than_it_reserved_is_counted_and_is_an_error_under_a_limit(
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path / "limited.sqlite", Limits(tokens=100))

    def overspend(ledger: Ledger) -> None:
        with ledger.reserve("key", 10) as reservation:
            reservation.settle(30)

    with pytest.raises(StoreError, match="reserved 10 tokens and used 30"):
        overspend(ledger)
    assert ledger.tokens == 30
    free = Ledger(tmp_path / "free.sqlite")
    overspend(free)
    assert free.tokens == 30


def test_threads_at_the_limit_never_overshoot(tmp_path: Path) -> None:
    path, fits = tmp_path / "ledger.sqlite", 103
    shared = Ledger(path, Limits(tokens=7 * fits + 3))
    own = [Ledger(path, Limits(tokens=7 * fits + 3)) for _ in range(2)]
    done = []

    def spend(number: int) -> bool:
        ledger = shared if number < 2 else own[number - 2]
        for _ in range(60):
            try:
                with ledger.reserve(f"task {number}", 7) as reservation:
                    assert ledger.tokens <= 7 * fits + 3
                    reservation.settle(7)
                    done.append(number)
            except BudgetError:
                return True
        return False

    assert any(race(4, spend))
    assert len(done) == fits
    assert shared.tokens == 7 * fits


def test_costs_count_a_task_once_and_its_price_each_time(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    counts = {**NO_COUNTS, "rows_in": 5, "kept": 5, "tokens": 7}
    ledger.record("late", "a", counts, 1.0)
    ledger.record("early", "b", counts, None)
    ledger.record("late", "a", counts, 2.0)
    assert ledger.costs() == [
        {"stage": "late", "tasks": 1, "seconds": 3.0, "rows": 5, "tokens": 14},
        {"stage": "early", "tasks": 1, "seconds": 0.0, "rows": 5, "tokens": 7},
    ]


@pytest.mark.parametrize("blob", [b"", b"not a database, but long enough to be one" * 100, b"SQ"])
def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path, blob: bytes) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(blob)
    with pytest.raises(StoreError, match="move it away"):
        Ledger(path)
    assert path.read_bytes() == blob


def test_a_ledger_of_a_newer_treadle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer treadle"):
        Ledger(path)


def test_a_changed_digit_in_the_ledger_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    ledger.decide("verdict", {"decision": "reject"})
    ledger.close()
    with sqlite3.connect(path) as db:
        db.execute("""UPDATE decision SET body = '{"decision": "accept"}'""")
    db.close()
    with pytest.raises(StoreError, match="row 1 of table decision was changed"):
        Ledger(path)


def test_a_log_left_beside_a_ledger_that_was_moved_away_is_not_replayed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    old = Ledger(path)
    old.decide("verdict", {"decision": "accept"})
    path.rename(tmp_path / "moved")  # and the log stays, as a user would leave it
    assert path.with_name("ledger.sqlite-wal").stat().st_size > 0
    fresh = Ledger(path)
    assert fresh.decisions("verdict") == []
    assert fresh.costs() == []


def test_a_full_ledger_refuses_and_then_goes_on(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger._tables._db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to be full
    with pytest.raises(StoreError, match="full"):
        ledger.decide("verdict", {"text": "x" * 100_000})
    ledger._tables._db.execute("PRAGMA max_page_count = 100000")
    ledger.decide("verdict", {"text": "y"})
    assert ledger.decisions("verdict") == [{"text": "y"}]


@pytest.mark.slow
def test_no_flipped_bit_and_no_cut_of_the_ledger_file_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, Limits(tokens=1_000))
    for number in range(60):
        with ledger.reserve(f"task-{number}", 10) as reservation:
            reservation.settle(number % 10)
        ledger.record("stage", f"task-{number}", {**NO_COUNTS, "rows_in": 3, "kept": 3}, 0.5)
        ledger.decide("look", {"number": number})
    ledger.close()
    whole = path.read_bytes()
    before = contents(path)
    noticed = 0
    places = [*range(0, 8 * len(whole), 997), *range(0, 800)]
    for bit in places:
        noticed += is_noticed(path, flipped(whole, bit), before)
    for size in range(0, len(whole), 1_111):
        assert is_noticed(path, whole[:size], before), f"cut to {size} bytes"
    assert noticed > len(places) // 3  # the rest fell on unused bytes


def contents(path: Path) -> object:
    ledger = Ledger(path)
    try:
        return ledger.costs(), ledger.tokens, ledger.decisions("look")
    finally:
        ledger.close()


def is_noticed(path: Path, blob: bytes, before: object) -> bool:
    """Whether damage is refused; if it is not, it must have changed nothing."""
    for old in path.parent.glob("ledger.sqlite*"):
        old.unlink()
    path.write_bytes(blob)
    try:
        after = contents(path)
    except StoreError:
        return True
    assert after == before
    return False


# --- lock -----------------------------------------------------------------------------------------


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    with only_writer(tmp_path / "run"):
        with pytest.raises(StoreError, match=f"pid {os.getpid()}"), only_writer(tmp_path / "run"):
            pass
        with only_writer(tmp_path / "other"):
            pass
    with only_writer(tmp_path / "run"):
        pass


def test_a_refused_writer_leaves_the_owners_name(tmp_path: Path) -> None:
    with only_writer(tmp_path):
        with pytest.raises(StoreError), only_writer(tmp_path):
            pass
        assert (tmp_path / ".lock").read_text() == f"pid {os.getpid()}"


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"), only_writer(tmp_path / "file" / "run"):
        pass


def test_a_child_started_by_the_owner_does_not_keep_the_lock(tmp_path: Path) -> None:
    with only_writer(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with only_writer(tmp_path):
            pass
    finally:
        child.communicate(b"\n")


# --- engine ---------------------------------------------------------------------------------------


def count(blobs: Sequence[bytes], options: Mapping[str, Any], resources: Any) -> Output:
    """Note that it ran; `options` say what to give back."""
    if resources is not None:
        resources.append(blobs)
    if "error" in options:
        raise {"interrupt": KeyboardInterrupt, "budget": BudgetError}[options["error"]]()
    counts = {name: options.get(name, 0) for name in COUNTS}
    return Output([b"<" + blob + b">" for blob in blobs], **counts)


def engine_in(folder: Path, **limits: Any) -> LocalEngine:
    return LocalEngine(Store(folder), Ledger(folder / "ledger.sqlite", Limits(**limits)))


def test_a_finished_task_is_not_run_again_and_equal_tasks_run_once(tmp_path: Path) -> None:
    engine, ran, told = engine_in(tmp_path), [], []
    engine._on_task = lambda stage, done, cached: told.append((done, cached))
    keys = [engine.store.put(b"a"), engine.store.put(b"b")]
    tasks = [Task((keys[0],)), Task((keys[1],)), Task((keys[0],))]
    stage = Stage("count", count, tasks, "v1", resources=ran)
    first = gather(engine, stage)
    assert [engine.store.get(commit.blobs[0]) for commit in first] == [b"<a>", b"<b>", b"<a>"]
    assert gather(engine, stage) == first
    assert ran == [[b"a"], [b"b"]]
    cached = [(1, True), (2, True), (3, True)]
    assert told == [(1, False), (2, False), (3, True), *cached]


def test_a_task_with_a_damaged_result_is_done_again(tmp_path: Path) -> None:
    engine, ran = engine_in(tmp_path), []
    stage = Stage("count", count, [Task((engine.store.put(b"a"),))], "v1", resources=ran)
    (commit,) = gather(engine, stage)
    path = engine.store.path(commit.blobs[0])
    path.write_bytes(flipped(path.read_bytes(), 5))
    assert gather(engine, stage) == [commit]
    assert engine.store.get(commit.blobs[0]) == b"<a>"
    assert len(ran) == 2


def test_the_id_of_a_task_covers_all_that_its_result_depends_on_and_nothing_else() -> None:
    task = Task(("k1", "k2"), part=1, tokens=5)
    stage = Stage("count", count, [task], "v1", {"a": 1, "b": 2})
    changed = [
        Stage("count2", count, [task], "v1", {"a": 1, "b": 2}).task_id(task),
        Stage("count", flipped, [task], "v1", {"a": 1, "b": 2}).task_id(task),  # type: ignore[arg-type]
        Stage("count", count, [task], "v2", {"a": 1, "b": 2}).task_id(task),
        Stage("count", count, [task], "v1", {"a": 1, "b": 3}).task_id(task),
        stage.task_id(Task(("k2", "k1"), part=1)),
        stage.task_id(Task(("k1", "k2"), part=2)),
        stage.task_id(task),
    ]
    assert len(set(changed)) == len(changed)
    same = Stage("count", count, [], "v1", {"b": 2, "a": 1}, resources=object())
    assert same.task_id(Task(("k1", "k2"), part=1, tokens=9)) == stage.task_id(task)


@pytest.mark.parametrize(
    "counts", [{"rows_in": 2, "kept": 1}, {"rows_in": 5, "kept": 6, "dropped": -1}, {"tokens": -1}]
)
def test_counts_that_do_not_add_up_are_an_error_and_are_not_committed(
    tmp_path: Path, counts: dict[str, int]
) -> None:
    engine = engine_in(tmp_path)
    stage = Stage("count", count, [Task((engine.store.put(b"a"),))], "v1", counts)
    with pytest.raises(StoreError, match="bug in the op"):
        gather(engine, stage)
    assert engine.store.lookup(stage.task_id(stage.tasks[0])) is None


def test_a_token_budget_stops_before_the_task_that_does_not_fit(tmp_path: Path) -> None:
    engine, ran = engine_in(tmp_path, tokens=25), []
    tasks = [Task((engine.store.put(b"%d" % i),), tokens=10) for i in range(4)]
    stage = Stage("count", count, tasks, "v1", {"tokens": 7}, ran)
    with pytest.raises(BudgetError, match="21 used, 10 needed"):
        gather(engine, stage)
    assert len(ran) == 3
    assert engine.ledger.tokens == 21
    engine.ledger.close()
    richer = engine_in(tmp_path, tokens=31)
    assert len(gather(richer, stage)) == 4
    assert len(ran) == 4
    assert richer.ledger.tokens == 28


@pytest.mark.parametrize(
    ("name", "error"), [("interrupt", KeyboardInterrupt), ("budget", BudgetError)]
)
def test_an_interrupted_task_keeps_its_reservation_and_commits_nothing(
    tmp_path: Path, name: str, error: type[BaseException]
) -> None:
    engine = engine_in(tmp_path, tokens=100)
    task = Task((engine.store.put(b"a"),), tokens=40)
    stage = Stage("count", count, [task], "v1", {"error": name})
    with pytest.raises(error):
        gather(engine, stage)
    assert engine.ledger.tokens == 40
    assert engine.ledger.costs() == []
    assert engine.store.lookup(stage.task_id(task)) is None
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_task_committed_just_before_a_kill_is_written_down_at_what_it_used(
    tmp_path: Path,
) -> None:
    class KilledAfterCommit(Ledger):
        def settle(self, row: int, tokens: int) -> None:
            raise SystemExit

    store, path = Store(tmp_path), tmp_path / "ledger.sqlite"
    options = {"tokens": 7, "rows_in": 2, "kept": 2}
    stage = Stage("count", count, [Task((store.put(b"a"),), tokens=40)], "v1", options)
    with pytest.raises(SystemExit):
        gather(LocalEngine(store, KilledAfterCommit(path)), stage)
    ledger = Ledger(path)
    assert ledger.tokens == 40
    for _ in range(2):
        gather(LocalEngine(store, ledger), stage)
        assert ledger.tokens == 7
        cost = {"stage": "count", "tasks": 1, "seconds": 0.0, "rows": 2, "tokens": 7}
        assert ledger.costs() == [cost]


def test_results_of_another_run_are_not_counted_as_costs_of_this_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stage = Stage("count", count, [Task((store.put(b"a"),))], "v1", {"tokens": 7})
    gather(LocalEngine(store, Ledger(tmp_path / "one.sqlite")), stage)
    other = Ledger(tmp_path / "two.sqlite")
    gather(LocalEngine(store, other), stage)
    assert other.costs() == []


def test_work_must_be_found_by_name() -> None:
    with pytest.raises(ValueError, match="module-level"):
        Stage("x", lambda blobs, options, resources: Output([]), [], "v1")


def test_a_commit_record_is_plain_json_behind_its_checksum(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    stage = Stage("count", count, [Task((engine.store.put(b"a"),))], "v1")
    (commit,) = gather(engine, stage)
    checksum, body = (tmp_path / "commits" / commit.task[:2] / commit.task).read_text().split("\n")
    assert len(checksum) == 64
    assert json.loads(body) == {**NO_COUNTS, "blobs": list(commit.blobs)}
