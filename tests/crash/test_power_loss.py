"""A power loss drops what was not synced. A model of that: SIGKILL cannot show it.

Every operation of a run is recorded. Then, for each moment, folders are built as a disk may hold
them if the power goes right there: bytes that were not synced are missing, cut or whole; names that
were not synced are there or not, in any mixture. A commit that was reported must be there, whole,
in all of them; and whatever is there, a second run must end with the same bytes.

Not modelled: SQLite's own files (the ledger), and disks that lie about fsync.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from crash.killing import tree_hash
from crash.toy import job
from treadle.machinery.disk import Disk
from treadle.machinery.engine import LocalEngine
from treadle.machinery.ledger import Ledger
from treadle.machinery.store import Store


@dataclass(frozen=True)
class Event:
    """One operation on the disk, or `ack`: a commit was reported as done."""

    name: str
    path: Path
    inode: int = -1
    source: Path | None = None
    record: dict[str, Any] = field(default_factory=dict)


class RecordingDisk(Disk):
    """Remembers the operations of one thread, and the bytes of every file written."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root, self.events = root, list[Event]()
        self.bytes: list[bytes] = []
        self._temp = root

    def step(self, name: str, path: Path) -> None:
        if not path.is_relative_to(self.root) or name in ("write", "lock_folder"):
            return
        if name == "fsync":
            self._temp = path
            self.bytes.append(path.read_bytes())
            self.events.append(Event("create", path, len(self.bytes) - 1))
        if name == "link" and path.exists():
            return
        source = self._temp if name in ("rename", "link") else None
        self.events.append(Event(name, path, len(self.bytes) - 1, source))


class RecordingStore(Store):
    """Notes when a commit is reported."""

    disk: RecordingDisk

    def commit(self, task: str, record: Any, sizes: Any = None) -> dict[str, Any]:
        winner = super().commit(task, record, sizes)
        self.disk.events.append(Event("ack", Path(task), record=winner))
        return winner


class Names:
    """Folders, and the names in them: what a directory tree is on disk."""

    def __init__(self, folders: set[Path], files: dict[Path, int]) -> None:
        self.folders, self.files = folders, files

    def apply(self, change: Event) -> None:
        if change.name == "mkdir":
            self.folders.add(change.path)
        elif change.name in ("create", "rename", "link"):
            self.files[change.path] = change.inode
            if change.name == "rename" and change.source is not None:
                self.files.pop(change.source, None)
        else:
            self.files.pop(change.path, None)


class Power:
    """What the disk holds for certain, and what it may hold, after some events."""

    def __init__(self, root: Path, written: list[bytes]) -> None:
        self.root, self.bytes = root, written
        self.certain = Names({root}, {})
        self.pending: dict[Path, list[Event]] = {}
        self.synced: set[int] = set()
        self.acks: dict[str, dict[str, Any]] = {}

    def take(self, event: Event) -> None:
        if event.name == "ack":
            self.acks[event.path.name] = event.record
        elif event.name == "fsync":
            self.synced.add(event.inode)
        elif event.name == "fsync_folder":
            for change in self.pending.pop(event.path, []):
                self.certain.apply(change)
        else:
            self.pending.setdefault(event.path.parent, []).append(event)

    def after_loss(self, chance: random.Random, share: float) -> dict[Path, bytes]:
        """Return files as they may be found: each unsynced change survives with chance `share`."""
        found = Names(set(self.certain.folders), dict(self.certain.files))
        for change in (c for changes in self.pending.values() for c in changes):
            if chance.random() < share:
                found.apply(change)
        return {
            path: self._content(inode, chance)
            for path, inode in found.files.items()
            if set(path.parents) - set(self.root.parents) <= found.folders
        }

    def _content(self, inode: int, chance: random.Random) -> bytes:
        blob = self.bytes[inode]
        if inode in self.synced:
            return blob
        return blob[: chance.choice((0, len(blob) // 2, len(blob)))]


def record(root: Path, ledger: Ledger) -> RecordingDisk:
    root.mkdir()
    disk = RecordingDisk(root)
    job(LocalEngine(RecordingStore(root, disk), ledger))
    return disk


def rebuild(files: dict[Path, bytes], old: Path, new: Path) -> None:
    new.mkdir()
    for path, blob in files.items():
        target = new / path.relative_to(old)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(blob)


@pytest.mark.slow
def test_what_was_reported_as_committed_survives_a_power_loss_at_any_moment(
    fast_path: Path,
) -> None:
    root, chance = fast_path / "run", random.Random(5)
    ledger = Ledger(fast_path / "ledger.sqlite")
    disk, acks = record(root, ledger), 0
    power = Power(root, disk.bytes)
    unbroken = tree_hash(root)
    for number, event in enumerate(disk.events):
        power.take(event)
        for share in (0.0, 0.5, 1.0):
            folder = fast_path / f"{number}-{share}"
            rebuild(power.after_loss(chance, share), root, folder)
            store = Store(folder)
            for task, winner in power.acks.items():
                assert store.lookup(task) == winner, (
                    f"event {number}: an acknowledged commit is gone"
                )
                acks += 1
            job(LocalEngine(store, ledger))
            assert tree_hash(folder) == unbroken
    assert len(power.acks) == 8
    assert acks > 1_000


def test_a_folder_found_on_the_way_is_synced_before_a_commit_in_it_is_reported(
    fast_path: Path,
) -> None:
    root = fast_path / "run"
    folder = root / "commits" / "ab"
    folder.mkdir(parents=True)  # by a process that died before it could sync
    disk = RecordingDisk(fast_path)
    Store(root, disk).commit("ab" + "0" * 62, {"blobs": []})
    synced = [event.path for event in disk.events if event.name == "fsync_folder"]
    assert {fast_path, root, root / "commits", folder} <= set(synced)
    assert synced[-1] == folder
