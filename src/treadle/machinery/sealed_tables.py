"""A SQLite file that notices damage: every row carries a checksum (`seal`), checked at opening.

SQLite has no checksums of its own: it sees a broken page, but returns a flipped digit as it is.
The file is built in memory and published whole, so that an empty file is always damage, never a
beginning. Each transaction is durable when it ends (write-ahead log, synchronous FULL).

Not covered: damage to a write-ahead log that a crash left behind. SQLite drops what follows it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from treadle.errors import StoreError
from treadle.machinery.disk import Disk

# Flipped bits in a text, or in a name that SQLite puts into its message, are not UTF-8 any more.
DAMAGE = (sqlite3.Error, OSError, UnicodeError)


class SealedTables:
    """Tables with an `id` and a `seal` each. One process, any threads.

    Args:
        path: The file; made if it is not there.
        migrations: Append-only list of scripts; the file remembers how many it has seen.
        columns: The sealed columns of each table, as `"id, name, …"`.
        disk: Where to announce steps.
    """

    def __init__(
        self, path: Path, migrations: Sequence[str], columns: Mapping[str, str], disk: Disk
    ) -> None:
        self.path = path
        self._migrations, self._columns, self._disk = migrations, columns, disk
        self._lock = threading.RLock()
        if not path.exists():
            for suffix in ("-wal", "-shm"):  # a log without its file would be replayed into ours
                stale = path.with_name(path.name + suffix)
                if stale.exists():
                    disk.remove(stale)
            disk.publish_if_absent(path, self._empty())
        self._db = self._open()

    def _empty(self) -> bytes:
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
            self._migrate(db)
            return db.serialize()

    def _open(self) -> sqlite3.Connection:
        db = None
        try:
            if self.path.stat().st_size == 0:
                raise sqlite3.DatabaseError("the file is empty")
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            db.create_function("seal", -1, _seal, deterministic=True)
            db.execute("PRAGMA journal_mode = WAL")
            self._migrate(db)
            self._verify(db)
        except BaseException as error:
            if db is not None:
                db.close()
            if isinstance(error, DAMAGE):
                raise StoreError(
                    f"{self.path}: cannot be opened ({error}). If it is damaged, move it away and "
                    "run again: finished work is kept, its costs and decisions are not."
                ) from error
            raise
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > len(self._migrations):
            raise StoreError(f"{self.path}: written by a newer treadle. Update treadle.")
        for number, script in enumerate(self._migrations[version:], start=version + 1):
            db.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")

    def _verify(self, db: sqlite3.Connection) -> None:
        """Notice damage: pages by SQLite's own check, values by the seals."""
        (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        for table, names in self._columns.items():
            query = f"SELECT id FROM {table} WHERE seal IS NOT seal('{table}', {names}) LIMIT 1"
            for (row,) in db.execute(query):
                raise sqlite3.DatabaseError(f"row {row} of table {table} was changed")

    @contextlib.contextmanager
    def transaction(self, *, survives_power_loss: bool = True) -> Iterator[None]:
        """Make what happens inside durable as a whole, or not at all.

        Without `survives_power_loss` it survives the death of this process at once, and a power loss
        from the next transaction on that does.

        Raises:
            StoreError: SQLite refuses: the disk is full, read-only or faulty.
        """
        with self._lock:
            try:
                self._disk.step("sql_begin", self.path)
                self._db.execute(
                    f"PRAGMA synchronous = {'FULL' if survives_power_loss else 'NORMAL'}"
                )
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._disk.step("sql_commit", self.path)
                self._db.execute("COMMIT")
            except BaseException as error:  # an interrupt, too, must not leave it half open
                with contextlib.suppress(sqlite3.Error):
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                if isinstance(error, DAMAGE):
                    raise self._refusal("written", error) from error
                raise

    def all(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return every row of a query."""
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except DAMAGE as error:
                raise self._refusal("read", error) from error

    def one(self, query: str, values: tuple[Any, ...] = ()) -> Any:
        """Return the first value of the first row of a query that has one."""
        return self.all(query, values)[0][0]

    def insert(self, table: str, **values: object) -> int:
        """Insert a row and return its id; only inside a transaction."""
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        row = self._db.execute(statement, tuple(values.values())).lastrowid or 0
        self._reseal(table, row)
        return row

    def update(self, table: str, row: int, **values: object) -> None:
        """Change a row; only inside a transaction."""
        changes = ", ".join(f"{name} = ?" for name in values)
        self._db.execute(f"UPDATE {table} SET {changes} WHERE id = ?", (*values.values(), row))
        self._reseal(table, row)

    def _reseal(self, table: str, row: int) -> None:
        seal = f"seal('{table}', {self._columns[table]})"
        self._db.execute(f"UPDATE {table} SET seal = {seal} WHERE id = ?", (row,))

    def _refusal(self, verb: str, error: Exception) -> StoreError:
        return StoreError(
            f"{self.path}: cannot be {verb} ({error}). Make room or repair the folder, then run "
            "the same command again: nothing finished was lost."
        )

    def close(self) -> None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.close()


def _seal(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, default=bytes.hex).encode()).hexdigest()[:16]
