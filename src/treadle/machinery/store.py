"""Content-addressed blobs and the commit records that name them.

    objects/ab/abcdef…   a blob, named by its SHA-256 and checked at every read
    commits/12/123456…   what one finished task made; created if absent, so the first attempt wins

A record is written only after all of its blobs are durable. What no record names is an orphan.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from treadle.errors import StoreError
from treadle.machinery.disk import Disk


class Store:
    """Blobs and commit records in one folder. Safe for several processes at once."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self.disk = disk or Disk()

    def put(self, blob: bytes) -> str:
        """Store a blob durably and return its hash."""
        key = hashlib.sha256(blob).hexdigest()
        path = self.path(key)
        if not path.exists():
            self.disk.publish(path, blob)
        return key

    def get(self, key: str) -> bytes:
        """Return a blob.

        Raises:
            StoreError: it is missing, or its bytes do not have this hash.
        """
        path = self.path(key)
        try:
            blob = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path}: blob is missing ({error.strerror}). Run again.") from error
        if hashlib.sha256(blob).hexdigest() != key:
            raise StoreError(f"{path}: blob is damaged. Delete this file and run again.")
        return blob

    def path(self, key: str) -> Path:
        return self.root / "objects" / key[:2] / key

    def is_whole(self, key: str) -> bool:
        """Whether the blob is there and undamaged."""
        try:
            self.get(key)
        except StoreError:
            return False
        return True

    def commit(self, task: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Record a finished task if nobody has; return the record that counts."""
        blob = json.dumps(record, sort_keys=True).encode()
        self.disk.publish_if_absent(self._record(task), blob)
        winner = self.lookup(task)
        if winner is None:
            raise StoreError(
                f"{self._record(task)}: commit record vanished or is damaged. Run again."
            )
        return winner

    def lookup(self, task: str) -> dict[str, Any] | None:
        """Return the record of a task, or None. A record whose blobs are damaged is forgotten."""
        path = self._record(task)
        try:
            record: dict[str, Any] = json.loads(path.read_bytes())
            blobs = record["blobs"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError):
            self.disk.remove(path)
            return None
        damaged = [key for key in blobs if not self.is_whole(key)]
        if not damaged:
            return record
        for key in damaged:
            self.path(key).unlink(missing_ok=True)
        self.disk.remove(path)
        return None

    def _record(self, task: str) -> Path:
        return self.root / "commits" / task[:2] / task
