"""Files and folders that appear under their names whole or not at all.

Not here: the run folder and the store, whose writes outlive a power loss (`machinery.disk`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeGuard

from treadle.errors import StoreError


@contextmanager
def published(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to; it appears at `path`, synced, only when all went well.

    Raises:
        StoreError: the file cannot be written.
    """
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temp.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        with suppress(OSError):
            temp.unlink()


@contextmanager
def published_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the place of `folder` only when all went well.

    Raises:
        StoreError: the folder cannot be written.
    """
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        yield fresh
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def is_plain(name: object) -> TypeGuard[str]:
    """Whether a name that data gives is that of a file in the same folder."""
    return isinstance(name, str) and name == Path(name).name and name not in ("", ".", "..")
