"""Facility location: few rows that every row of the pool is similar to at least one of.

    greedy_facility_location(grid_ND, count=1000).order      positions, in the order taken

It maximises the sum, over all rows, of the cosine to the most similar row taken (a cosine below 0
counts as 0, which is also the value of having taken none). Similarities are products of coarsely
rounded directions (`cosine.coarse`), whole numbers, so gains are exact sums, and neither the machine
nor the order of the rows decides a tie.

It is the plain greedy choice, which reaches at least 63% of the best possible value. Gains are kept
exact and never summed anew: a row that comes to be covered better lowers the gains of the rows near it
by what they would have added there, at a pass over its similarities. As seen, each of 10,000 rows is
covered better 5 or 6 times while 1,000 are taken, and 8 times at most while all are; a lazy greedy choice
(Minoux 1978) sums 5 to 14 rows anew for each, one call at a time, and costs more whatever the budget.

Up to `exact_up_to` rows all similarities are kept: 4 bytes a pair, 400 MB for 10,000 rows. Beyond,
each row counts only towards its `neighbours` most similar rows: 16 bytes each, and the value is that
of the sparse similarities. Up to `compared_up_to` rows these are found among all rows, beyond it
among the about 8,000 around each (`geometry.cells`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cells import CELL_ROWS, Positions
from treadle.geometry.cosine import Floats, Grid, coarse
from treadle.geometry.neighbours import (
    Neighbours,
    all_neighbours,
    cell_neighbours,
    similarities,
)
from treadle.geometry.threads import in_threads

TILE = 512
"""A tile of so many rows and columns stays near the processor until both copies are made."""
BLOCK = 32
"""Rows summed at once. Similarities are at most 2**24: up to 127 of them fit a sum of 32 bits."""


@dataclass(frozen=True, slots=True)
class Facilities:
    """Positions in the order taken, and how much each added to the sum of similarities."""

    order: list[int]
    gains: list[float]


class Coverage(Protocol):
    """How similar each row is to the most similar row taken, and what each row would add.

    Who chooses puts -1 in place of the gain of a row that is out of question.
    """

    gains: Floats

    def take(self, position: int) -> None:
        """Cover what this row covers, and lower the gains."""


def greedy_facility_location(
    grid_ND: Grid,
    *,
    count: int,
    tokens_N: NDArray[np.int64] | None = None,
    token_limit: int | None = None,
    exact_up_to: int = 10_000,
    compared_up_to: int = 50_000,
    neighbours: int = 128,
    cell_rows: int = CELL_ROWS,
) -> Facilities:
    """Take up to `count` rows, each the one that adds most; ties go to the lower position.

    Under a token limit, each is the best of the rows that still fit, until none does. The grid is
    that of `cosine.directions`, with no row of zeros.
    """
    total = len(grid_ND)
    covered: Coverage
    coarse_ND, unit = coarse(grid_ND)
    if total <= exact_up_to:
        covered = _Dense.over(coarse_ND)
    elif total <= compared_up_to:
        covered = _Sparse.over(all_neighbours(coarse_ND, neighbours))
    else:
        covered = _Sparse.over(cell_neighbours(grid_ND, coarse_ND, neighbours, cell_rows=cell_rows))
    order, gains = _choose(covered, min(count, total), tokens_N, token_limit)
    return Facilities(order, [gain / unit for gain in gains])


def _choose(
    covered: Coverage, count: int, tokens_N: NDArray[np.int64] | None, token_limit: int | None
) -> tuple[list[int], list[float]]:
    """Take the row of the largest gain again and again. A row out of question stands at -1."""
    order: list[int] = []
    gains: list[float] = []
    left = math.inf if token_limit is None else token_limit
    while len(order) < count:
        if tokens_N is not None:
            covered.gains[tokens_N > left] = -1.0
        best = int(covered.gains.argmax())
        gain = float(covered.gains[best])
        if gain < 0:
            break
        covered.take(best)
        covered.gains[best] = -1.0
        order.append(best)
        gains.append(gain)
        left -= 0 if tokens_N is None else int(tokens_N[best])
    return order, gains


@dataclass(slots=True)
class _Dense:
    """All pairs. Sums of whole numbers of 32 bits are exact, and as fast as those of floats."""

    near: NDArray[np.int32]
    covered: NDArray[np.int32]
    gains: Floats
    room: NDArray[np.int32]

    @classmethod
    def over(cls, coarse_ND: Grid) -> _Dense:
        total = len(coarse_ND)
        near_NN = np.empty((total, total), dtype=np.int32)

        def fill(tile: tuple[slice, slice]) -> None:
            rows, columns = tile
            near = similarities(coarse_ND[rows], coarse_ND[columns])
            near_NN[rows, columns] = near
            near_NN[columns, rows] = near.T

        cuts = [slice(begin, begin + TILE) for begin in range(0, total, TILE)]
        in_threads(fill, combinations_with_replacement(cuts, 2))
        gains = np.zeros(total)
        for begin in range(0, total, BLOCK):
            gains += np.add.reduce(near_NN[begin : begin + BLOCK], axis=0, dtype=np.int32)
        room = np.empty((BLOCK, total), dtype=np.int32)
        return cls(near_NN, np.zeros(total, dtype=np.int32), gains, room)

    def take(self, position: int) -> None:
        near = self.near[position]
        closer = np.flatnonzero(near > self.covered)
        for begin in range(0, len(closer), BLOCK):
            some = closer[begin : begin + BLOCK]
            before, now = self.covered[some], near[some]
            block = self.room[: len(some)]
            # "clip" writes into `out` at once; no position is outside.
            np.take(self.near, some, axis=0, out=block, mode="clip")
            np.clip(block, before[:, None], now[:, None], out=block)
            self.gains -= np.add.reduce(block, axis=0, dtype=np.int32) - before.sum()
            self.covered[some] = now


@dataclass(slots=True)
class _Sparse:
    """Each row's nearest, and for each row where it is among them: one long list cut at `ends`."""

    found: Neighbours
    places: Positions
    ends: list[int]
    covered: NDArray[np.float32]
    gains: Floats

    @classmethod
    def over(cls, found: Neighbours) -> _Sparse:
        total = len(found.positions)
        # Rows without so many neighbours leave room behind, which sorts to the front.
        places = np.argsort(found.positions, axis=None, kind="stable")
        places = places[np.count_nonzero(found.positions < 0) :]
        column = found.positions.ravel()[places]
        gains = np.bincount(column, weights=found.similarities.ravel()[places], minlength=total)
        ends = np.cumsum(np.bincount(column, minlength=total)).tolist()
        covered = np.zeros(total, dtype=np.float32)
        return cls(found, places, [0, *ends], covered, gains.astype(np.float64))

    def take(self, position: int) -> None:
        places = self.places[self.ends[position] : self.ends[position + 1]]
        rows = places // self.found.positions.shape[1]
        near = self.found.similarities.ravel()[places]
        is_closer = near > self.covered[rows]
        closer, now = rows[is_closer], near[is_closer]
        before = self.covered[closer]
        # Where a row has no such neighbour its similarity is 0, so that position -1 loses nothing.
        less = np.clip(self.found.similarities[closer], before[:, None], now[:, None])
        less -= before[:, None]
        np.subtract.at(self.gains, self.found.positions[closer], less.astype(np.float64))
        self.covered[closer] = now
