"""MinHash in numpy: find the few pairs of sets that are alike without looking at all pairs.

    banding = plan(0.8, permutations=128)          # 18 bands of 6 values: recall 0.995 at 0.8
    keys = band_hashes(signatures(sets, banding.used), banding)
    shared, union = overlap(sets, left, right)     # the exact answer for each candidate

The least hash of a set under a random order is the same for two sets with a probability equal to
their Jaccard similarity. Bands of such values turn that into a step: pairs above a threshold share
a band almost surely, pairs well below it hardly ever. Candidates are then checked exactly, so
hashing can lose a pair (rarely, with a known probability) and can never invent one.

Plain numpy, which needs no package beside ours and is fast enough: see
`benchmarks/near_duplicates.py`. Signatures are not those of datasketch or text-dedup: the same
estimate from other hash functions. Only the choice of bands follows text-dedup.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.text.words import Hashes, Ragged, mix

RECALL = 0.995
"""Probability that a pair exactly at the threshold becomes a candidate."""

CHUNK = 32_768
"""Shingles hashed at a time: few enough to stay in the processor's cache."""

CODES = 8 * CHUNK
"""Pairs made at a time."""


@dataclass(frozen=True, slots=True)
class Banding:
    """How a signature is cut: `bands` bands of `rows` values each."""

    bands: int
    rows: int

    @property
    def used(self) -> int:
        """How many values of a signature the bands need."""
        return self.bands * self.rows

    def recall(self, similarity: float) -> float:
        """Probability that a pair of this Jaccard similarity shares at least one band."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)


def plan(threshold: float, permutations: int, *, recall: float = RECALL) -> Banding:
    """Choose bands and rows for a threshold.

    As text-dedup and datasketch do, minimise half the area of false positives (below the
    threshold) plus half the area of misses (above it), but only among bandings that reach
    `recall` at the threshold itself: equal weights alone miss about half of the pairs there. Where
    none reaches it (a very low threshold), the banding with the highest recall.
    """
    options = [
        Banding(bands, rows)
        for rows in range(1, permutations + 1)
        for bands in range(1, permutations // rows + 1)
    ]
    reached = [one for one in options if one.recall(threshold) >= recall]
    if not reached:
        return max(options, key=lambda one: (one.recall(threshold), -one.used))
    return min(reached, key=lambda one: (_error(one, threshold), one.used, one.rows))


def _error(banding: Banding, threshold: float) -> float:
    below = np.linspace(0, threshold, 1001)
    above = np.linspace(threshold, 1, 1001)
    wrong = np.trapezoid(1 - (1 - below**banding.rows) ** banding.bands, below)
    missed = np.trapezoid((1 - above**banding.rows) ** banding.bands, above)
    # Rounded, so that the last bit of a machine's arithmetic cannot choose another banding.
    return round(float(wrong + missed) / 2, 9)


def signatures(sets: Ragged, permutations: int) -> NDArray[np.uint32]:
    """Return the least hash of each set under each permutation, shape (sets, permutations).

    Permutation i maps x to (a_i * x + b_i) mod 2^64 with a_i odd; its upper 32 bits are kept.
    Rows of empty sets are filled with the largest value and mean nothing.
    """
    steps = np.arange(permutations, dtype=np.uint64) * np.uint64(2)
    factors, offsets = mix(steps + np.uint64(1)) | np.uint64(1), mix(steps + np.uint64(2))
    result = np.full((permutations, len(sets)), np.iinfo(np.uint32).max, dtype=np.uint32)
    for places, values, starts in _chunks(sets):
        hashed = np.empty_like(values)
        for i in range(permutations):
            np.multiply(values, factors[i], out=hashed)
            hashed += offsets[i]
            result[i, places] = np.minimum.reduceat(hashed, starts) >> np.uint64(32)
    return np.ascontiguousarray(result.T)


def _chunks(sets: Ragged) -> list[tuple[NDArray[np.int64], Hashes, NDArray[np.int64]]]:
    """Cut into runs of non-empty sets of about `CHUNK` values: positions, values, starts."""
    places = np.flatnonzero(sets.counts)
    ends = sets.bounds[places + 1]
    chunks, first = [], 0
    while first < len(places):
        start = int(sets.bounds[places[first]])
        last = max(first + 1, int(np.searchsorted(ends, start + CHUNK, side="right")))
        inside = places[first:last]
        values = sets.values[start : int(ends[last - 1])]
        chunks.append((inside, values, sets.bounds[inside] - start))
        first = last
    return chunks


def band_hashes(signed: NDArray[np.uint32], banding: Banding) -> Hashes:
    """Return one hash for each band of each signature, shape (sets, bands); bands never collide."""
    cut = signed[:, : banding.used].reshape(len(signed), banding.bands, banding.rows)
    total = np.tile(np.arange(1, banding.bands + 1, dtype=np.uint64), (len(signed), 1))
    for i in range(banding.rows):
        total = mix(total + cut[:, :, i])
    return total


def set_hashes(sets: Ragged) -> Hashes:
    """Return one hash of each whole set: equal sets, equal hashes."""
    total = mix(sets.counts.astype(np.uint64))
    filled = np.flatnonzero(sets.counts)
    if len(filled):
        total[filled] += np.add.reduceat(mix(sets.values), sets.bounds[filled])
    return mix(total)


@dataclass(frozen=True, slots=True)
class Entries:
    """Items in buckets, one entry for each item and bucket; all four of one length.

    `items` are numbers that also give the order: the lower, the earlier. Items with equal `twins`
    hold equal sets. `second` is a second bucket hash, for buckets that are too large.
    """

    buckets: Hashes
    items: NDArray[np.int64]
    twins: Hashes
    second: Hashes


@dataclass(frozen=True, slots=True)
class Pairs:
    """Distinct pairs of items, the earlier one in `first`, and what the cap left out.

    `left_out` counts a pair once for each bucket that did not compare it, so it may count a pair
    several times, and pairs that another bucket did compare.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    capped_buckets: int
    left_out: int


def shared(buckets: Hashes) -> NDArray[np.bool_]:
    """Return which entries share their bucket with another: the others are in no pair."""
    order = np.argsort(buckets)
    is_same = buckets[order[1:]] == buckets[order[:-1]]
    found = np.zeros(len(buckets), dtype=np.bool_)
    found[order[1:][is_same]] = found[order[:-1][is_same]] = True
    return found


def bucket_pairs(entries: Entries, leaders: int) -> Pairs:
    """Pair the items that share a bucket, in time that grows with the entries and not their square.

    Items with equal sets are paired with the earliest of them only, and only that one takes part
    in what follows: this loses nothing. In a bucket of more than `leaders` different sets, each is
    paired with the first `leaders`; the others among themselves only where `second` agrees too.
    This may lose pairs, so it is counted. Memory follows the distinct pairs, not the buckets in
    which they meet.
    """
    base = int(entries.items.max()) + 1 if len(entries.items) else 1
    order = np.lexsort((entries.items, entries.twins, entries.buckets))
    buckets, twins = entries.buckets[order], entries.twins[order]
    items, second = entries.items[order], entries.second[order]
    starts = _starts(buckets, twins)
    earliest = np.repeat(items[starts], np.diff(np.append(starts, len(items))))
    is_later = items != earliest
    twin_codes = _distinct(earliest[is_later] * base + items[is_later])

    buckets, items, second = buckets[starts], items[starts], second[starts]
    led = _Led.of(buckets, items, leaders)
    rest = _Led.of(mix(buckets[led.over] ^ second[led.over]), items[led.over], leaders)
    codes = _merged(itertools.chain([twin_codes], led.codes(base), rest.codes(base)))
    return Pairs(codes // base, codes % base, led.capped, led.left_out - rest.compared)


@dataclass(frozen=True, slots=True)
class _Led:
    """Entries sorted by group and item; each entry follows the first `many` of its group."""

    order: NDArray[np.int64]
    items: NDArray[np.int64]
    places: NDArray[np.int64]
    many: NDArray[np.int64]
    leaders: int
    left_out: int
    capped: int

    @classmethod
    def of(cls, groups: Hashes, items: NDArray[np.int64], leaders: int) -> _Led:
        order = np.lexsort((items, groups))
        starts = _starts(groups[order])
        sizes = np.diff(np.append(starts, len(order)))
        places = np.arange(len(order)) - np.repeat(starts, sizes)
        many = np.minimum(places, leaders)
        left_out = int((sizes * (sizes - 1) // 2).sum() - many.sum())
        capped = int((sizes > leaders + 1).sum())
        return cls(order, items[order], places, many, leaders, left_out, capped)

    @property
    def compared(self) -> int:
        return int(self.many.sum())

    @property
    def over(self) -> NDArray[np.int64]:
        """The entries that come after the leaders, as positions in what was given."""
        return self.order[self.places >= self.leaders]

    def codes(self, base: int) -> Iterator[NDArray[np.int64]]:
        """Yield earlier * base + later for each pair of items, some at a time."""
        ends = np.cumsum(self.many)
        first, done = 0, 0
        while first < len(ends):
            last = max(first + 1, int(np.searchsorted(ends, done + CODES, side="right")))
            many = self.many[first:last]
            later = np.repeat(np.arange(first, last), many)
            step = np.arange(len(later)) - np.repeat(ends[first:last] - many - done, many)
            earlier = later - self.places[later] + step
            yield self.items[earlier] * base + self.items[later]
            first, done = last, int(ends[last - 1])


def _merged(chunks: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the distinct codes of all chunks; holds about twice as many at most."""
    whole = np.empty(0, np.int64)
    waiting: list[NDArray[np.int64]] = []
    for chunk in chunks:
        waiting.append(chunk)
        if sum(map(len, waiting)) > max(len(whole), CODES):
            whole = _distinct(np.concatenate([whole, *waiting]))
            waiting.clear()
    return _distinct(np.concatenate([whole, *waiting]))


def _distinct(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    # np.unique hashes large arrays first, which takes several times as long as sorting them.
    codes = np.sort(codes)
    return codes[np.diff(codes, prepend=-1) > 0]


def _starts(*columns: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where runs of equal values begin in sorted columns."""
    is_new = np.zeros(len(columns[0]), dtype=bool)
    is_new[:1] = True
    for column in columns:
        is_new[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(is_new)


def overlap(
    sets: Ragged, left: NDArray[np.int64], right: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each pair of sets the exact sizes of intersection and union.

    Both sets of a pair are laid in one line of a matrix and sorted: what they share stands twice.
    Pairs of like size share a matrix, so that little of it is padding.
    """
    sizes = sets.counts[left] + sets.counts[right]
    shared = np.zeros(len(left), dtype=np.int64)
    widths = np.ceil(np.log2(np.maximum(sizes, 1))).astype(np.int64)
    for width in np.unique(widths).tolist():
        alike = np.flatnonzero(widths == width)
        step = max(1, CHUNK * 16 >> width)
        for first in range(0, len(alike), step):
            some = alike[first : first + step]
            shared[some] = _shared(sets, left[some], right[some], 1 << width)
    return shared, sizes - shared


def _shared(
    sets: Ragged, left: NDArray[np.int64], right: NDArray[np.int64], width: int
) -> NDArray[np.int64]:
    first, second = sets.take(left), sets.take(right)
    grid = np.full((len(left), width), np.iinfo(np.uint64).max, dtype=np.uint64)
    columns = np.arange(width)
    before, both = first.counts[:, None], (first.counts + second.counts)[:, None]
    grid[columns < before] = first.values
    grid[(columns >= before) & (columns < both)] = second.values
    grid.sort(axis=1)
    # Padding sorts to the end, so a pair that lies inside the first `both` columns is no padding.
    is_twice = (grid[:, 1:] == grid[:, :-1]) & (columns[1:] < both)
    counted: NDArray[np.int64] = is_twice.sum(axis=1, dtype=np.int64)
    return counted
