"""Pack a small folder of files into blobs and back: how a trained adapter travels through the store.

The first blob is a JSON list of the file names, the others are the files in that order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from treadle.errors import StoreError


def pack(folder: Path) -> list[bytes]:
    """Return the files of a flat folder as blobs, in the order of their names."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    names = json.dumps([path.name for path in files]).encode()
    return [names, *(path.read_bytes() for path in files)]


def unpack(blobs: Sequence[bytes], folder: Path) -> None:
    """Write packed blobs as files.

    Raises:
        StoreError: the blobs are not what `pack` made.
    """
    names = json.loads(blobs[0])
    if len(names) != len(blobs) - 1 or any(Path(name).name != name for name in names):
        raise StoreError("a packed folder does not have the files that it names. Run again.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, blob in zip(names, blobs[1:], strict=True):
        (folder / name).write_bytes(blob)
