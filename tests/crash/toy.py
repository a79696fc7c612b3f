"""A small job for crash tests: split lines by key, merge each part, add the parts up.

    "7:3" is a row with key 7 and value 3; "7:3" again is a duplicate; "boom" is quarantined.

Every work function is module-level, as engines ask. Resources may hold a `Witness`: the file to
which work appends a line each time it runs, so that a test can count.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.machinery.engine import Engine, Output, Stage, Task, gather

PARTS = 3
_serial = itertools.count()


def lines_of(shard: int, rows: int = 12) -> bytes:
    """Return one shard of rows: some are duplicates of other shards' rows, some are malformed."""
    made = [f"{(shard * 5 + i) % 17}:{i * i % 7}" for i in range(rows)]
    made[shard % rows] = f"boom {shard}"
    return "\n".join(made).encode()


@dataclass(frozen=True)
class Witness:
    """Notes outside the store that work ran, and takes the time that real work takes."""

    path: Path
    sleep_s: float = 0.0

    def note(self, name: str) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{name}\n".encode())
        os.close(descriptor)
        if self.sleep_s:
            time.sleep(self.sleep_s)

    def notes(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []


def note(witness: Witness | None, name: str) -> None:
    if witness is not None:
        witness.note(name)


def split(blobs: Sequence[bytes], options: Mapping[str, Any], resources: Any) -> Output:
    """Send each line to the part of its key, and malformed lines to quarantine."""
    lines = blobs[0].decode().splitlines()
    good = [line for line in lines if ":" in line]
    parts = ["\n".join(g for g in good if int(g.split(":")[0]) % PARTS == p) for p in range(PARTS)]
    note(resources, "split")
    return Output(
        [part.encode() for part in parts],
        rows_in=len(lines),
        kept=len(good),
        quarantined=len(lines) - len(good),
        tokens=len(good),
    )


def merge(blobs: Sequence[bytes], options: Mapping[str, Any], resources: Any) -> Output:
    """Merge one part of every shard; equal rows become one."""
    lines = [line for blob in blobs for line in blob.decode().splitlines()]
    distinct = sorted(set(lines))
    note(resources, "merge")
    return Output(
        ["\n".join(distinct).encode(), str(len(lines)).encode()],
        rows_in=len(lines),
        kept=len(distinct),
        dropped=len(lines) - len(distinct),
        tokens=len(lines),
    )


def add_up(blobs: Sequence[bytes], options: Mapping[str, Any], resources: Any) -> Output:
    """Add up the values of all parts."""
    lines = [line for blob in blobs for line in blob.decode().splitlines()]
    total = sum(int(line.split(":")[1]) for line in lines)
    note(resources, "add_up")
    return Output(
        [json.dumps({"rows": len(lines), "total": total}).encode()], len(lines), len(lines)
    )


def unsteady(blobs: Sequence[bytes], options: Mapping[str, Any], resources: Any) -> Output:
    """Give other bytes each time, as sampled text does."""
    parts = [f"{blob.decode()} #{next(_serial)}".encode() for blob in blobs]
    return Output([*parts, b"", b"same"], rows_in=1, kept=1)


def job(engine: Engine, witness: Witness | None = None, shards: int = 4) -> list[str]:
    """Run all three stages; return the hashes of everything that they made, in order."""
    inputs = [engine.store.put(lines_of(shard)) for shard in range(shards)]
    tasks = [Task((key,), tokens=40) for key in inputs]
    made = gather(engine, Stage("split", split, tasks, "v1", resources=witness))
    assert sum(c.rows_in for c in made) == sum(c.kept + c.quarantined for c in made) == 12 * shards
    tasks = [Task(tuple(c.blobs[p] for c in made), part=p, tokens=60) for p in range(PARTS)]
    merged = gather(engine, Stage("merge", merge, tasks, "v1", resources=witness))
    assert sum(c.rows_in for c in merged) == sum(c.kept for c in made)
    task = Task(tuple(c.blobs[0] for c in merged), tokens=5)
    (total,) = gather(engine, Stage("add_up", add_up, [task], "v1", resources=witness))
    assert total.rows_in == sum(c.kept for c in merged)
    return [*inputs, *(key for c in (*made, *merged, total) for key in c.blobs)]


def dice(engine: Engine) -> list[str]:
    """Run a stage whose work never gives the same bytes twice, and one that builds on it."""
    inputs = [engine.store.put(f"prompt {i}".encode()) for i in range(6)]
    stage = Stage("unsteady", unsteady, [Task((key,)) for key in inputs], "v1")
    first = gather(engine, stage)
    second = gather(engine, Stage("after", unsteady, [Task(c.blobs) for c in first], "v1"))
    return [key for commit in (*first, *second) for key in commit.blobs]
