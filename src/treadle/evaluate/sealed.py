"""Sealed evaluation sets: the items stay here, the rest of the wheel gets an index of hashes.

Selectors, audits and trainers can check a row against the index; they can never read an item. An
audit that compares meaning is handed vectors of the items, named as in the index.
Every student that is evaluated is a look at the set, which the ledger remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

from treadle.data.pool import Pool
from treadle.data.row import column, from_frame
from treadle.data.sealed_index import SealedIndex, numbers_hash
from treadle.errors import DataError


@dataclass(frozen=True, slots=True)
class SealedSets:
    """Named evaluation sets. `_pools` is for `evaluate/` alone."""

    _pools: Mapping[str, Pool] = field(repr=False)

    def __post_init__(self) -> None:
        for name, pool in self._pools.items():
            if not len(pool):
                raise DataError(
                    f"evaluation set {name!r} has no usable row: nothing can be judged."
                )

    @property
    def sizes(self) -> dict[str, int]:
        """Number of items of each set."""
        return {name: len(pool) for name, pool in self._pools.items()}

    def index(self, *, ngram: int = 13) -> SealedIndex:
        """Publish hashes and n-grams of every item, against which every row is checked."""
        return SealedIndex.build(dict(self._pools), ngram=ngram)

    def features(self, measure: Callable[[Pool], pl.DataFrame]) -> pl.DataFrame:
        """Publish features of every item (`set`, `item`, `numbers`, …), but no text and no id.

        Items are named as in the index: by their set and their place among its ids. `numbers` is
        the hash of the numbers that they name. A vector tells what a text is about, and more to who
        tries hard: it is less of a seal than a hash.

        Args:
            measure: returns `id` and the features of a pool's rows.
        """
        frames = []
        for name, pool in sorted(self._pools.items()):
            found = measure(pool).sort("id").drop("id")
            number = pl.int_range(pl.len(), dtype=pl.Int64).alias("item")
            hashes = [numbers_hash(row) for row in pool.rows()]
            frames.append(
                found.select(
                    pl.lit(name).alias("set"),
                    number,
                    pl.Series("numbers", hashes, dtype=pl.UInt64),
                    pl.all(),
                )
            )
        return pl.concat(frames)


def items_of(sealed: SealedSets, *, cluster: str | None = None) -> pl.DataFrame:
    """Return all items with the columns `item` and `source` added (for `evaluate/` only).

    Args:
        cluster: the user's column by which items are clustered; without it each item stands alone.

    Raises:
        DataError: a set has no such column.
    """
    frames = []
    for name, pool in sorted(sealed._pools.items()):
        source = pool.frame["id"]
        if cluster is not None:
            found = column(pool.frame, cluster)
            if found is None:
                raise DataError(f"gate.cluster: evaluation set {name!r} has no column {cluster!r}.")
            source = found.cast(pl.String).fill_null(pool.frame["id"])
        item = pl.concat_str(pl.lit(f"{name}:"), "id").alias("item")
        frames.append(pool.frame.with_columns(item, source.alias("source")))
    return pl.concat(frames).unique("item", keep="first", maintain_order=True).sort("item")


def reveal(sealed: SealedSets) -> pl.DataFrame:
    """Return `item`, `prompt`, `answer` for a person to read, after the gate has decided."""
    items = items_of(sealed)
    rows = from_frame(items)
    return pl.DataFrame(
        {
            "item": items["item"],
            "prompt": ["\n".join(turn.content for turn in row.prompt) for row in rows],
            "answer": [row.reply for row in rows],
        },
        schema={"item": pl.String, "prompt": pl.String, "answer": pl.String},
    )
