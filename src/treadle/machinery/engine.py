"""Engines run stages of tasks. They know tasks and bytes, not rows.

A stage is one function over lists of blobs. A task's id is the hash of the stage's fingerprint, its
options and its input blobs, so equal work has one id, on any engine, in any order. Results are
committed if absent: of two attempts the first wins, and a late one (a zombie) is discarded.

    found = gather(LocalEngine(store, ledger), Stage("double", double, [Task((key,))], "v1"))

Not here: what a stage means (the ops), and running tasks in a hostile way (`hostile`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from treadle.errors import StoreError
from treadle.machinery.code import file_hash
from treadle.machinery.ledger import COUNTS, Ledger
from treadle.machinery.store import Store


@dataclass(frozen=True, slots=True)
class Output:
    """What a task made: blobs, and the counts that must add up (`rows_in` = sum of the rest)."""

    blobs: Sequence[bytes]
    rows_in: int = 0
    kept: int = 0
    dropped: int = 0
    quarantined: int = 0
    tokens: int = 0


Work = Callable[[Sequence[bytes], Mapping[str, Any], Any], Output]


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work: hashes of the input blobs, and which part of a shuffle it is."""

    inputs: tuple[str, ...]
    part: int = 0
    tokens: int = 0
    """Worst-case tokens that a model processes, reserved before the task starts."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Tasks that run one function.

    `work` is a module-level function of (input blobs, options, resources), so that a remote worker
    can find it by name; `options` are plain JSON; `fingerprint` covers op and model, and the id
    covers the file of `work` too.
    `resources` (loaded models) are not part of the id.
    """

    name: str
    work: Work
    tasks: Sequence[Task]
    fingerprint: str
    options: Mapping[str, Any] = field(default_factory=dict)
    resources: Any = None

    def __post_init__(self) -> None:
        if "<locals>" in self.work.__qualname__ or "<lambda>" in self.work.__qualname__:
            raise ValueError(f"stage {self.name}: work must be a module-level function")

    def task_id(self, task: Task) -> str:
        """Hash of everything that the result depends on."""
        parts = [
            self.name,
            f"{self.work.__module__}:{self.work.__qualname__}:{file_hash(self.work.__module__)}",
            self.fingerprint,
            dict(self.options),
            list(task.inputs),
            task.part,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Commit:
    """A finished task: its id, the hashes of its blobs, and its counts."""

    task: str
    blobs: tuple[str, ...]
    rows_in: int
    kept: int
    dropped: int
    quarantined: int
    tokens: int

    @classmethod
    def read(cls, task: str, record: Mapping[str, Any]) -> Commit:
        """Build a commit from the store's record of it."""
        counts = {name: int(record[name]) for name in COUNTS}
        return cls(task=task, blobs=tuple(record["blobs"]), **counts)


class Engine(Protocol):
    """Runs the tasks of a stage and yields their commits, in any order."""

    store: Store

    def run(self, stage: Stage) -> Iterator[Commit]: ...


@dataclass(frozen=True, slots=True)
class Point:
    """What an attempt has just done, and the blobs that it has stored so far.

    `computed`: nothing is stored. `put`: some blobs are. `stored`: all are, and nothing is
    committed. `committed`: the record is there, and nobody has been told.
    """

    done: Literal["computed", "put", "stored", "committed"]
    blobs: tuple[str, ...] = ()


def steps(store: Store, stage: Stage, task: Task) -> Generator[Point, None, Commit]:
    """Run one task, pausing at every point where a crash would leave something else behind.

    Order: read the inputs, compute, store the blobs, then commit if absent. The commit returned is
    the winner's, which need not be this attempt's.
    """
    key = stage.task_id(task)
    output = stage.work([store.get(k) for k in task.inputs], stage.options, stage.resources)
    _check(stage, output)
    yield Point("computed")
    blobs: list[str] = []
    for blob in output.blobs:
        if blobs:
            yield Point("put", tuple(blobs))
        blobs.append(store.put(blob))
    yield Point("stored", tuple(blobs))
    record: dict[str, Any] = {name: int(getattr(output, name)) for name in COUNTS}
    record["blobs"] = blobs
    winner = store.commit(key, record, [len(blob) for blob in output.blobs])
    yield Point("committed", tuple(blobs))
    return Commit.read(key, winner)


def attempt(store: Store, stage: Stage, task: Task) -> Commit:
    """Run one task without a pause."""
    protocol = steps(store, stage, task)
    while True:
        try:
            next(protocol)
        except StopIteration as end:
            commit: Commit = end.value
            return commit


def _check(stage: Stage, output: Output) -> None:
    counts = (output.kept, output.dropped, output.quarantined)
    if output.rows_in != sum(counts) or min(*counts, output.tokens) < 0:
        raise StoreError(
            f"{stage.name}: {output.rows_in} rows went in but {output.kept} kept + {output.dropped} "
            f"dropped + {output.quarantined} quarantined came out ({output.tokens} tokens). This is "
            "a bug in the op."
        )


class LocalEngine:
    """Runs tasks one after another in this process, under the ledger's budget."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        on_task: Callable[[Stage, int, bool], None] | None = None,
    ) -> None:
        """`on_task(stage, tasks_done, was_cached)` is called after each task."""
        self.store = store
        self.ledger = ledger
        self._on_task = on_task or (lambda stage, done, cached: None)

    def run(self, stage: Stage) -> Iterator[Commit]:
        """Yield one commit a task; finished tasks are not run again.

        Raises:
            BudgetError: the budget does not allow the next task; everything before it is kept.
        """
        for done, task in enumerate(stage.tasks, start=1):
            key = stage.task_id(task)
            record = self.store.lookup(key)
            if record is not None:
                commit = Commit.read(key, record)
                self.ledger.recover(stage.name, key, asdict(commit))
            else:
                commit = self._run(stage, task, key)
            self._on_task(stage, done, record is not None)
            yield commit

    def _run(self, stage: Stage, task: Task, key: str) -> Commit:
        self.ledger.check()
        began = self.ledger.clock()
        with self.ledger.reserve(key, task.tokens) as reservation:
            commit = attempt(self.store, stage, task)
            reservation.settle(commit.tokens)
        self.ledger.record(stage.name, key, asdict(commit), self.ledger.clock() - began)
        return commit


def gather(engine: Engine, stage: Stage) -> list[Commit]:
    """Run a stage and return its commits in the order of its tasks."""
    found = {commit.task: commit for commit in engine.run(stage)}
    missing = [task for task in stage.tasks if stage.task_id(task) not in found]
    if missing:
        raise StoreError(f"{stage.name}: {len(missing)} tasks were not committed. Run again.")
    return [found[stage.task_id(task)] for task in stage.tasks]
