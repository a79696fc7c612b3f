"""Batches in the call book: many tries that a provider answers together, hours later.

    batch = batches.reserve(requests, worsts).result()    # all tries and the batch, or none, durable
    ...                                                   # hand it in
    batches.handed_in(batch, "batch_123").result()        # durable before anybody waits for it
    session.settle(number, worst, outcome)                # each try, as its result comes
    batches.end(batch).result()

A process that is killed while it waits finds its batch again (`open`) and waits on instead of paying
anew. Between handing in and `handed_in` it would not: those tries stay open, at their worst case.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from treadle.machinery.calls import Price, Request, Session


@dataclass(frozen=True, slots=True)
class Try:
    """One request of a batch, as it stands in the book."""

    number: int
    key: str
    worst: Price


@dataclass(frozen=True, slots=True)
class Batch:
    """Tries that were handed in together. `remote` is the provider's name for it, once there is one."""

    row: int
    path: str
    tries: tuple[Try, ...]
    remote: str | None = None


class Batches:
    """The batches of one payer at one provider and model."""

    def __init__(self, session: Session, provider: str, model: str) -> None:
        self.session, self.provider, self.model = session, provider, model
        self._tables = session.book.tables

    def reserve(
        self, path: str, requests: Sequence[Request], worsts: Sequence[Price]
    ) -> Future[Batch]:
        """Write down a batch and the worst case of all its tries; the future may hold a BudgetError."""

        def work() -> Batch:
            numbers = self.session.reserve_now(requests, worsts)
            row = self._tables.insert(
                "batch", payer=self.session.row, provider=self.provider, model=self.model, path=path,
                tries=json.dumps(numbers), ended=0,
            )  # fmt: skip
            tries = (
                Try(number, request.key, worst)
                for number, request, worst in zip(numbers, requests, worsts, strict=True)
            )
            return Batch(row, path, tuple(tries))

        return self.session.book.commit(work, is_reply=True)

    def handed_in(self, batch: Batch, remote: str) -> Future[None]:
        """Write down what the provider calls it."""

        def work() -> None:
            self._tables.update("batch", batch.row, remote=remote)

        return self.session.book.commit(work, is_reply=True)

    def end(self, batch: Batch) -> Future[None]:
        """Write down that nobody waits for it any more."""

        def work() -> None:
            self._tables.update("batch", batch.row, ended=1)

        return self.session.book.commit(work, is_reply=True)

    def open(self) -> list[Batch]:
        """Return the batches that were handed in and not ended, with the tries that are still open."""
        found = self._tables.all(
            """SELECT id, path, tries, remote FROM batch WHERE payer = ? AND provider = ?
               AND model = ? AND remote IS NOT NULL AND ended = 0 ORDER BY id""",
            (self.session.row, self.provider, self.model),
        )
        return [
            Batch(row, path, self._tries(json.loads(tries)), remote)
            for row, path, tries, remote in found
        ]

    def _tries(self, numbers: list[int]) -> tuple[Try, ...]:
        found: list[Try] = []
        for start in range(0, len(numbers), 500):
            part = numbers[start : start + 500]
            rows = self._tables.all(
                f"""SELECT id, key, worst_tokens, worst_nano_usd FROM try
                    WHERE id IN ({", ".join("?" * len(part))}) AND tokens IS NULL ORDER BY id""",
                tuple(part),
            )
            found += [Try(number, key, Price(tokens, nano)) for number, key, tokens, nano in rows]
        return tuple(found)
