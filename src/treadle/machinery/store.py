"""Content-addressed blobs and the commit records that name them.

    objects/ab/abcdef…   a blob, named by its SHA-256 and checked at every read
    commits/12/123456…   what one finished task made; created if absent, so the first attempt wins

A record is written only after all of its blobs are durable. What no record names is an orphan.
A record is one line of checksum (over the task's id too, so that a record under a wrong name is
noticed) and one line of JSON. Damage is never returned: a damaged record, or one with a damaged
blob, is forgotten, and its task is done again.

Not here: sweeping orphaned blobs, which cost room only.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from treadle.errors import StoreError
from treadle.machinery.disk import Disk, explained

_log = logging.getLogger(__name__)


class Store:
    """Blobs and commit records in one folder. Safe for several processes at once."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        """Open a store, and clear away the temp files of writers that died."""
        self.root = root
        self.disk = disk or Disk()
        self._settled: set[Path] = set()
        self.disk.sweep(root)

    def put(self, blob: bytes) -> str:
        """Store a blob durably and return its hash."""
        key = hashlib.sha256(blob).hexdigest()
        path = self.path(key)
        if self.is_whole(key):
            self.disk.settle(path)
        else:
            self.disk.publish(path, blob)
        return key

    def get(self, key: str) -> bytes:
        """Return a blob.

        Raises:
            StoreError: it is missing, unreadable, or its bytes do not have this hash.
        """
        path = self.path(key)
        with explained(path):
            try:
                blob = path.read_bytes()
            except FileNotFoundError as error:
                raise StoreError(f"{path}: blob is missing. Run the same command again.") from error
        if hashlib.sha256(blob).hexdigest() != key:
            raise StoreError(
                f"{path}: blob is damaged. Run the same command again: its task is done again."
            )
        return blob

    def path(self, key: str) -> Path:
        return self.root / f"objects/{key[:2]}/{key}"

    def is_whole(self, key: str) -> bool:
        """Whether the blob is there and undamaged.

        Raises:
            StoreError: it cannot be read (permissions, open files, a faulty device), which says
                nothing about the blob.
        """
        path = self.path(key)
        with explained(path):
            try:
                with path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest() == key
            except FileNotFoundError:
                return False

    def commit(
        self, task: str, record: Mapping[str, Any], sizes: Sequence[int] | None = None
    ) -> dict[str, Any]:
        """Record a finished task if nobody has; return the record that counts.

        Args:
            task: The task's id.
            record: What it made; `blobs` lists the hashes.
            sizes: Bytes of each blob. Blobs are not hashed again here (`put` has just done so), but
                one that was lost or cut since then is noticed.

        Raises:
            StoreError: a blob is gone, or the disk refuses.
        """
        body = json.dumps(record, sort_keys=True).encode()
        path = self._record(task)
        for _ in range(3):  # more than one turn only if the winner is found damaged, and forgotten
            for number, key in enumerate(record.get("blobs", [])):
                self._check_size(key, sizes[number] if sizes is not None else None)
            if self.disk.publish_if_absent(path, _sealed(task, body)):
                mine: dict[str, Any] = json.loads(body)
                return mine
            winner = self.lookup(task)
            if winner is not None:
                return winner
        raise StoreError(f"{path}: the commit record is damaged again and again. Check the disk.")

    def _check_size(self, key: str, size_bytes: int | None) -> None:
        path = self.path(key)
        with explained(path):
            try:
                found = path.stat().st_size
            except FileNotFoundError as error:
                raise StoreError(
                    f"{path}: blob was lost before its commit. Run the same command again."
                ) from error
        if size_bytes is not None and found != size_bytes:
            raise StoreError(
                f"{path}: blob has {found:,} bytes instead of {size_bytes:,}; it was damaged before "
                "its commit. Run the same command again."
            )

    def lookup(self, task: str) -> dict[str, Any] | None:
        """Return the record of a task, or None. A record whose blobs are damaged is forgotten.

        Raises:
            StoreError: the record or a blob cannot be read; nothing is forgotten then.
        """
        path = self._record(task)
        with explained(path):
            try:
                raw = path.read_bytes()
            except FileNotFoundError:
                return None
        record = _unsealed(task, raw)
        if record is None:
            _log.warning("%s: the commit record is damaged; its task is done again", path)
            self.disk.remove(path)
            return None
        damaged = [key for key in record.get("blobs", []) if not self.is_whole(key)]
        if damaged:
            self._forget(path, damaged)
            return None
        if path.parent not in self._settled:
            self.disk.settle(path)
            self._settled.add(path.parent)
        return record

    def _forget(self, path: Path, damaged: list[str]) -> None:
        """Delete a record, then its damaged blobs: no record may name what is being deleted."""
        for key in damaged:
            _log.warning("%s: missing or damaged; its task is done again", self.path(key))
        self.disk.remove(path)
        for key in damaged:
            if self.path(key).exists():
                self.disk.remove(self.path(key))

    def _record(self, task: str) -> Path:
        return self.root / f"commits/{task[:2]}/{task}"


def _sealed(task: str, body: bytes) -> bytes:
    return _checksum(task, body) + b"\n" + body


def _unsealed(task: str, raw: bytes) -> dict[str, Any] | None:
    """Return the record, or None if a single bit of it is not as it was written."""
    checksum, _, body = raw.partition(b"\n")
    if checksum != _checksum(task, body):
        return None
    record: dict[str, Any] = json.loads(body)
    return record


def _checksum(task: str, body: bytes) -> bytes:
    return hashlib.sha256(task.encode() + b"\n" + body).hexdigest().encode()
