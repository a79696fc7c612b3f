"""The ledger: one SQLite file a run that remembers every task, cost, reservation and decision.

Times and costs live here and not in artefacts, so artefacts stay byte-identical between runs.
Limits are hard: the worst case is reserved before work starts, and nothing starts over the limit.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.errors import BudgetError, StoreError
from treadle.machinery.disk import Disk

MIGRATIONS = (
    """
    CREATE TABLE session (id INTEGER PRIMARY KEY, started_at TEXT NOT NULL, seconds REAL NOT NULL);
    CREATE TABLE task (
        key TEXT NOT NULL, stage TEXT NOT NULL, rows_in INTEGER NOT NULL, kept INTEGER NOT NULL,
        dropped INTEGER NOT NULL, quarantined INTEGER NOT NULL, tokens INTEGER NOT NULL,
        seconds REAL NOT NULL, finished_at TEXT NOT NULL);
    CREATE INDEX task_stage ON task (stage);
    CREATE TABLE reservation (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, tokens INTEGER NOT NULL, settled INTEGER);
    CREATE TABLE decision (
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, made_at TEXT NOT NULL);
    """,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits of a run; None means unlimited."""

    minutes: float | None = None
    tokens: int | None = None


class Reservation:
    """Tokens set aside for one task."""

    def __init__(self, ledger: Ledger, row: int) -> None:
        self._ledger, self._row = ledger, row

    def settle(self, tokens: int) -> None:
        """Replace the reserved worst case by what was really used."""
        self._ledger.execute("UPDATE reservation SET settled = ? WHERE id = ?", (tokens, self._row))


class Ledger:
    """Costs and decisions of one run folder. One process at a time (see `lock`)."""

    def __init__(self, path: Path, limits: Limits | None = None, disk: Disk | None = None) -> None:
        self.path, self.limits, self.disk = path, limits or Limits(), disk or Disk()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()
        except sqlite3.Error as error:
            raise StoreError(f"{path}: the ledger cannot be opened ({error}).") from error
        # A reservation that a dead process left open was in flight: it counts as spent in full.
        self.execute("UPDATE reservation SET settled = tokens WHERE settled IS NULL")
        self._began = time.monotonic()
        self._earlier = float(self._one("SELECT COALESCE(SUM(seconds), 0) FROM session"))
        self._session = self.execute(
            "INSERT INTO session (started_at, seconds) VALUES (?, 0)", (_now(),)
        )

    def _migrate(self) -> None:
        version = int(self._one("PRAGMA user_version"))
        if version > len(MIGRATIONS):
            raise StoreError(f"{self.path}: written by a newer treadle. Update treadle.")
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            self._db.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> int:
        """Run one durable statement and return the id of the row it inserted."""
        self.disk.step("ledger", self.path)
        try:
            return self._db.execute(statement, values).lastrowid or 0
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: the ledger cannot be written ({error}).") from error

    def _one(self, query: str) -> Any:
        return self._db.execute(query).fetchone()[0]

    @property
    def seconds(self) -> float:
        """Wall seconds spent on this run, over all sessions."""
        return self._earlier + time.monotonic() - self._began

    @property
    def tokens(self) -> int:
        """Tokens settled or reserved."""
        return int(self._one("SELECT COALESCE(SUM(COALESCE(settled, tokens)), 0) FROM reservation"))

    def check(self) -> None:
        """Stop if the wall-time budget has run out.

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

    def keep_time(self) -> None:
        """Write down the time that this session has taken so far."""
        seconds = time.monotonic() - self._began
        self.execute("UPDATE session SET seconds = ? WHERE id = ?", (seconds, self._session))

    @contextlib.contextmanager
    def reserve(self, key: str, tokens: int) -> Iterator[Reservation]:
        """Set aside the worst case of a task before it starts.

        Raises:
            BudgetError: settled and reserved tokens would pass the limit; nothing is reserved.
        """
        limit = self.limits.tokens
        if limit is not None and self.tokens + tokens > limit:
            raise BudgetError(
                f"the budget of {limit:,} tokens does not allow the next task ({self.tokens:,} used, "
                f"{tokens:,} needed). Raise budget.tokens and run the same command again."
            )
        row = self.execute("INSERT INTO reservation (key, tokens) VALUES (?, ?)", (key, tokens))
        try:
            yield Reservation(self, row)
        except BaseException:
            # Interrupted in flight: the work may be done again, so its whole price stays counted.
            with contextlib.suppress(StoreError):
                self.execute("UPDATE reservation SET settled = tokens WHERE id = ?", (row,))
            raise

    def record(self, stage: str, key: str, counts: Mapping[str, Any], seconds: float) -> None:
        """Write down a finished task."""
        names = ("rows_in", "kept", "dropped", "quarantined", "tokens")
        values = (key, stage, *(int(counts[n]) for n in names), seconds, _now())
        self.execute("INSERT INTO task VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        self.keep_time()

    def decide(self, kind: str, body: Mapping[str, Any]) -> None:
        """Write down a decision (a verdict, a look at sealed items)."""
        text = json.dumps(body, sort_keys=True)
        values = (kind, text, _now())
        self.execute("INSERT INTO decision (kind, body, made_at) VALUES (?, ?, ?)", values)

    def decisions(self, kind: str) -> list[dict[str, Any]]:
        """Return the decisions of one kind, oldest first."""
        query = "SELECT body FROM decision WHERE kind = ? ORDER BY id"
        return [json.loads(row[0]) for row in self._db.execute(query, (kind,))]

    def costs(self) -> list[dict[str, Any]]:
        """Return seconds, rows and tokens by stage, in the order in which stages first ran."""
        query = """SELECT stage, COUNT(*), SUM(seconds), SUM(rows_in), SUM(tokens) FROM task
                   GROUP BY stage ORDER BY MIN(rowid)"""
        names = ("stage", "tasks", "seconds", "rows", "tokens")
        return [dict(zip(names, row, strict=True)) for row in self._db.execute(query)]

    def close(self) -> None:
        """Keep the time and close the file."""
        with contextlib.suppress(StoreError):
            self.keep_time()
        self._db.close()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
