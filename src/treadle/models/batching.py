"""Which sequences go through a model together: few padded tokens, prefixes computed once.

A plan depends on the sequences alone, never on the order in which they came, so that scores are
the same bit for bit however the rows of a pool were sorted. Batches of like length waste few
padded tokens; sequences that begin alike (a template's system prompt) share one pass over it.

Not here: running a model (`likelihood`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.models.protocol import Scorable

SHORTEST_PREFIX = 8
"""A shorter shared prefix saves less than its cache costs."""
LEAST_SAVED_TOKENS = 128
BATCH_PRICE = 48
"""What a batch costs beyond its tokens, in tokens: all weights are read from memory once."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Positions in the list of unique sequences, and how many leading tokens they share."""

    members: tuple[int, ...]
    shared: int


def unique(sequences: Sequence[Scorable]) -> tuple[list[Scorable], NDArray[np.int64]]:
    """Return distinct sequences sorted by length and content, and where each input went."""
    keys = [(len(s.ids), s.ids.tobytes(), s.wanted.tobytes()) for s in sequences]
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    ordered = sorted(first)
    place = {key: i for i, key in enumerate(ordered)}
    distinct = [sequences[first[key]] for key in ordered]
    return distinct, np.array([place[key] for key in keys], dtype=np.int64)


def plan(sequences: Sequence[Scorable], *, budget: int, shares: bool) -> list[Batch]:
    """Cut sorted sequences into batches of at most `budget` padded tokens (or one sequence)."""
    batches: list[Batch] = []
    for members, shared in _families(sequences, shares):
        lengths = [len(sequences[i].ids) - shared for i in members]
        batches.extend(Batch(tuple(members[a:b]), shared) for a, b in cuts(lengths, budget))
    return batches


def cuts(lengths: Sequence[int], budget: int) -> list[tuple[int, int]]:
    """Cut ascending lengths into slices at the least total cost, each within the budget.

    A slice costs its padded tokens and BATCH_PRICE. The best cuts up to each end follow from those
    up to earlier ends (dynamic programming); of equal ones the slice that begins first is taken.
    """
    cost = np.zeros(len(lengths) + 1)
    begins = np.zeros(len(lengths) + 1, dtype=np.int64)
    for end in range(1, len(lengths) + 1):
        longest = lengths[end - 1]
        first = max(0, end - max(1, budget // max(1, longest)))
        options = cost[first:end] + longest * np.arange(end - first, 0, -1) + BATCH_PRICE
        best = int(options.argmin())
        cost[end], begins[end] = options[best], first + best
    slices, end = [], len(lengths)
    while end:
        slices.append((int(begins[end]), end))
        end = int(begins[end])
    return slices[::-1]


def _families(sequences: Sequence[Scorable], shares: bool) -> Iterator[tuple[list[int], int]]:
    """Yield groups of sequences with the number of leading tokens they share, largest gain first.

    Sorted by content, sequences with a common prefix are neighbours, so the best prefix is the
    largest rectangle under the curve of what each has in common with the next. With a group taken
    out, its neighbours meet, and have in common the least of what lay between them.
    """
    heads = [s.ids[: _prefix_limit(s)] for s in sequences] if shares else []
    rest = list(range(len(sequences)))
    if shares:
        rest.sort(key=lambda i: (heads[i].tolist(), i))
    common = [_common(heads[a], heads[b]) for a, b in itertools.pairwise(rest)] if shares else []
    while common:
        begin, end, shared = _largest_rectangle(common)
        if shared < SHORTEST_PREFIX or shared * (end - begin) < LEAST_SAVED_TOKENS:
            break
        yield sorted(rest[begin : end + 1]), shared
        is_inside = begin > 0 and end + 1 < len(rest)
        joined = [min(common[begin - 1 : end + 1])] if is_inside else []
        common = common[: max(0, begin - 1)] + joined + common[end + 1 :]
        rest = rest[:begin] + rest[end + 1 :]
    if rest:
        yield sorted(rest), 0


def _prefix_limit(sequence: Scorable) -> int:
    """How many leading tokens may be shared: the first wanted one is predicted from outside."""
    wanted = np.flatnonzero(sequence.wanted[1:])
    return int(wanted[0]) if len(wanted) else len(sequence.ids) - 1


def _common(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Length of the common prefix."""
    n = min(len(a), len(b))
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if len(differs) else n


def _largest_rectangle(heights: Sequence[int]) -> tuple[int, int, int]:
    """Return (begin, end, height) of the largest rectangle in a histogram, the first if several."""
    best, largest = (0, 0, 0), 0
    rising: list[tuple[int, int]] = []
    for at, height in enumerate([*heights, 0]):
        begin = at
        while rising and rising[-1][1] >= height:
            begin, tall = rising.pop()
            if tall * (at - begin) > largest:
                largest, best = tall * (at - begin), (begin, at, tall)
        rising.append((begin, height))
    return best
