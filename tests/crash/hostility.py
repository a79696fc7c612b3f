"""Run a build on the hostile engine with many seeds, against the local engine.

A build is a function `(engine) -> hashes of its outputs`, in order. Work that is slow can be
remembered: `Remembering` computes each task once and replays its bytes, while every attempt still
goes through the whole protocol.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crash.killing import tree_hash
from treadle.machinery.engine import Commit, Engine, LocalEngine, Output, Stage
from treadle.machinery.hostile import HostileEngine
from treadle.machinery.ledger import Ledger
from treadle.machinery.store import Store

Build = Callable[[Engine], list[str]]
Memory = dict[str, Output]


def local(folder: Path) -> LocalEngine:
    return LocalEngine(Store(folder / "store"), Ledger(folder / "ledger.sqlite"))


def hostile_hits(
    build: Build, seeds: range, folder: Path, memory: Memory | None = None
) -> Counter[str]:
    """Build with each seed; outputs, commits and blobs must all be the local engine's."""
    wrap = (lambda engine: engine) if memory is None else (lambda e: Remembering(e, memory))
    expected = build(wrap(local(folder / "local")))
    tree = tree_hash(folder / "local" / "store")
    hits = Counter[str]()
    for seed in seeds:
        engine = HostileEngine(Store(folder / f"hostile-{seed}"), seed)
        assert build(wrap(engine)) == expected, f"seed {seed}"
        engine.finish()
        Store(engine.store.root)
        assert tree_hash(engine.store.root) == tree, f"seed {seed}"
        shutil.rmtree(engine.store.root)
        hits += engine.hits
    return hits


@dataclass(frozen=True)
class Remembering:
    """An engine that computes a task once over all runs."""

    inner: Engine
    memory: Memory

    @property
    def store(self) -> Store:
        return self.inner.store

    def run(self, stage: Stage) -> Iterator[Commit]:
        name = f"{stage.work.__module__}:{stage.work.__qualname__}"
        other = replace(
            stage,
            work=replay,
            fingerprint=f"{name}/{stage.fingerprint}",
            resources=(stage, self.memory),
        )
        names = {other.task_id(task): stage.task_id(task) for task in stage.tasks}
        for commit in self.inner.run(other):
            yield replace(commit, task=names[commit.task])


def replay(blobs: Sequence[bytes], options: Mapping[str, Any], resources: Any) -> Output:
    """Return what the stage's own work returned for these bytes (the work of a task)."""
    stage, memory = resources
    parts = [stage.name, stage.fingerprint, dict(options)]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    for blob in blobs:
        digest.update(hashlib.sha256(blob).digest())
    key = digest.hexdigest()
    if key not in memory:
        memory[key] = stage.work(blobs, options, stage.resources)
    return memory[key]
