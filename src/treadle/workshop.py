"""Open what a run or a single stage works with: store, ledger, engine, models, call book, progress."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from treadle import models
from treadle.context import Context
from treadle.flywheel.progress import Kept, Observer
from treadle.judge import model as judging
from treadle.machinery import calls
from treadle.machinery.disk import Disk
from treadle.machinery.engine import LocalEngine, Stage
from treadle.machinery.ledger import Ledger, Limits
from treadle.machinery.store import Store
from treadle.models.endpoint import Address, Endpoint
from treadle.models.endpoint.answers import Progress

STORE = ".store"
CALLS = "calls.sqlite"
"""The call book, in the store's folder."""


def payer_of(run: Path) -> str:
    """Who pays for what a run asks, in the call book."""
    return f"run {os.path.basename(os.path.abspath(run))}"


def asking_file(store: Path, payer: str) -> Path:
    """Where the figures of a payer's ask are while it goes on."""
    return store / "asking" / f"{quote(payer, safe=' ')}.json"


@dataclass(frozen=True)
class Workshop:
    """An engine on a store, a ledger, and the context that ops are handed."""

    engine: LocalEngine
    ledger: Ledger
    context: Context


def _unmoved(found: judging.Unlicensed) -> None:
    return None


@dataclass(frozen=True)
class Asking:
    """Whom a workshop may ask over the network, who pays, and within what limits.

    `on_unlicensed` hears of a judge that is asked without a licence.
    """

    payer: str
    addresses: Mapping[str, Address] = field(default_factory=dict)
    limits: calls.Limits = field(default_factory=calls.Limits)
    on_unlicensed: Callable[[judging.Unlicensed], None] = _unmoved


@contextlib.contextmanager
def open_workshop(
    *,
    store: Path,
    observer: Observer,
    ledger: Path | None = None,
    limits: Limits | None = None,
    student: str | None = None,
    embedder: str | None = None,
    asking: Asking | None = None,
    seed: int = 0,
    disk: Disk | None = None,
) -> Iterator[Workshop]:
    """Open a workshop and close its ledger, endpoints and call book at the end.

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
        desk = _Desk(store, asking, stack, disk) if asking is not None else None
        found = _Models(student, embedder, desk)

        def tell(progress: Progress) -> None:
            observer.asking(progress)
            if desk is not None:
                desk.kept.keep(progress)

        context = Context(seed=seed, models=found, engine=engine, tick=tick, asking=tell)
        yield Workshop(engine, book, context)


class _Desk:
    """Opens the call book and the endpoints when they are first wanted: most runs ask nobody."""

    def __init__(
        self, store: Path, asking: Asking, stack: contextlib.ExitStack, disk: Disk | None
    ) -> None:
        self.store, self.asking, self._stack, self._disk = store, asking, stack, disk
        self._session: calls.Session | None = None
        self.kept = Kept(asking_file(store, asking.payer), disk or Disk())
        stack.callback(self.kept.forget)

    def endpoint(self, role: str) -> Endpoint:
        if self._session is None:
            book = calls.CallBook(self.store / CALLS, self._disk)
            self._stack.callback(book.close)
            self._session = book.session(self.asking.payer, self.asking.limits)
        return self._stack.enter_context(Endpoint(self.asking.addresses[role], self._session))

    def judge(self) -> judging.JudgeModel:
        endpoint, permit = self.endpoint("judge"), judging.permitted()
        if permit is not None:
            self.asking.on_unlicensed(permit.note(endpoint))
        return judging.JudgeModel(endpoint, self.store / judging.FOLDER, permit is not None)


class _Models(Mapping[str, Any]):
    """Models by role, each loaded when it is first asked for: many commands need none."""

    def __init__(self, student: str | None, embedder: str | None, desk: _Desk | None) -> None:
        loaders: dict[str, Callable[[], Any]] = {}
        if student is not None:
            loaders["student"] = partial(models.load, student)
        if embedder is not None:
            loaders["embedder"] = partial(models.load_embedder, embedder)
        for role in desk.asking.addresses if desk is not None else ():
            assert desk is not None
            loaders[role] = desk.judge if role == "judge" else partial(desk.endpoint, role)
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
