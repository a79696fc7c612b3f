"""Counts of n-grams and what they predict: the arithmetic of the scripted student.

A prediction mixes the orders from short to long by Dirichlet smoothing: an order that saw its
context n times weighs n against the pseudo-counts of the shorter one. Counts are integers
(thousandths of a sighting), so sums do not depend on the order in which rows came.

Not here: text and chat (`scripted`), which rows are counted (`train/ngram.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VOCABULARY = 261  # bytes 0-255 and the five control tokens of `scripted`
BITS = 9
NOTHING = (1 << BITS) - 1  # stands before the first token
ORDERS = (0, 1, 2, 3, 5)
REACH = max(ORDERS)
MEMORY = 4  # tokens that the cache of a text goes by
STRENGTHS = (0.5, 4.0, 4.0, 2.0, 1.0)  # pseudo-counts that the shorter context brings to each order
UNIT = 1000  # one sighting
FORMAT = "treadle-ngram-1"


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each n-gram was seen, in thousandths. One pair of arrays for each of ORDERS.

    `keys[i]` is sorted; a key packs the tokens of the context and then the token, 9 bits each.
    """

    keys: tuple[NDArray[np.int64], ...]
    seen: tuple[NDArray[np.int64], ...]

    @classmethod
    def empty(cls) -> Counts:
        none = tuple(np.empty(0, np.int64) for _ in ORDERS)
        return cls(none, none)

    def plus(self, grams: NDArray[np.int64], weights: NDArray[np.int64]) -> Counts:
        """Return these counts with n-grams added; a gram is REACH tokens and the token after."""
        keys, seen = [], []
        for order, known, known_seen in zip(ORDERS, self.keys, self.seen, strict=True):
            added = grams[:, -1].astype(np.int64)
            for back in range(1, order + 1):
                added = added | (grams[:, -1 - back] << (BITS * back))
            names, places = np.unique(np.concatenate([known, added]), return_inverse=True)
            total = np.zeros(len(names), np.int64)
            np.add.at(total, places, np.concatenate([known_seen, weights]))
            keys.append(names)
            seen.append(total)
        return Counts(tuple(keys), tuple(seen))

    def predict(self, contexts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability of every next token, shape (len(contexts), VOCABULARY)."""
        found = np.full((len(contexts), VOCABULARY), 1.0 / VOCABULARY)
        for place, (order, strength) in enumerate(zip(ORDERS, STRENGTHS, strict=True)):
            wanted = np.zeros(len(contexts), np.int64)
            for back in range(1, order + 1):
                wanted |= contexts[:, -back] << (BITS * (back - 1))
            rows, tokens, seen = self._after(place, wanted)
            total = np.bincount(rows, weights=seen, minlength=len(wanted))  # of integers: exact
            pseudo = strength * UNIT
            found *= pseudo
            found[rows, tokens] += seen
            found /= (total + pseudo)[:, None]
        return found

    def _after(
        self, place: int, wanted: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return what was seen after each context: its row, the token (once a row), how often."""
        keys, seen = self.keys[place], self.seen[place]
        first = np.searchsorted(keys, wanted << BITS)
        sizes = np.searchsorted(keys, (wanted + 1) << BITS) - first
        rows = np.repeat(np.arange(len(wanted)), sizes)
        places = np.arange(len(rows)) + np.repeat(first - np.cumsum(sizes) + sizes, sizes)
        return rows, keys[places] & NOTHING, seen[places]

    def to_json(self) -> str:
        orders = [
            {"keys": keys.tolist(), "seen": seen.tolist()}
            for keys, seen in zip(self.keys, self.seen, strict=True)
        ]
        return json.dumps({"format": FORMAT, "orders": orders}, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Counts:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        data = json.loads(text)
        if data.get("format") != FORMAT or len(data["orders"]) != len(ORDERS):
            raise ValueError(f"format is {data.get('format')!r}, expected {FORMAT!r}")
        keys = tuple(np.array(order["keys"], np.int64) for order in data["orders"])
        seen = tuple(np.array(order["seen"], np.int64) for order in data["orders"])
        return cls(keys, seen)


def grams(ids: NDArray[np.int32], wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return, for each wanted position, the REACH tokens before it and its token."""
    padded = np.concatenate([np.full(REACH, NOTHING, np.int64), ids.astype(np.int64)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, REACH + 1)
    return windows[np.flatnonzero(wanted)]


def followers(ids: NDArray[np.int32], at: NDArray[np.int64]) -> NDArray[np.float64]:
    """Count what followed the MEMORY tokens before each position, in earlier turns of the same text.

    The own turn is left out: a reply that remembers itself soon says nothing else. Sorted by those
    tokens and by place, the sightings are one run, so running sums answer every position at once.
    Counts are exact, so the two ways below agree.
    """
    counts = np.zeros((len(at), VOCABULARY))
    if len(ids) <= MEMORY:
        return counts
    windows = np.lib.stride_tricks.sliding_window_view(ids.astype(np.int64), MEMORY)
    codes = windows @ (1 << BITS * np.arange(MEMORY))
    known, follows = codes[:-1], ids[MEMORY:]
    opened = np.maximum.accumulate(np.where(ids >= 256, np.arange(len(ids)), 0))[at - 1]
    asked = codes[np.maximum(at - MEMORY, 0)]
    until = np.maximum(opened - MEMORY, 0)  # sightings that start before this lie in earlier turns
    if len(at) == 1:
        earlier = known[: until[0]] == asked[0]
        counts[0] = np.bincount(follows[: until[0]][earlier], minlength=VOCABULARY)
        return counts
    ranked = known * len(ids) + np.arange(len(known))
    order = np.argsort(ranked)
    sums = np.zeros((len(known) + 1, VOCABULARY), np.int32)
    sums[np.arange(1, len(known) + 1), follows[order]] = 1
    np.cumsum(sums, axis=0, out=sums)
    begin = np.searchsorted(ranked[order], asked * len(ids))
    end = np.searchsorted(ranked[order], asked * len(ids) + until)
    counts += sums[end] - sums[begin]
    return counts
