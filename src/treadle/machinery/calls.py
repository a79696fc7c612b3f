"""The call book: one SQLite file that holds every request sent to an endpoint, what it cost, and the raw reply.

    with book.session(limits) as session:
        number = session.reserve(call, worst)      # durable before anything is sent
        ...                                        # send
        session.settle(number, outcome)            # durable before anybody reads the reply

It lies beside the store and is shared by all runs, so a reply that was paid for once is never paid
for again. Money is counted in whole nano-dollars: a price of 0.15 dollars a million tokens is 150.

A session is one process's right to spend. What it may spend is checked and reserved at the worst
case in one transaction, so parallel callers cannot pass a limit together. Commits of parallel
callers are grouped: while one is written, the next ones queue and become durable together. A reply
is on the disk itself before it is read; a reservation is on its way there (it survives a kill, and a
power loss from the next reply on), which saves half of the waiting.

Not here: batches of a provider (`call_batches`); what a reply means (`models.endpoint`); costs of work on this machine (`ledger`).
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.errors import BudgetError, StoreError
from treadle.machinery.disk import Disk
from treadle.machinery.sealed_tables import SealedTables

MIGRATIONS = (
    """
    CREATE TABLE payer (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, seal TEXT);
    CREATE TABLE try (
        id INTEGER PRIMARY KEY, payer INTEGER NOT NULL, key TEXT NOT NULL, provider TEXT NOT NULL,
        model TEXT NOT NULL, request TEXT NOT NULL, sent_at TEXT NOT NULL,
        worst_tokens INTEGER NOT NULL, worst_nano_usd INTEGER NOT NULL, tokens INTEGER,
        nano_usd INTEGER, seconds REAL, status INTEGER, fault TEXT, reply BLOB, seal TEXT);
    CREATE INDEX try_key ON try (key);
    CREATE INDEX try_payer ON try (payer);
    """,
    "CREATE TABLE secret (id INTEGER PRIMARY KEY CHECK (id = 1), value BLOB NOT NULL, seal TEXT);",
    """
    CREATE TABLE batch (
        id INTEGER PRIMARY KEY, payer INTEGER NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
        path TEXT NOT NULL, tries TEXT NOT NULL, remote TEXT, ended INTEGER NOT NULL, seal TEXT);
    """,
)
COLUMNS = {
    "payer": "id, name",
    "try": "id, payer, key, provider, model, request, sent_at, worst_tokens, worst_nano_usd, "
    "tokens, nano_usd, seconds, status, fault, reply",
    "batch": "id, payer, provider, model, path, tries, remote, ended",
    "secret": "id, value",
}
MOST_IN_ONE_COMMIT = 512


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits of what a session's payer may spend in all; None means unlimited."""

    usd: float | None = None
    tokens: int | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """Tokens and nano-dollars."""

    tokens: int
    nano_usd: int


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, without secrets. `key` is the hash of all that decides the reply."""

    key: str
    provider: str
    model: str
    body: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a try: an HTTP status, or a fault before there was one; the body as it came."""

    cost: Price
    seconds: float
    status: int | None = None
    fault: str | None = None
    reply: bytes | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """What a payer has spent, open tries at their worst case."""

    requests: int
    tokens: int
    nano_usd: int

    @property
    def usd(self) -> float:
        return self.nano_usd / 1e9


@dataclass(frozen=True, slots=True)
class _Work:
    """Something to do in a transaction, and who waits for it."""

    do: Callable[[], Any]
    done: Future[Any]
    is_reply: bool


class CallBook:
    """All tries ever made from here. Any threads; other processes may have it open too."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        """Open the book, or make a new one.

        Raises:
            StoreError: it is damaged, was written by a newer treadle, or cannot be written.
        """
        self.path = path
        self.tables = SealedTables(path, MIGRATIONS, COLUMNS, disk or Disk())
        self._work: queue.SimpleQueue[_Work | None]
        self._work = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="call-book", daemon=True)
        self._writer.start()

    def session(self, payer: str, limits: Limits | None = None) -> Session:
        """Open a payer's right to spend. One process a payer at a time (a run folder has a lock)."""
        return Session(self, payer, limits or Limits())

    def replies(self, key: str) -> list[bytes]:
        """Return the bodies that came with status 200 for this request, oldest first."""
        query = (
            "SELECT reply FROM try WHERE key = ? AND status = 200 AND reply IS NOT NULL ORDER BY id"
        )
        return [bytes(reply) for (reply,) in self.tables.all(query, (key,))]

    def known(self, keys: list[str]) -> dict[str, list[bytes]]:
        """Return `replies` of every key that has any, in few reads."""
        found: dict[str, list[bytes]] = {}
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ", ".join("?" * len(part))
            query = f"""SELECT key, reply FROM try WHERE key IN ({marks}) AND status = 200
                        AND reply IS NOT NULL ORDER BY id"""
            for key, reply in self.tables.all(query, tuple(part)):
                found.setdefault(key, []).append(bytes(reply))
        return found

    def spent(self, payer: str) -> Spent:
        """Return what a payer has spent, over all its sessions."""
        query = """SELECT COUNT(*), COALESCE(SUM(COALESCE(tokens, worst_tokens)), 0),
                          COALESCE(SUM(COALESCE(nano_usd, worst_nano_usd)), 0)
                   FROM try JOIN payer ON payer.id = try.payer WHERE payer.name = ?"""
        return Spent(*self.tables.all(query, (payer,))[0])

    def costs(self) -> list[dict[str, Any]]:
        """Return tries, answers, tokens, dollars and seconds by payer, provider and model."""
        query = """SELECT payer.name, provider, model, COUNT(*), SUM(status IS 200),
                          SUM(tokens IS NULL), SUM(COALESCE(tokens, worst_tokens)),
                          SUM(COALESCE(nano_usd, worst_nano_usd)) / 1e9, SUM(COALESCE(seconds, 0))
                   FROM try JOIN payer ON payer.id = try.payer
                   GROUP BY payer.name, provider, model ORDER BY MIN(try.id)"""
        names = (
            "payer",
            "provider",
            "model",
            "tries",
            "answered",
            "open",
            "tokens",
            "usd",
            "seconds",
        )
        return [dict(zip(names, row, strict=True)) for row in self.tables.all(query)]

    def nonce_key(self) -> bytes:
        """Return 32 random bytes, made once for this book and never sent anywhere.

        What is derived from them cannot be guessed by whoever writes the rows, and is the same in a
        resumed run, which therefore asks the same questions and pays for none twice.
        """
        with self.tables.transaction():
            found = self.tables.all("SELECT value FROM secret")
            if not found:
                self.tables.insert("secret", value=secrets.token_bytes(32))
                found = self.tables.all("SELECT value FROM secret")
        return bytes(found[0][0])

    def commit(self, do: Callable[[], Any], *, is_reply: bool = False) -> Future[Any]:
        """Do something in the next transaction; its future is done when that is durable.

        What raises a BudgetError must not have written anything.
        """
        work = _Work(do, Future(), is_reply)
        self._work.put(work)
        return work.done

    def _write(self) -> None:
        """Take what waits, do it in one transaction, tell everybody, again."""
        while (first := self._work.get()) is not None:
            batch = [first]
            while len(batch) < MOST_IN_ONE_COMMIT:
                try:
                    item = self._work.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    self._work.put(None)
                    break
                batch.append(item)
            results: list[Any] = []
            try:
                has_reply = any(work.is_reply for work in batch)
                with self.tables.transaction(survives_power_loss=has_reply):
                    for work in batch:
                        try:
                            results.append(work.do())
                        except BudgetError as error:  # refused before it wrote
                            results.append(error)
            except Exception as error:  # the transaction failed: nobody of this batch is durable
                for work in batch:
                    work.done.set_exception(error)
                continue
            for work, result in zip(batch, results, strict=True):
                if isinstance(result, BudgetError):
                    work.done.set_exception(result)
                else:
                    work.done.set_result(result)

    def close(self) -> None:
        """Finish what waits and close the file."""
        self._work.put(None)
        self._writer.join()
        self.tables.close()

    def _payer(self, name: str) -> int:
        with self.tables.transaction():
            found = self.tables.all("SELECT id FROM payer WHERE name = ?", (name,))
            return int(found[0][0]) if found else self.tables.insert("payer", name=name)


class Session:
    """A payer's right to spend, up to its limits."""

    def __init__(self, book: CallBook, payer: str, limits: Limits) -> None:
        self.book, self.payer, self.limits = book, payer, limits
        self._tables = book.tables
        self.row = book._payer(payer)
        spent = book.spent(payer)
        # Kept by the writer's thread alone, changed only with what it commits.
        self._requests, self._tokens, self._nano = spent.requests, spent.tokens, spent.nano_usd

    @property
    def spent(self) -> Spent:
        return Spent(self._requests, self._tokens, self._nano)

    def reserve(self, request: Request, worst: Price) -> Future[int]:
        """Write down a try and its worst case; the future holds its number, or a BudgetError."""

        def work() -> int:
            return self.reserve_now([request], [worst])[0]

        return self.book.commit(work)

    def reserve_now(self, requests: Sequence[Request], worsts: Sequence[Price]) -> list[int]:
        """Write down tries, all or none, and return their numbers. Only in what is committed.

        Raises:
            BudgetError: a limit does not allow all of them; nothing was written.
        """
        tokens, nano = sum(w.tokens for w in worsts), sum(w.nano_usd for w in worsts)
        self._refuse_over_limit(Price(tokens, nano), len(requests))
        numbers = [
            self._tables.insert(
                "try", payer=self.row, key=request.key, provider=request.provider,
                model=request.model, request=request.body, sent_at=_now(),
                worst_tokens=worst.tokens, worst_nano_usd=worst.nano_usd,
            )
            for request, worst in zip(requests, worsts, strict=True)
        ]  # fmt: skip
        self._requests += len(requests)
        self._tokens += tokens
        self._nano += nano
        return numbers

    def settle(self, number: int, worst: Price, outcome: Outcome) -> Future[None]:
        """Write down what a try really cost, and its reply; durable when the future is done.

        Raises:
            StoreError: it cost more than its worst case, which would break the limits.
        """
        cost = outcome.cost
        if cost.tokens > worst.tokens or cost.nano_usd > worst.nano_usd:
            raise StoreError(
                f"a request reserved {worst} and cost {cost}. Its worst case is wrong: this is a bug."
            )

        def work() -> None:
            self._tables.update(
                "try", number, tokens=cost.tokens, nano_usd=cost.nano_usd, seconds=outcome.seconds,
                status=outcome.status, fault=outcome.fault, reply=outcome.reply,
            )  # fmt: skip
            self._tokens -= worst.tokens - cost.tokens
            self._nano -= worst.nano_usd - cost.nano_usd

        return self.book.commit(work, is_reply=True)

    def _refuse_over_limit(self, worst: Price, requests: int) -> None:
        usd = None if self.limits.usd is None else round(self.limits.usd * 1e9)
        checks: Mapping[str, tuple[int | None, int, int, str]] = {
            "usd": (usd, self._nano, worst.nano_usd, "dollars"),
            "tokens": (self.limits.tokens, self._tokens, worst.tokens, "tokens"),
            "requests": (self.limits.requests, self._requests, requests, "requests"),
        }
        for name, (limit, used, needed, unit) in checks.items():
            if limit is not None and used + needed > limit:
                shown = [n / 1e9 if name == "usd" else n for n in (limit, used, needed)]
                what = "the next request" if requests == 1 else f"a batch of {requests:,} requests"
                raise BudgetError(
                    f"the budget of {shown[0]:,.9g} {unit} does not allow {what} "
                    f"({shown[1]:,.9g} used or reserved, up to {shown[2]:,.9g} needed). Every reply so "
                    f"far is kept: raise budget.{name} and run the same command again."
                )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
