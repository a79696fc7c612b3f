"""What the evaluation side publishes about its items: hashes and n-grams, never a text.

Training rows must be checked against evaluation items, yet nothing outside `evaluate/` may read
those items. So the evaluation side builds this index, and everybody else sees only it:

    index = SealedIndex.build({"gsm8k": pool}, ngram=13)
    index.exact_hits(hashes)        # row, set, item: equal after normalisation
    index.gram_hits(ngrams)         # row, set, item, shared, share: common runs of 13 words

An item is known by its set's name and a number (its place among the set's ids, in order). Items
with fewer words than an n-gram are invisible to n-grams: only equality of their whole text, prompt
or answer finds them, and `short_items` counts them so that a report can say how many they are.

A hash is not a secret: who can guess a text can test the guess. The seal stops reading, not
guessing. Rephrased or translated items are out of reach of both checks.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from treadle.data.pool import Pool
from treadle.data.row import Row
from treadle.data.text import Hashes, Ragged, hash_words, ngrams, sorted_sets, text_hash, words
from treadle.errors import DataError

ANSWER_WORDS = 8
"""The fewest words with which an answer alone is telling ("42" and "Yes" are everyone's)."""

EXACT_SCHEMA = {"row": pl.Int64, "set": pl.String, "item": pl.Int64}
GRAM_SCHEMA = {**EXACT_SCHEMA, "shared": pl.Int64, "share": pl.Float64}
_KEY = b"treadle.sealed_index"


@dataclass(frozen=True, slots=True)
class SealedSet:
    """One evaluation set: its name, its number of items, and how many are too short for n-grams."""

    name: str
    items: int
    short_items: int


@dataclass(frozen=True, eq=False)
class SealedIndex:
    """Sorted hashes of evaluation items.

    Items of all sets are numbered in one sequence, set after set. `exact[i]` is the hash of the
    whole text, the prompt or a telling answer of item `exact_items[i]`; `grams[i]` is the hash of
    an n-gram of item `gram_items[i]`. Both are sorted by hash, then by item, without repeats.
    """

    ngram: int
    sets: tuple[SealedSet, ...]
    exact: Hashes
    exact_items: NDArray[np.uint32]
    grams: Hashes
    gram_items: NDArray[np.uint32]

    @classmethod
    def build(cls, pools: Mapping[str, Pool], ngram: int = 13) -> SealedIndex:
        """Index the items of evaluation sets, in the order of the sets' names."""
        sets, exact, grams, first = [], [], [], 0
        for name in sorted(pools):
            rows = pools[name].rows()
            hashed = hash_words(row.text for row in rows)
            sets.append(SealedSet(name, len(rows), int((hashed.counts < ngram).sum())))
            runs = ngrams(hashed, ngram)
            grams.append((runs.values, runs.owners + first))
            parts = exact_hashes(rows)
            exact.append((parts.values, parts.owners + first))
            first += len(rows)
        return cls(ngram, tuple(sets), *_sorted(exact), *_sorted(grams))

    @property
    def items(self) -> int:
        """How many items there are in all sets."""
        return sum(one.items for one in self.sets)

    @property
    def short_items(self) -> int:
        """How many items have fewer words than an n-gram."""
        return sum(one.short_items for one in self.sets)

    def exact_hits(self, hashes: Ragged) -> pl.DataFrame:
        """Return (row, set, item) for each row that owns the hash of an item's whole text or part.

        Args:
            hashes: for each row, the `text_hash` of what should be looked up.
        """
        rows, items = _look_up(hashes, self.exact, self.exact_items)
        found = self._named(rows, items).unique()
        return found.sort("row", "set", "item")

    def gram_hits(self, grams: Ragged, *, most_items: int | None = None) -> pl.DataFrame:
        """Return (row, set, item, shared, share) for each row and item with a common n-gram.

        `shared` counts the item's distinct n-grams that the row holds, `share` is their share of
        all of the item's. With `most_items`, n-grams that more items than that have in common are
        taken for the set's template and count in neither.
        """
        values, items = self.grams, self.gram_items
        if most_items is not None:
            is_telling = self._items_a_gram <= most_items
            values, items = values[is_telling], items[is_telling]
        sizes = np.bincount(items, minlength=self.items)
        distinct = sorted_sets(grams.owners, grams.values, len(grams))
        rows, hit = _look_up(distinct, values, items)
        found = self._named(rows, hit).with_columns(pl.Series("size", sizes[hit]))
        counted = found.group_by("row", "set", "item", "size").len("shared")
        share = pl.col("shared") / pl.col("size")
        counted = counted.with_columns(pl.col("shared").cast(pl.Int64), share=share)
        return counted.select(GRAM_SCHEMA.keys()).sort("row", "set", "item")

    def template_items(self, most_items: int) -> int:
        """How many items have n-grams, but none that `most_items` leaves telling."""
        is_telling = self._items_a_gram <= most_items
        all_items = np.unique(self.gram_items)
        return len(all_items) - len(np.unique(self.gram_items[is_telling]))

    @cached_property
    def _items_a_gram(self) -> NDArray[np.int64]:
        """For each entry of `grams`, the number of items that have this n-gram."""
        _, place, counts = np.unique(self.grams, return_inverse=True, return_counts=True)
        many: NDArray[np.int64] = counts[place]
        return many

    def _named(self, rows: NDArray[np.int64], items: NDArray[np.int64]) -> pl.DataFrame:
        """Turn global item numbers into the set's name and the item's number in it."""
        firsts = np.cumsum([0, *(one.items for one in self.sets)])
        place = np.searchsorted(firsts, items, side="right") - 1
        names = pl.Series([one.name for one in self.sets], dtype=pl.String)
        columns = {"row": rows, "set": names.gather(place), "item": items - firsts[place]}
        return pl.DataFrame(columns, schema=EXACT_SCHEMA)

    def to_bytes(self) -> bytes:
        """Encode as one Parquet table with its heading in the metadata; equal indexes, equal bytes."""
        sets = [[one.name, one.items, one.short_items] for one in self.sets]
        heading = json.dumps({"ngram": self.ngram, "sets": sets}, sort_keys=True)
        table = pa.table(
            {
                "is_gram": np.repeat([False, True], [len(self.exact), len(self.grams)]),
                "hash": np.concatenate([self.exact, self.grams]),
                "item": np.concatenate([self.exact_items, self.gram_items]),
            }
        ).replace_schema_metadata({_KEY: heading.encode()})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, blob: bytes) -> SealedIndex:
        """Decode what `to_bytes` wrote.

        Raises:
            DataError: the bytes are something else, or damaged.
        """
        try:
            table = pq.read_table(io.BytesIO(blob))
            heading = json.loads(table.schema.metadata[_KEY])
            sets = tuple(SealedSet(*one) for one in heading["sets"])
            is_gram, values, items = (
                table.column(name).to_numpy() for name in ("is_gram", "hash", "item")
            )
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a sealed index ({error}). Publish the index again.") from error
        is_exact = ~is_gram
        return cls(
            int(heading["ngram"]),
            sets,
            *(values[is_exact], items[is_exact]),
            *(values[is_gram], items[is_gram]),
        )


def question(row: Row) -> str:
    """Return the prompt without system turns: what is asked, however the asker is set up."""
    return "\n".join(turn.content for turn in row.prompt if turn.role != "system")


def exact_hashes(rows: Sequence[Row]) -> Ragged:
    """Return for each row the hashes whose equality with an item's means contamination.

    The whole text, the `question`, and the reply when it has at least `ANSWER_WORDS` words. Texts
    without words have no hash: two rows of nothing but symbols are not thereby the same.
    """
    nothing = text_hash("")
    owners: list[int] = []
    values: list[int] = []
    for number, row in enumerate(rows):
        found = {text_hash(row.text), text_hash(question(row))}
        if len(words(row.reply)) >= ANSWER_WORDS:
            found.add(text_hash(row.reply))
        found.discard(nothing)
        owners.extend([number] * len(found))
        values.extend(found)
    return sorted_sets(np.array(owners, np.int64), np.array(values, np.uint64), len(rows))


def _sorted(
    parts: list[tuple[Hashes, NDArray[np.int64]]],
) -> tuple[Hashes, NDArray[np.uint32]]:
    """Return hashes and items sorted by hash, then item, without repeats."""
    values = np.concatenate([np.empty(0, np.uint64), *(part[0] for part in parts)])
    items = np.concatenate([np.empty(0, np.int64), *(part[1] for part in parts)])
    order = np.lexsort((items, values))
    values, items = values[order], items[order].astype(np.uint32)
    is_new = np.ones(len(values), dtype=bool)
    is_new[1:] = (values[1:] != values[:-1]) | (items[1:] != items[:-1])
    return values[is_new], items[is_new]


def _look_up(
    hashes: Ragged, values: Hashes, items: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (row, item) for each hash of a row among the sorted `values`; one row may hit many."""
    low = np.searchsorted(values, hashes.values, side="left")
    counts = np.searchsorted(values, hashes.values, side="right") - low
    ends = np.cumsum(counts)
    inside = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    rows = np.repeat(hashes.owners, counts)
    return rows, items[np.repeat(low, counts) + inside].astype(np.int64)
