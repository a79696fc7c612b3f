"""An n-gram model of words: interpolated modified Kneser-Ney, with each row left out of its own score.

    model = count(hash_words(["the cat sat", "the cat ran"]), np.array([1, 2]), order=3)
    log_probabilities(model, hash_words(["the cat"]), np.array([3]))   -> of `the`, `cat`, the end

At every order k, with adjusted counts a, history h and its shortened self h':

    p(w | h) = max(a(h w) - D(a), 0) / sum a(h .)  +  gamma(h) p(w | h')

a is the count itself at the highest order and for n-grams that open a text, else the number of
different words that precede the n-gram (Kneser and Ney 1995). D takes three values an order, from
how many n-grams have a = 1, 2, 3 and 4; gamma gives the mass taken by D to the shorter history
(Chen and Goodman 1999). Below order 1 all words of the vocabulary, the end of a text and one
unknown word are equally likely, so that probabilities sum to 1.

A row that was counted would be scored by counts of itself: every one of its n-grams has been seen,
and odd rows look known. So its own counts are taken away first, exactly, at every order; only the
discounts and the vocabulary remain those of all rows. Rows that were not counted are scored as they
are.

Words and n-grams are known by 64-bit hashes (`text.words`), in sorted tables; nothing here holds
strings.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.text.words import Hashes, Ragged, ngrams, words_hash

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# No word holds a bracket, so these are no word's hash.
_BEGIN, _END = np.uint64(words_hash(("<s>",))), np.uint64(words_hash(("</s>",)))
_USUAL_DISCOUNTS = np.array([0.0, 0.5, 1.0, 1.5])
"""Where an n-gram table is too small to estimate them (KenLM's fallback)."""


@dataclass(frozen=True, slots=True)
class Order:
    """The n-grams of one length: their counts, and what each history has after it."""

    keys: Hashes
    counts: Ints
    adjusted: Ints
    histories: Hashes
    totals: Ints
    """A line a history: the sum of adjusted counts after it, and how many are 1, 2 and more."""

    @property
    def discounts(self) -> Floats:
        """What is taken from an adjusted count of 0, 1, 2 and more."""
        of = np.bincount(np.minimum(self.adjusted, 5), minlength=6).astype(np.float64)
        if not of[1:5].all():
            return _USUAL_DISCOUNTS
        share = of[1] / (of[1] + 2 * of[2])
        found = np.array([0.0, *(j - (j + 1) * share * of[j + 1] / of[j] for j in (1, 2, 3))])
        return found if (found[1:] > 0).all() else _USUAL_DISCOUNTS


@dataclass(frozen=True, slots=True)
class KneserNey:
    """Tables by order, lowest first, and the sorted ids of the rows that were counted."""

    orders: tuple[Order, ...]
    ids: Ints

    def encode(self) -> bytes:
        """Return the tables as bytes."""
        arrays: dict[str, Any] = {"ids": self.ids}
        for k, one in enumerate(self.orders):
            arrays |= {f"{name}_{k}": getattr(one, name) for name in Order.__slots__}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def decode(cls, blob: bytes) -> KneserNey:
        """Return what `encode` wrote."""
        with np.load(io.BytesIO(blob), allow_pickle=False) as arrays:
            orders = [
                Order(*(arrays[f"{name}_{k}"] for name in Order.__slots__))
                for k in range((len(arrays.files) - 1) // len(Order.__slots__))
            ]
            return cls(tuple(orders), arrays["ids"])


def count(words: Ragged, ids: Ints, *, order: int) -> KneserNey:
    """Count the n-grams of texts, each of at least one word; `ids` names the texts."""
    grams = _grams(_marked(words), order)
    orders: list[Order] = []
    tails: Hashes | None = None
    for k in range(order, 0, -1):
        here = grams[k - 1]
        keys, first, counts = np.unique(here.keys, return_index=True, return_counts=True)
        adjusted = counts
        if tails is not None:
            preceded = np.bincount(np.searchsorted(keys, tails), minlength=len(keys))
            adjusted = np.where(here.is_opening[first], counts, preceded)
        histories, owners = np.unique(here.histories[first], return_inverse=True)
        totals = _totals(owners, adjusted, len(histories))
        orders.append(Order(keys, counts, adjusted, histories, totals))
        # Of each different n-gram, all but its first word: what it precedes at the order below.
        tails = grams[k - 2].at[here.starts[first] + 1] if k > 1 else None
    return KneserNey(tuple(reversed(orders)), np.sort(ids))


def log_probabilities(model: KneserNey, words: Ragged, ids: Ints) -> Floats:
    """Return ln p for each word and for the end of each text (at least one word each), in order.

    A text whose id was counted is scored without its own counts. NaN where nothing else was counted.
    """
    text = _marked(words)
    owners = text.owners
    is_counted = np.isin(ids, model.ids)
    grams = _grams(text, len(model.orders))
    left: list[_Left] = []
    tails: Ints | None = None
    for order, here in zip(reversed(model.orders), reversed(grams), strict=True):
        left.append(_without_own(order, here, owners, is_counted, tails))
        tails = left[-1].tails
    chances = np.full(len(text.values), 1 / (len(model.orders[0].keys) + 1))
    for order, here, counted in zip(model.orders, grams, reversed(left), strict=True):
        ends = here.starts + here.length - 1
        chances[ends] = _interpolated(order.discounts, counted, chances[ends], here.length)
    is_predicted = np.ones(len(chances), dtype=bool)
    is_predicted[text.bounds[:-1]] = False
    logs: Floats = np.log(chances[is_predicted])
    return logs


def _interpolated(discounts: Floats, counted: _Left, shorter: Floats, length: int) -> Floats:
    """Mix what follows this history with what follows the shorter one."""
    adjusted, (total, *with_count) = counted.adjusted, counted.totals.T
    taken = discounts[np.minimum(adjusted, 3)]
    given = sum(one * discount for one, discount in zip(with_count, discounts[1:], strict=True))
    is_known = total > 0
    mixed = (adjusted - taken + given * shorter) / np.where(is_known, total, 1)
    return np.where(is_known, mixed, shorter if length > 1 else np.nan)


@dataclass(frozen=True, slots=True)
class _Grams:
    """The n-grams of one length in texts laid end to end; those that predict the begin are none."""

    length: int
    at: Hashes
    """For each position, the n-gram that starts there (0 where it would cross the end)."""
    starts: Ints
    histories: Hashes
    is_opening: NDArray[np.bool_]

    @property
    def keys(self) -> Hashes:
        return self.at[self.starts]


def _grams(text: Ragged, order: int) -> list[_Grams]:
    grams: list[_Grams] = []
    is_begin = np.zeros(len(text.values), dtype=bool)
    is_begin[text.bounds[:-1]] = True
    for length in range(1, order + 1):
        hashed = ngrams(text, length)
        inside = np.arange(len(hashed.values), dtype=np.int64)
        starts = inside + np.repeat(text.bounds[:-1] - hashed.bounds[:-1], hashed.counts)
        at = np.zeros(len(text.values), dtype=np.uint64)
        at[starts] = hashed.values
        if length == 1:
            starts = starts[~is_begin[starts]]
        histories = grams[-1].at[starts] if grams else np.zeros(len(starts), dtype=np.uint64)
        grams.append(_Grams(length, at, starts, histories, is_begin[starts]))
    return grams


def _marked(words: Ragged) -> Ragged:
    """Put a begin before each text and an end after it."""
    bounds = words.bounds + 2 * np.arange(len(words.bounds))
    values = np.empty(bounds[-1], dtype=np.uint64)
    is_word = np.ones(len(values), dtype=bool)
    for places, mark in ((bounds[:-1], _BEGIN), (bounds[1:] - 1, _END)):
        values[places] = mark
        is_word[places] = False
    values[is_word] = words.values
    return Ragged(values, bounds)


@dataclass(frozen=True, slots=True)
class _Left:
    """What is left for each n-gram of a text, and for its history, without the text itself."""

    adjusted: Ints
    totals: Ints
    tails: Ints
    """Where the tails start of the n-grams that no other text holds."""


def _without_own(
    order: Order,
    here: _Grams,
    owners: Ints,
    is_counted: NDArray[np.bool_],
    tails: Ints | None,
) -> _Left:
    """Take from the counts of each n-gram, and of its history, what its own text gave.

    A text takes as often as it holds the n-gram where counts are of n-grams themselves, and once for
    each longer n-gram that is gone without it (`tails`) where counts are of preceding words.
    """
    rows = owners[here.starts]
    keys, key = np.unique(here.keys, return_inverse=True)
    different, first, which, times = np.unique(
        rows * len(keys) + key, return_index=True, return_inverse=True, return_counts=True
    )
    known = _found(order.keys, here.keys[first])
    taken = times * is_counted[rows[first]]
    is_gone = (taken > 0) & (_entries(order.counts, known) == taken)
    if tails is not None:
        at = np.zeros(len(here.at), dtype=np.int64)
        at[here.starts] = which
        gone = np.bincount(at[tails], minlength=len(different))
        taken = np.where(here.is_opening[first], taken, gone)
    before = _entries(order.adjusted, known)
    history = _found(order.histories, here.histories[first])
    pairs, pair = np.unique(rows[first] * (len(order.histories) + 1) + history, return_inverse=True)
    change = _totals(pair, before - taken, len(pairs)) - _totals(pair, before, len(pairs))
    totals = _entries(order.totals, history) + change[pair]
    return _Left((before - taken)[which], totals[which], here.starts[first[is_gone]] + 1)


def _found(keys: Hashes, wanted: Hashes) -> Ints:
    """Return where each wanted key is; one past the last key where it is not."""
    places = np.searchsorted(keys, wanted).astype(np.int64)
    is_there = np.zeros(len(wanted), dtype=bool)
    inside = places < len(keys)
    is_there[inside] = keys[places[inside]] == wanted[inside]
    return np.where(is_there, places, len(keys))


def _entries(table: Ints, places: Ints) -> Ints:
    """Return the entries at these places, 0 past the last."""
    values = np.zeros((len(places), *table.shape[1:]), dtype=np.int64)
    inside = places < len(table)
    values[inside] = table[places[inside]]
    return values


def _totals(owners: Ints, adjusted: Ints, histories: int) -> Ints:
    """Sum adjusted counts by history, and count how many are 1, 2 and more."""
    is_kind = [adjusted == 1, adjusted == 2, adjusted > 2]
    sums = [
        np.bincount(owners, weights, minlength=histories).astype(np.int64)
        for weights in (adjusted, *is_kind)
    ]
    return np.stack(sums, axis=1)
