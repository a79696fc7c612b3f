"""What the evaluation side publishes about its items: hashes and n-grams, never a text.

Training rows must be checked against evaluation items, yet nothing outside `evaluate/` may read
those items. So the evaluation side builds this index, and everybody else sees only it:

    index = SealedIndex.build({"gsm8k": pool}, ngram=13).without_templates(10)
    hashed = row_hashes(rows)
    index.exact_hits(hashed)                    # row, set, item: equal texts
    index.gram_hits(ngrams(hashed.words, 13))   # row, set, item, shared, share: runs of 13 words

An item is known by its set's name and a number (its place among the set's ids, in order). Items
with fewer words than an n-gram are invisible to n-grams: only equality of their whole text, prompt
or answer finds them, and `short_items` counts them so that a report can say how many they are.

A hash is not a secret: who can guess a text can test the guess. The seal stops reading, not
guessing. Rephrased or translated items are out of reach of both checks (`SealedSets.features` is what
an audit of meaning is handed).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.data.pool import Pool
from treadle.data.row import Row
from treadle.text.numbers import numbers
from treadle.text.words import (
    Hashes,
    Ragged,
    as_written_hash,
    hash_each,
    ngrams,
    sorted_sets,
    words,
    words_hash,
)

TELLING_WORDS = 8
"""The fewest words with which a prompt or a reply alone is telling ("Yes" is everyone's)."""

EXACT_SCHEMA = {"row": pl.Int64, "set": pl.String, "item": pl.Int64}
GRAM_SCHEMA = {**EXACT_SCHEMA, "shared": pl.Int64, "share": pl.Float64}

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowHashes:
    """Hashes of rows: of every word, of the whole text, and of the parts that tell an item."""

    words: Ragged
    wholes: Ragged
    parts: Ragged


@dataclass(frozen=True, slots=True)
class SealedSet:
    """One evaluation set: its name, its number of items, and how many are too short for n-grams."""

    name: str
    items: int
    short_items: int


@dataclass(frozen=True, eq=False)
class Postings:
    """Which items own which hashes: `items[i]` owns `hashes[i]`. Sorted by both, without repeats."""

    hashes: Hashes
    items: NDArray[np.uint32]

    @classmethod
    def of(cls, items: Numbers, hashes: Hashes) -> Postings:
        """Sort pairs of items and hashes."""
        order = np.lexsort((items, hashes))
        hashes, owners = hashes[order], items[order].astype(np.uint32)
        is_new = np.ones(len(hashes), dtype=bool)
        is_new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
        return cls(hashes[is_new], owners[is_new])

    def telling(self, most_items: int) -> Postings:
        """Return the hashes that at most so many items own."""
        _, place, counts = np.unique(self.hashes, return_inverse=True, return_counts=True)
        is_telling = counts[place] <= most_items
        return Postings(self.hashes[is_telling], self.items[is_telling])

    def look_up(self, owners: Numbers, hashes: Hashes) -> tuple[Numbers, Numbers]:
        """Return (owner, item) for each hash of an owner that items own too."""
        low = np.searchsorted(self.hashes, hashes, side="left")
        counts = np.searchsorted(self.hashes, hashes, side="right") - low
        ends = np.cumsum(counts)
        inside = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
        items = self.items[np.repeat(low, counts) + inside]
        return np.repeat(owners, counts), items.astype(np.int64)


@dataclass(frozen=True, eq=False)
class SealedIndex:
    """Hashes of evaluation items. Items of all sets are numbered in one sequence, set after set.

    `wholes` are hashes of whole texts, `parts` those of prompts and replies (see `row_hashes`),
    `grams` those of runs of `ngram` words.
    """

    ngram: int
    sets: tuple[SealedSet, ...]
    wholes: Postings
    parts: Postings
    grams: Postings

    @classmethod
    def build(cls, pools: Mapping[str, Pool], ngram: int = 13) -> SealedIndex:
        """Index the items of evaluation sets, in the order of the sets' names."""
        sets: list[SealedSet] = []
        wholes: list[Ragged] = []
        parts: list[Ragged] = []
        grams: list[Ragged] = []
        for name in sorted(pools):
            hashed = row_hashes(pools[name].rows())
            counts = hashed.words.counts
            sets.append(SealedSet(name, len(counts), int((counts < ngram).sum())))
            wholes.append(hashed.wholes)
            parts.append(hashed.parts)
            grams.append(ngrams(hashed.words, ngram))
        kinds = (_postings(kind, _firsts(sets)) for kind in (wholes, parts, grams))
        return cls(ngram, tuple(sets), *kinds)

    def without_templates(self, most_items: int) -> SealedIndex:
        """Return the index without parts and n-grams that more than so many items have in common.

        They are taken for the set's template, which is everyone's. Whole texts stay.
        """
        parts, grams = (one.telling(most_items) for one in (self.parts, self.grams))
        return replace(self, parts=parts, grams=grams)

    @property
    def items(self) -> int:
        """How many items there are in all sets."""
        return sum(one.items for one in self.sets)

    @property
    def short_items(self) -> int:
        """How many items have fewer words than an n-gram."""
        return sum(one.short_items for one in self.sets)

    @property
    def items_with_grams(self) -> int:
        """How many items have an n-gram by which they can be found."""
        return len(np.unique(self.grams.items))

    def exact_hits(self, rows: RowHashes) -> pl.DataFrame:
        """Return (row, set, item) for rows whose text, prompt or reply equals one of an item.

        Each row is listed with the first such item of each set, and each such item with one row at
        least: where many rows equal many items, all pairs would be too many.
        """
        owners = np.concatenate([rows.wholes.owners, rows.parts.owners])
        hashes = np.concatenate([rows.wholes.values, rows.parts.values])
        _, once = np.unique(hashes, return_index=True)
        whole, leads = self._exact
        one, other = whole.look_up(owners[once], hashes[once]), leads.look_up(owners, hashes)
        found = self._named(*(np.concatenate(both) for both in zip(one, other, strict=True)))
        return found.unique().sort("row", "set", "item")

    def gram_hits(self, grams: Ragged) -> pl.DataFrame:
        """Return (row, set, item, shared, share) for each row and item with a common n-gram.

        `shared` counts the item's distinct n-grams that the row holds, `share` is their share of
        all of the item's.
        """
        sizes = np.bincount(self.grams.items, minlength=self.items)
        distinct = sorted_sets(grams.owners, grams.values, len(grams))
        rows, hit = self.grams.look_up(distinct.owners, distinct.values)
        found = self._named(rows, hit).with_columns(pl.Series("size", sizes[hit]))
        counted = found.group_by("row", "set", "item", "size").len("shared")
        share = pl.col("shared") / pl.col("size")
        counted = counted.with_columns(pl.col("shared").cast(pl.Int64), share=share)
        return counted.select(GRAM_SCHEMA.keys()).sort("row", "set", "item")

    @cached_property
    def _exact(self) -> tuple[Postings, Postings]:
        """Wholes and parts together; and of these, the first item of each hash and set."""
        items = np.concatenate([self.wholes.items, self.parts.items]).astype(np.int64)
        both = Postings.of(items, np.concatenate([self.wholes.hashes, self.parts.hashes]))
        place = self._set_of(both.items.astype(np.int64))
        is_first = np.ones(len(place), dtype=bool)
        is_first[1:] = (both.hashes[1:] != both.hashes[:-1]) | (place[1:] != place[:-1])
        return both, Postings(both.hashes[is_first], both.items[is_first])

    def _set_of(self, items: Numbers) -> Numbers:
        return np.searchsorted(_firsts(self.sets), items, side="right") - 1

    def _named(self, rows: Numbers, items: Numbers) -> pl.DataFrame:
        """Turn global item numbers into the set's name and the item's number in it."""
        place = self._set_of(items)
        names = pl.Series([one.name for one in self.sets], dtype=pl.String)
        numbers = items - _firsts(self.sets)[place]
        columns = {"row": rows, "set": names.gather(place), "item": numbers}
        return pl.DataFrame(columns, schema=EXACT_SCHEMA)


def _firsts(sets: Sequence[SealedSet]) -> Numbers:
    """The global number of each set's first item, and the number of all items."""
    return np.cumsum([0, *(one.items for one in sets)])


def _postings(each: Sequence[Ragged], firsts: Numbers) -> Postings:
    """The postings of all sets; `each` holds the hashes of one set's items."""
    items = [one.owners + first for one, first in zip(each, firsts, strict=False)]
    return Postings.of(
        np.concatenate([np.empty(0, np.int64), *items]),
        np.concatenate([np.empty(0, np.uint64), *(one.values for one in each)]),
    )


def question(row: Row) -> str:
    """Return the prompt without system turns: what is asked, however the asker is set up."""
    return "\n".join(turn.content for turn in row.prompt if turn.role != "system")


def numbers_hash(row: Row) -> int:
    """Hash the numbers that a row's question and its replies name, each by itself."""
    return words_hash(
        [repr(numbers(said)) for said in (question(row), row.reply, row.rejected or "")]
    )


def row_hashes(rows: Iterable[Row]) -> RowHashes:
    """Hash rows: their words, their whole texts, and the parts whose equality tells an item.

    Parts are the `question` and the reply when they have at least `TELLING_WORDS` words, the two
    together, and a shorter question as it is written: signs, which are no words, are half of
    "What is 12 + 4?". Texts without words have no hash: two rows of nothing but symbols are not
    thereby the same.
    """
    wholes: list[list[int]] = []
    parts: list[list[int]] = []

    def read(row: Row) -> list[str]:
        turns = [words(turn.content) for turn in row.conversation]
        prompt = row.prompt
        asked = [
            word
            for turn, own in zip(prompt, turns, strict=False)
            if turn.role != "system"
            for word in own
        ]
        said = turns[len(prompt)] if len(prompt) < len(turns) else []
        whole = [word for own in turns for word in own] + words(row.rejected or "")
        wholes.append([words_hash(whole)] if whole else [])
        parts.append(_part_hashes(row, asked, said))
        return whole

    hashed = hash_each(map(read, rows))
    return RowHashes(hashed, _ragged(wholes), _ragged(parts))


def _part_hashes(row: Row, asked: list[str], said: list[str]) -> list[int]:
    found = []
    if len(asked) >= TELLING_WORDS:
        found.append(words_hash(asked))
    elif asked:
        found.append(as_written_hash(question(row)))
    if asked and said:
        found.append(words_hash(asked + said))
    if len(said) >= TELLING_WORDS:
        found.append(words_hash(said))
    return found


def _ragged(each: list[list[int]]) -> Ragged:
    owners = np.repeat(np.arange(len(each)), [len(one) for one in each])
    return sorted_sets(
        owners, np.array([value for one in each for value in one], np.uint64), len(each)
    )
