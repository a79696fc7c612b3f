"""The store against a model of it, with a disk that flips bits, cuts, loses and swaps files.

Whatever happens to the files, damage is noticed: a blob or a record is returned as it was written,
or not at all; and what was forgotten can be made again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from treadle.errors import StoreError
from treadle.machinery.store import Store

BLOBS = st.one_of(st.sampled_from([b"", b"a", b"b", b"ab" * 500]), st.binary(max_size=40))
TASKS = [f"{number:02d}" + "0" * 62 for number in range(5)]


class StoreMachine(RuleBasedStateMachine):
    """A store beside what it should hold: `whole` blobs, and `records` that are not damaged."""

    def __init__(self) -> None:
        super().__init__()
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.root = Path(tempfile.mkdtemp(prefix="treadle-store-", dir=memory))
        self.store = Store(self.root)
        self.blobs: dict[str, bytes] = {}
        self.whole: set[str] = set()
        self.records: dict[str, dict[str, Any]] = {}

    # What users of a store do.

    @rule(blob=BLOBS)
    def put(self, blob: bytes) -> None:
        key = self.store.put(blob)
        self.blobs[key] = blob
        self.whole.add(key)

    @precondition(lambda self: self.blobs)
    @rule(data=st.data())
    def get(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.blobs)))
        assert self.store.is_whole(key) == (key in self.whole)
        if key in self.whole:
            assert self.store.get(key) == self.blobs[key]
        else:
            with pytest.raises(StoreError):
                self.store.get(key)

    @rule(data=st.data(), task=st.sampled_from(TASKS), kept=st.integers(0, 9))
    def commit(self, data: st.DataObject, task: str, kept: int) -> None:
        keys = (
            data.draw(st.lists(st.sampled_from(sorted(self.blobs)), max_size=3))
            if self.blobs
            else []
        )
        mine = {"blobs": [self.store.put(self.blobs[key]) for key in keys], "kept": kept}
        self.whole.update(keys)
        winner = self.records.get(task)
        damaged = set(winner["blobs"]) - self.whole if winner else set()
        if winner and not damaged:
            assert self.store.commit(task, mine) == winner
        else:
            assert self.store.commit(task, mine) == mine
            self.records[task] = mine

    @rule(task=st.sampled_from(TASKS))
    def lookup(self, task: str) -> None:
        record = self.records.get(task)
        if record is not None and set(record["blobs"]) <= self.whole:
            assert self.store.lookup(task) == record
        else:
            assert self.store.lookup(task) is None
            assert self.store.lookup(task) is None
            self.records.pop(task, None)

    @rule()
    def reopen(self) -> None:
        self.store = Store(self.root)

    # What disks do.

    @precondition(lambda self: self.whole)
    @rule(data=st.data())
    def damage_a_blob(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.whole)))
        if self.damage(self.store.path(key), data):
            self.whole.discard(key)

    @precondition(lambda self: self.records)
    @rule(data=st.data())
    def damage_a_record(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.records)))
        assert self.damage(self.record_path(task), data)
        del self.records[task]

    @precondition(lambda self: len(self.records) >= 2)
    @rule(data=st.data())
    def put_a_record_under_another_name(self, data: st.DataObject) -> None:
        one, two = data.draw(st.permutations(sorted(self.records)))[:2]
        shutil.copy(self.record_path(one), self.record_path(two))
        del self.records[two]

    @rule(data=st.data())
    def leave_a_torn_file(self, data: st.DataObject) -> None:
        folder = self.root / data.draw(st.sampled_from(["objects/00", "commits/00"]))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".{data.draw(st.integers(0, 2**64 - 1)):016x}.tmp").write_bytes(b"half")

    def record_path(self, task: str) -> Path:
        return self.root / "commits" / task[:2] / task

    def damage(self, path: Path, data: st.DataObject) -> bool:
        blob = path.read_bytes()
        how = data.draw(st.sampled_from(["flip", "cut", "grow", "lose"]))
        if how == "lose":
            path.unlink()
        elif how == "grow":
            path.write_bytes(blob + b"\0")
        elif not blob:
            return False
        elif how == "cut":
            path.write_bytes(blob[: data.draw(st.integers(0, len(blob) - 1))])
        else:
            bit = data.draw(st.integers(0, 8 * len(blob) - 1))
            changed = bytearray(blob)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
        return True

    def teardown(self) -> None:
        try:
            for task in TASKS:
                self.lookup(task)
            Store(self.root)
            assert not list(self.root.rglob(".*.tmp"))
        finally:
            shutil.rmtree(self.root)


CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much]
TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=CHECKS
)


@pytest.mark.slow
class TestStoreAtLength(StoreMachine.TestCase):
    """Ten thousand steps."""

    settings = settings(
        max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=CHECKS
    )
