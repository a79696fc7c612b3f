"""Open what a run or a single stage works with: store, ledger, engine, models, progress."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from treadle import models
from treadle.context import Context
from treadle.flywheel.progress import Observer
from treadle.machinery.disk import Disk
from treadle.machinery.engine import LocalEngine, Stage
from treadle.machinery.ledger import Ledger, Limits
from treadle.machinery.store import Store

STORE = ".store"


@dataclass(frozen=True)
class Workshop:
    """An engine on a store, a ledger, and the context that ops are handed."""

    engine: LocalEngine
    ledger: Ledger
    context: Context


@contextlib.contextmanager
def open_workshop(
    *,
    store: Path,
    observer: Observer,
    ledger: Path | None = None,
    limits: Limits | None = None,
    student: str | None = None,
    embedder: str | None = None,
    seed: int = 0,
    disk: Disk | None = None,
) -> Iterator[Workshop]:
    """Open a workshop and close its ledger at the end.

    Without `ledger` the costs are forgotten (single stages); the store is still used as a cache.
    """
    with contextlib.ExitStack() as stack:
        if ledger is None:
            ledger = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "ledger.sqlite"
        book = Ledger(ledger, limits or Limits(), disk)
        stack.callback(book.close)

        def on_task(stage: Stage, done: int, cached: bool) -> None:
            observer.tasks(stage.name, done, len(stage.tasks), is_cached=cached)

        def tick() -> None:
            observer.tick()
            book.check()

        engine = LocalEngine(Store(store, disk), book, on_task)
        found = _Models(student, embedder)
        yield Workshop(engine, book, Context(seed=seed, models=found, engine=engine, tick=tick))


class _Models(Mapping[str, Any]):
    """Models by role, each loaded when it is first asked for: many commands need none."""

    def __init__(self, student: str | None, embedder: str | None) -> None:
        loaders: dict[str, Callable[[], Any]] = {}
        if student is not None:
            loaders["student"] = partial(models.load, student)
        if embedder is not None:
            loaders["embedder"] = partial(models.load_embedder, embedder)
        self._loaders = loaders
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, role: str) -> Any:
        if role not in self._loaded:
            self._loaded[role] = self._loaders[role]()
        return self._loaded[role]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)
