"""The ledger: one SQLite file a run that remembers every task, cost, reservation and decision.

Times and costs live here and not in artefacts, so artefacts stay byte-identical between runs.
Limits are hard: the worst case is reserved before work starts, and nothing starts over the limit.

Not here: how a damaged file is noticed (`sealed_tables`); results, which are in the `store`.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.errors import BudgetError, StoreError
from treadle.machinery.disk import Disk
from treadle.machinery.sealed_tables import SealedTables

MIGRATIONS = (
    """
    CREATE TABLE session (
        id INTEGER PRIMARY KEY, started_at TEXT NOT NULL, seconds REAL NOT NULL, seal TEXT);
    CREATE TABLE task (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, stage TEXT NOT NULL, rows_in INTEGER NOT NULL,
        kept INTEGER NOT NULL, dropped INTEGER NOT NULL, quarantined INTEGER NOT NULL,
        tokens INTEGER NOT NULL, seconds REAL, finished_at TEXT NOT NULL, seal TEXT);
    CREATE INDEX task_key ON task (key);
    CREATE TABLE reservation (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, tokens INTEGER NOT NULL, settled INTEGER,
        seal TEXT);
    CREATE INDEX reservation_key ON reservation (key);
    CREATE TABLE decision (
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, made_at TEXT NOT NULL,
        seal TEXT);
    """,
)
COLUMNS = {
    "session": "id, started_at, seconds",
    "task": "id, key, stage, rows_in, kept, dropped, quarantined, tokens, seconds, finished_at",
    "reservation": "id, key, tokens, settled",
    "decision": "id, kind, body, made_at",
}
COUNTS = ("rows_in", "kept", "dropped", "quarantined", "tokens")
KEEP_TIME_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits of a run; None means unlimited."""

    minutes: float | None = None
    tokens: int | None = None


class Reservation:
    """Tokens set aside for one task."""

    def __init__(self, ledger: Ledger, row: int, tokens: int) -> None:
        self._ledger, self._row, self.tokens = ledger, row, tokens

    def settle(self, tokens: int) -> None:
        """Replace the reserved worst case by what was really used.

        Raises:
            StoreError: there is a token limit, and more was used than reserved: a wrong worst case
                breaks the limit. What was used is written down first.
        """
        self._ledger.settle(self._row, tokens)
        if tokens > self.tokens and self._ledger.limits.tokens is not None:
            raise StoreError(
                f"a task reserved {self.tokens:,} tokens and used {tokens:,}. Its worst case is "
                "wrong: this is a bug in the op."
            )


class Ledger:
    """Costs and decisions of one run folder. One process at a time (see `lock`), any threads."""

    def __init__(
        self,
        path: Path,
        limits: Limits | None = None,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the ledger, or make a new one.

        Raises:
            StoreError: it is damaged, was written by a newer treadle, or cannot be written.
        """
        self.path, self.limits, self.clock = path, limits or Limits(), clock
        self._tables = SealedTables(path, MIGRATIONS, COLUMNS, disk or Disk())
        self._began = self._kept = clock()
        self._spent = 0.0
        try:
            self._begin()
        except BaseException:
            self._tables.close()
            raise

    def _begin(self) -> None:
        tables = self._tables
        with tables.transaction():
            # A reservation that a dead process left open was in flight: it counts in full.
            in_flight = "SELECT id, tokens FROM reservation WHERE settled IS NULL"
            for row, worst in tables.all(in_flight):
                tables.update("reservation", row, settled=worst)
            self._earlier = float(tables.one("SELECT COALESCE(SUM(seconds), 0) FROM session"))
            self._session = tables.insert("session", started_at=_now(), seconds=0.0)

    @property
    def seconds(self) -> float:
        """Wall seconds spent on this run, over all sessions. Never falls, whatever the clock does."""
        self._spent = max(self._spent, self.clock() - self._began)
        return self._earlier + self._spent

    @property
    def tokens(self) -> int:
        """Tokens settled or reserved."""
        query = "SELECT COALESCE(SUM(COALESCE(settled, tokens)), 0) FROM reservation"
        return int(self._tables.one(query))

    def check(self) -> None:
        """Stop if the wall-time budget has run out. Cheap: call it as often as you like.

        Raises:
            BudgetError: it has; nothing finished is lost.
        """
        limit = self.limits.minutes
        if limit is not None and self.seconds >= limit * 60:
            self.keep_time()
            raise BudgetError(
                f"the budget of {limit:g} minutes is used up ({self.seconds / 60:.1f} spent). All "
                "finished work is kept: raise budget.minutes and run the same command again."
            )
        if self.clock() - self._kept >= KEEP_TIME_EVERY_S:  # so that a kill forgets little
            self.keep_time()

    def keep_time(self) -> None:
        """Write down the time that this session has taken so far."""
        with self._tables.transaction():
            self._write_time()

    def _write_time(self) -> None:
        self._kept = self.clock()
        spent = self.seconds - self._earlier
        self._tables.update("session", self._session, seconds=spent)

    @contextlib.contextmanager
    def reserve(self, key: str, tokens: int) -> Iterator[Reservation]:
        """Set aside the worst case of a task before it starts.

        Raises:
            BudgetError: settled and reserved tokens would pass the limit; nothing is reserved.
        """
        if tokens < 0:
            raise StoreError(f"task {key} cannot reserve {tokens} tokens: this is a bug in the op.")
        limit = self.limits.tokens
        # Check and insert are one transaction: two threads cannot both take the last tokens.
        with self._tables.transaction():
            used = self.tokens
            if limit is not None and used + tokens > limit:
                raise BudgetError(
                    f"the budget of {limit:,} tokens does not allow the next task ({used:,} used, "
                    f"{tokens:,} needed). Raise budget.tokens and run the same command again."
                )
            row = self._tables.insert("reservation", key=key, tokens=tokens)
        try:
            yield Reservation(self, row, tokens)
        except BaseException:
            # Interrupted in flight: the work may be done again, so its whole price stays counted.
            with contextlib.suppress(StoreError), self._tables.transaction():
                query = "SELECT settled IS NULL FROM reservation WHERE id = ?"
                if self._tables.one(query, (row,)):
                    self._tables.update("reservation", row, settled=tokens)
            raise

    def settle(self, row: int, tokens: int) -> None:
        """Write down what a reservation really used."""
        if tokens < 0:
            raise StoreError(f"a task cannot use {tokens} tokens: this is a bug in the op.")
        with self._tables.transaction():
            self._tables.update("reservation", row, settled=tokens)

    def record(
        self, stage: str, key: str, counts: Mapping[str, Any], seconds: float | None
    ) -> None:
        """Write down a finished task; `seconds` is None when nobody knows them."""
        with self._tables.transaction():
            self._insert_task(stage, key, counts, seconds)
            self._write_time()

    def recover(self, stage: str, key: str, counts: Mapping[str, Any]) -> bool:
        """Write down a task that was committed just before its process died, if so it was.

        Its reservation is settled at what it used, not at its worst case. Return whether it was so.
        """
        query = """SELECT MAX(id) FROM reservation
                   WHERE key = ?1 AND NOT EXISTS (SELECT 1 FROM task WHERE key = ?1)"""
        row = self._tables.one(query, (key,))
        if row is None:
            return False
        with self._tables.transaction():
            self._tables.update("reservation", row, settled=int(counts["tokens"]))
            self._insert_task(stage, key, counts, None)
        return True

    def _insert_task(
        self, stage: str, key: str, counts: Mapping[str, Any], seconds: float | None
    ) -> None:
        numbers = {name: int(counts[name]) for name in COUNTS}
        self._tables.insert(
            "task", key=key, stage=stage, **numbers, seconds=seconds, finished_at=_now()
        )

    def decide(self, kind: str, body: Mapping[str, Any]) -> None:
        """Write down a decision (a verdict, a look at sealed items)."""
        with self._tables.transaction():
            text = json.dumps(body, sort_keys=True)
            self._tables.insert("decision", kind=kind, body=text, made_at=_now())

    def decisions(self, kind: str) -> list[dict[str, Any]]:
        """Return the decisions of one kind, oldest first."""
        query = "SELECT body FROM decision WHERE kind = ? ORDER BY id"
        return [json.loads(body) for (body,) in self._tables.all(query, (kind,))]

    def costs(self) -> list[dict[str, Any]]:
        """Return seconds, rows and tokens by stage, in the order in which stages first ran.

        A task that had to be done again costs again, but is one task and has its rows once.
        """
        query = """SELECT stage, COUNT(*), SUM(seconds), SUM(rows), SUM(tokens) FROM (
                       SELECT stage, MIN(id) AS first, COALESCE(SUM(seconds), 0) AS seconds,
                              MAX(rows_in) AS rows, SUM(tokens) AS tokens
                       FROM task GROUP BY stage, key)
                   GROUP BY stage ORDER BY MIN(first)"""
        names = ("stage", "tasks", "seconds", "rows", "tokens")
        return [dict(zip(names, row, strict=True)) for row in self._tables.all(query)]

    def close(self) -> None:
        """Keep the time and close the file."""
        with contextlib.suppress(StoreError):
            self.keep_time()
        self._tables.close()


def read_costs(path: Path) -> list[dict[str, Any]]:
    """Return `Ledger.costs` of a ledger that stays as it is, whether or not its run is going on.

    Opening a ledger begins a session in it, so a copy is read.

    Raises:
        StoreError: it is not there, or damaged.
    """
    if not path.is_file():
        raise StoreError(f"{path}: not there. Is {path.parent} a run folder?")
    with tempfile.TemporaryDirectory(prefix="treadle-") as place:
        copy = Path(place) / path.name
        try:
            _copy(path, copy)
            with contextlib.closing(Ledger(copy)) as ledger:
                return ledger.costs()
        except (sqlite3.Error, StoreError) as error:
            told = str(error).replace(str(copy), str(path))
            raise StoreError(told if str(path) in told else f"{path}: {told}") from error


def _copy(path: Path, target: Path) -> None:
    """Copy a database with what its write-ahead log holds, and leave no file beside it."""
    has_log = path.with_name(f"{path.name}-wal").exists()
    mode = "mode=ro" if has_log else "mode=ro&immutable=1"  # else SQLite makes a log to read it
    with (
        contextlib.closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)
        ) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
