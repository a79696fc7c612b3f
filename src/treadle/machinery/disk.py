"""Every durable write goes through here, in one order: temp, fsync, rename or link, fsync folder.

A crash may come between any two of these, and a power loss may drop whatever was not synced yet.
So a file appears under its name only when its bytes are on disk, and a write is reported as done
only when the name is too, with every folder on the way to it.

Each elementary step passes through `Disk.step`, so that a test can stop the process before any one
of them and prove that what was there before is still whole.

Not here: SQLite's own writes (`ledger`). Folders on file systems that cannot sync a folder are used
all the same: there, a power loss may take the last files with it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from treadle.errors import StoreError

TEMP = re.compile(r"\.[0-9a-f]{16}\.tmp")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
ADVICE = {
    errno.EFBIG: "The file-size limit of this process is too small: see `ulimit -f`",
    errno.EROFS: "The file system is read-only: choose another run folder with --out",
    errno.EACCES: "Check the folder's permissions",
    errno.EPERM: "Check the folder's permissions",
    errno.EIO: "The device reports a fault: check it before you trust what it holds",
    errno.EMFILE: "Too many open files: raise `ulimit -n`",
    errno.ENFILE: "Too many open files on this machine",
    errno.ENAMETOOLONG: "Choose a run folder with a shorter path",
}


class Disk:
    """Atomic file operations. Subclass and override `step` to observe or to inject faults."""

    def __init__(self) -> None:
        self._durable: set[Path] = set()

    def step(self, name: str, path: Path) -> None:
        """Called before each elementary step (`write`, `fsync`, `rename`, `link`, …)."""

    def publish(self, path: Path, blob: bytes) -> None:
        """Put `blob` at `path`: after a crash either the old file is there or the new one."""
        with self._written(path, blob) as temp:
            self.step("rename", path)
            os.replace(temp, path)
            self._sync_folder(path.parent)

    def publish_if_absent(self, path: Path, blob: bytes) -> bool:
        """Put `blob` at `path` unless something is there. Return whether it was put."""
        with self._written(path, blob) as temp:
            is_first = self._link(temp, path)
            # Also when another was first: it may have died before this, and we build on its file.
            self._sync_folder(path.parent)
        return is_first

    def remove(self, path: Path) -> None:
        """Delete a file, durably."""
        with explained(path):
            self.step("remove", path)
            path.unlink(missing_ok=True)
            self._sync_folder(path.parent)

    def settle(self, path: Path) -> None:
        """Make a file durable that somebody else put here, before relying on it.

        Its writer synced the bytes before it gave them the name, but may have died right after.
        """
        with explained(path):
            self._make_folder(path.parent)
            self._sync_folder(path.parent)

    def sweep(self, root: Path) -> int:
        """Delete the temp files of writers that died, anywhere under `root`; return how many.

        A living writer holds a lock on its temp file, which dies with it. Pids would not do: in a
        container every run may have the same one.
        """
        temps = [
            Path(folder, name)
            for folder, _, names in os.walk(root)
            for name in names
            if TEMP.fullmatch(name)
        ]
        return sum(self._sweep_one(temp) for temp in temps)

    def _sweep_one(self, temp: Path) -> bool:
        try:
            with temp.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.step("sweep", temp)
                temp.unlink()
        except OSError:  # its writer lives, has just finished, or the folder is read-only
            return False
        return True

    @contextlib.contextmanager
    def _written(self, path: Path, blob: bytes) -> Iterator[Path]:
        """Yield a synced temp file beside `path`; take it away afterwards unless it was renamed."""
        with explained(path, len(blob)):
            self._make_folder(path.parent)
            self.step("write", path)
            temp, descriptor = _create(path.parent)
            try:
                with open(descriptor, "wb") as file:
                    file.write(blob)
                    file.flush()
                    self.step("fsync", temp)
                    os.fsync(file.fileno())
                    yield temp
            finally:
                with contextlib.suppress(OSError):  # the next sweep takes it
                    self.step("unlink", temp)
                    temp.unlink(missing_ok=True)

    def _link(self, temp: Path, path: Path) -> bool:
        try:
            self.step("link", path)
            os.link(temp, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            return self._rename_if_absent(temp, path)
        return True

    def _rename_if_absent(self, temp: Path, path: Path) -> bool:
        """Do what `link` does where there are no hard links (FAT, some network folders)."""
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            self.step("lock_folder", path.parent)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists():
                return False
            self.step("rename", path)
            os.replace(temp, path)
            return True
        finally:
            os.close(descriptor)

    def _make_folder(self, folder: Path) -> None:
        """Create a folder and its parents so that they outlive a power loss.

        A folder that is found is synced too, once: whoever made it may have died before that.
        """
        is_new = not folder.is_dir()
        if folder in self._durable and not is_new:
            return
        if folder.parent != folder:
            self._make_folder(folder.parent)
        if is_new:
            self.step("mkdir", folder)
            folder.mkdir(exist_ok=True)
        try:
            self._sync_folder(folder.parent)
        except OSError:  # a found one may lie in a folder that is not ours to open
            if is_new:
                raise
        self._durable.add(folder)

    def _sync_folder(self, folder: Path) -> None:
        self.step("fsync_folder", folder)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EBADF):  # cannot sync folders at all
                raise
        finally:
            os.close(descriptor)


def _create(folder: Path) -> tuple[Path, int]:
    """Create a temp file with a lock on it."""
    while True:
        temp = folder / f".{secrets.token_hex(8)}.tmp"
        descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        if _claim(descriptor):
            return temp, descriptor
        os.close(descriptor)


def _claim(descriptor: int) -> bool:
    """Lock a new temp file, unless a sweeper was faster."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # no locks here: then no sweeper deletes anything either
    return os.fstat(descriptor).st_nlink > 0


@contextlib.contextmanager
def explained(path: Path, size_bytes: int = 0) -> Iterator[None]:
    """Turn an operating-system error into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        raise StoreError(_explain(error, path, size_bytes)) from error


def _explain(error: OSError, path: Path, size_bytes: int) -> str:
    reason = error.strerror or type(error).__name__
    if error.errno in NO_ROOM:
        return (
            f"{path}: no room for {size_bytes:,} bytes ({reason}). Nothing finished was lost: "
            "free some space and run the same command again."
        )
    advice = ADVICE.get(error.errno or 0, "Check the folder")
    return (
        f"{path}: cannot be read or written ({reason}). {advice}, then run the same command "
        "again: nothing finished was lost."
    )
