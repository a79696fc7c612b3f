"""One writer a run folder. The lock dies with its process, so a dead owner never blocks.

Not covered: two machines on one network folder whose locks do not reach across machines.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from treadle.errors import StoreError
from treadle.machinery.disk import Disk, explained


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, and clear away what a dead owner left half-written.

    Raises:
        StoreError: another live process holds it, or the folder cannot be written.
    """
    path = folder / ".lock"
    with explained(path):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(descriptor, folder)
        Disk().sweep(folder)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "unknown"
        raise StoreError(
            f"{folder}: another treadle process ({owner}) is writing here. Wait for it, stop it, "
            "or choose another run folder with --out."
        ) from error
    except OSError as error:
        raise StoreError(
            f"{folder}: this file system has no file locks ({error.strerror}), so two runs could "
            "not be kept apart. Choose a run folder on a local disk with --out."
        ) from error
    with contextlib.suppress(OSError):  # who holds it is a courtesy, and the disk may be full
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}".encode(), 0)
