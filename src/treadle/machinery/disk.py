"""Every durable write goes through here, in one order: temp, fsync, rename or link, fsync folder.

Each elementary step passes through `Disk.step`, so that a test can stop the process before any one
of them and prove that what was there before is still whole.
"""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

from treadle.errors import StoreError


class Disk:
    """Atomic file operations. Subclass and override `step` to observe or to inject faults."""

    def __init__(self) -> None:
        self._serial = itertools.count()

    def step(self, name: str, path: Path) -> None:
        """Called before each elementary step (`write`, `fsync`, `rename`, `link`, …)."""

    def publish(self, path: Path, blob: bytes) -> None:
        """Put `blob` at `path`: after a crash either the old file is there or the new one."""
        temp = self._temp(path, blob)
        self.step("rename", path)
        os.replace(temp, path)
        self._sync_folder(path.parent)

    def publish_if_absent(self, path: Path, blob: bytes) -> bool:
        """Put `blob` at `path` unless something is there. Return whether it was put."""
        temp = self._temp(path, blob)
        try:
            self.step("link", path)
            os.link(temp, path)
        except FileExistsError:
            return False
        finally:
            self.step("unlink", temp)
            temp.unlink(missing_ok=True)
        self._sync_folder(path.parent)
        return True

    def remove(self, path: Path) -> None:
        """Delete a file, durably."""
        self.step("remove", path)
        path.unlink(missing_ok=True)
        self._sync_folder(path.parent)

    def _temp(self, path: Path, blob: bytes) -> Path:
        temp = path.with_name(f".{path.name}.{os.getpid()}.{next(self._serial)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.step("write", temp)
            with temp.open("wb") as file:
                file.write(blob)
                file.flush()
                self.step("fsync", temp)
                os.fsync(file.fileno())
        except OSError as error:
            temp.unlink(missing_ok=True)
            raise StoreError(_explain(error, path, len(blob))) from error
        return temp

    def _sync_folder(self, folder: Path) -> None:
        self.step("fsync_folder", folder)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _explain(error: OSError, path: Path, size_bytes: int) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{path}: no room for {size_bytes:,} bytes ({error.strerror}). Nothing finished was lost: "
            "free some space and run the same command again."
        )
    return f"{path}: cannot be written ({error.strerror}). Check the folder's permissions."
