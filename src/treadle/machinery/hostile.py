"""An engine that does its worst: what survives it survives a cluster.

It runs the same commit protocol as every engine (`engine.steps`), one step at a time, and between
the steps it does to the attempts of a task what machines do to them: several at once, in any order;
killed at each point; frozen, and woken long after another attempt has won; their blobs lost or cut
before they were committed; half-written files left behind. All of it follows from a seed, so a
failure can be run again. It then retries until every task is committed.

    engine = HostileEngine(store, seed=7)
    assert gather(engine, stage) == gather(LocalEngine(other_store, ledger), stage)
    assert set(FAULTS) <= engine.hits.keys()        # over enough seeds

It promises what every engine promises (one commit a task; of two attempts the first wins, and
everybody sees the winner), and checks that itself: a breach is a StoreError.

Not here: being killed in the middle of a write (tests stop a process at each step of `Disk`), and
budgets (it has no ledger, and does work twice by design).
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from treadle.errors import StoreError
from treadle.machinery.disk import Disk
from treadle.machinery.engine import Commit, Point, Stage, Task, steps
from treadle.machinery.store import Store

POINTS = ("computed", "put", "stored", "committed")
FAULTS = (
    *(f"killed_{point}" for point in POINTS),
    *(f"frozen_{point}" for point in POINTS),
    "doubled",  # another attempt of the same task is running or has won
    "torn",  # a dead writer's half-written temp file
    "lost",  # a blob vanished before its commit
    "cut",  # a blob was truncated before its commit
    "retried",  # an attempt noticed that its blob was lost or cut
    "late_put",  # a blob written after another attempt had won
    "late_commit",  # a commit that came after another attempt's
    "overruled",  # … with other bytes than the winner's
    "found",  # a commit whose attempt was killed before it could tell
    "restarted",  # the driver opened the store again
)


@dataclass(eq=False)
class _Attempt:
    key: str
    protocol: Generator[Point, None, Commit]
    point: Point | None = None
    is_hurt: bool = False


@dataclass(eq=False)
class _Round:
    """One run of a stage: what is to be done, in the air, and done but not yet told."""

    stage: Stage
    tasks: dict[str, Task]
    patience: dict[str, int]
    untold: list[str]
    done: dict[str, Commit] = field(default_factory=dict)
    flying: list[_Attempt] = field(default_factory=list)

    @property
    def undone(self) -> list[str]:
        return [key for key in self.tasks if key not in self.done]


class HostileEngine:
    """Runs stages like any engine, and as badly as an engine may.

    Args:
        store: Where the work goes. The engine may damage what no commit names yet, nothing else.
        seed: Equal seeds do equal things.
        faults: At most so many kills, freezes and damages a task.
        at_once: At most so many attempts in the air.
    """

    def __init__(self, store: Store, seed: int, *, faults: int = 3, at_once: int = 4) -> None:
        self.hits: Counter[str] = Counter()
        self._fragile: set[str] = set()
        self._open(store.root, store.disk)
        self._faults, self._at_once = faults, at_once
        self._random = random.Random(seed)
        self._zombies: list[_Attempt] = []
        self._winners: dict[str, Commit] = {}

    def run(self, stage: Stage) -> Iterator[Commit]:
        """Yield one commit a task, in a random order.

        Raises:
            StoreError: two attempts of one task saw different winners.
        """
        keys = [stage.task_id(task) for task in stage.tasks]
        now = _Round(
            stage=stage,
            tasks=dict(zip(keys, stage.tasks, strict=True)),
            patience=dict.fromkeys(keys, self._faults),
            untold=keys,
        )
        while now.untold:
            self._turn(now)
            ready = [key for key in now.untold if key in now.done]
            if ready and (self._chance(0.2) or not now.undone):
                key = self._random.choice(ready)
                now.untold.remove(key)
                yield now.done[key]
        self._zombies += now.flying

    def finish(self) -> None:
        """Let every zombie that is left run to its end, late as it is."""
        while self._zombies:
            self._advance(self._random.choice(self._zombies), self._zombies, None)

    def _turn(self, now: _Round) -> None:
        """Let one thing happen."""
        if self._zombies and self._chance(0.15):
            self._advance(self._random.choice(self._zombies), self._zombies, now)
        elif self._chance(0.005):
            self._restart()
        elif len(now.flying) < self._at_once and self._chance(0.3 if now.undone else 0.05):
            self._start(now)
        elif now.flying:
            attempt = self._random.choice(now.flying)
            if attempt.point and now.patience[attempt.key] and self._chance(0.3):
                now.patience[attempt.key] -= 1
                self._hurt(attempt, attempt.point, now)
            else:
                self._advance(attempt, now.flying, now)

    def _start(self, now: _Round) -> None:
        undone = now.undone
        key = self._random.choice(undone if undone and self._chance(0.9) else list(now.tasks))
        # Every second attempt looks for a commit first, as engines do; the others race blindly.
        if key not in now.done and self._chance(0.5):
            record = self.store.lookup(key)
            if record is not None:
                self.hits["found"] += 1
                self._won(key, Commit.read(key, record), now)
                return
        if key in now.done or any(other.key == key for other in now.flying):
            self.hits["doubled"] += 1
        now.flying.append(_Attempt(key, steps(self._hands, now.stage, now.tasks[key])))

    def _advance(self, attempt: _Attempt, among: list[_Attempt], now: _Round | None) -> None:
        is_late = attempt.key in self._winners
        try:
            attempt.point = next(attempt.protocol)
        except StopIteration as end:
            among.remove(attempt)
            if attempt.point and attempt.point.blobs != end.value.blobs:
                self.hits["overruled"] += 1
            self._won(attempt.key, end.value, now)
        except StoreError:
            among.remove(attempt)
            if not attempt.is_hurt:
                raise
            self.hits["retried"] += 1
        else:
            if is_late and attempt.point.done != "computed":
                self.hits["late_commit" if attempt.point.done == "committed" else "late_put"] += 1

    def _won(self, key: str, commit: Commit, now: _Round | None) -> None:
        if commit != self._winners.setdefault(key, commit):
            raise StoreError(f"task {key}: two attempts saw different winners. This is a bug.")
        if now is not None and key in now.tasks:
            now.done[key] = commit

    def _hurt(self, attempt: _Attempt, point: Point, now: _Round) -> None:
        blobs = [k for k in point.blobs if k in self._fragile and self.store.path(k).exists()]
        how = self._random.choice(("killed", "frozen", "torn", "lost", "cut"))
        if how in ("killed", "frozen"):
            now.flying.remove(attempt)
            self.hits[f"{how}_{point.done}"] += 1
            if how == "frozen":
                self._zombies.append(attempt)
            else:
                attempt.protocol.close()
        elif how == "torn":
            self.hits["torn"] += 1
            self._tear(attempt.key)
        elif blobs:
            self.hits[how] += 1
            self._damage(self._random.choice(blobs), how, [*now.flying, *self._zombies])

    def _damage(self, key: str, how: str, attempts: list[_Attempt]) -> None:
        """Lose or cut a blob that no commit names, under every attempt that has put it."""
        path = self.store.path(key)
        blob = path.read_bytes()
        path.unlink()
        if how == "cut":
            path.write_bytes(blob[: len(blob) // 2])
        for attempt in attempts:
            if attempt.point and key in attempt.point.blobs:
                attempt.is_hurt = True

    def _tear(self, key: str) -> None:
        """Leave what a writer leaves that died in the middle of a write."""
        folder = self.store.root / self._random.choice(("objects", "commits")) / key[:2]
        folder.mkdir(parents=True, exist_ok=True)
        name = f".{self._random.getrandbits(64):016x}.tmp"
        (folder / name).write_bytes(self._random.randbytes(self._random.randrange(200)))

    def _restart(self) -> None:
        """Open the store again, as a driver does that was killed; its old attempts live on."""
        self.hits["restarted"] += 1
        self._open(self.store.root, self.store.disk)

    def _open(self, root: Path, disk: Disk) -> None:
        self.store: Store = _Watched(root, disk, self._fragile, is_driver=True)
        self._hands: Store = _Watched(root, disk, self._fragile, is_driver=False)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share


class _Watched(Store):
    """A store that knows which blobs are fragile: written by an attempt, and not yet relied upon."""

    def __init__(self, root: Path, disk: Disk, fragile: set[str], *, is_driver: bool) -> None:
        super().__init__(root, disk)
        self._fragile, self._is_driver = fragile, is_driver

    def put(self, blob: bytes) -> str:
        was_there = self.path(hashlib.sha256(blob).hexdigest()).exists()
        key = super().put(blob)
        if self._is_driver:
            self._fragile.discard(key)
        elif not was_there:
            self._fragile.add(key)
        return key

    def commit(
        self, task: str, record: Mapping[str, Any], sizes: Sequence[int] | None = None
    ) -> dict[str, Any]:
        winner = super().commit(task, record, sizes)
        self._fragile.difference_update(winner["blobs"])
        return winner
