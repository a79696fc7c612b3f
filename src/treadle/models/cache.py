"""Models that are made once a machine and kept: the converted embedded model, the proxy.

A model is made in a temporary folder under a lock, and one rename puts it in place: a killed
process leaves nothing half-made, and two at once make it once. Every file is checked by its content
hash when it is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from treadle.errors import ModelError
from treadle.models import weights

MANIFEST = "treadle_manifest.json"


def cache_folder() -> Path:
    """Return `$TREADLE_CACHE`, or `treadle` in the user's cache folder. It may not exist yet."""
    own = os.environ.get("TREADLE_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "treadle"


def kept(name: str, make: Callable[[Path], None], *, doing: str, room: str) -> Path:
    """Return the model folder `name` of the cache; have `make` fill it if missing or damaged.

    Args:
        doing: what `make` does and how long it takes, for the person who waits.
        room: how much disk it needs.

    Raises:
        ModelError: the cache cannot be written.
    """
    target = cache_folder() / name
    if is_whole(target):
        return target
    try:
        with _alone(target):
            if not is_whole(target):
                print(f"treadle: {doing} in {target}", file=sys.stderr, flush=True)
                _make(make, target)
    except OSError as error:
        raise ModelError(
            f"{target}: the model cannot be kept there ({error.strerror or error}). It needs about "
            f"{room}; set TREADLE_CACHE to a folder with room that you may write to."
        ) from error
    return target


def is_whole(target: Path) -> bool:
    """Whether every file is there and has the content that was made."""
    try:
        expected: dict[str, str] = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        return all(weights.file_hash(target / name) == mark for name, mark in expected.items())
    except (OSError, ValueError, AttributeError):
        return False


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Wait until no other process makes it; the lock dies with its process."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(make: Callable[[Path], None], target: Path) -> None:
    temp = target.with_name(f".{target.name}.tmp")
    for leftover in (temp, target):  # we hold the lock: nobody else is at work on them
        if leftover.exists():
            shutil.rmtree(leftover)
    temp.mkdir()
    with weights.quietly():
        make(temp)
    marks = {path.name: weights.file_hash(path) for path in sorted(temp.iterdir())}
    (temp / MANIFEST).write_text(json.dumps(marks, indent=1), encoding="utf-8")
    for path in (*temp.iterdir(), temp):
        _sync(path)
    temp.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
