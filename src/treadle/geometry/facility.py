"""Facility location: few rows that every row of the pool is similar to at least one of.

    greedy_facility_location(grid_ND, count=1000).order      positions, in the order taken

It maximises the sum, over all rows, of the cosine to the most similar row taken (a cosine below 0
counts as 0, which is also the value of having taken none). Similarities are products of coarsely
rounded directions (`cosine.coarse`), whole numbers, so gains are exact sums, and neither the machine
nor the order of the rows decides a tie.

A gain can only shrink as rows are taken, so a gain computed some steps ago is an upper bound, and
only rows with the best bounds are computed again (Minoux 1978): the same rows as the plain greedy
choice, which reaches at least 63% of the best possible value, at a small part of the work. Most
bounds are renewed by a sum in single precision, rounded up, and only the best of them exactly.

Up to `exact_up_to` rows all similarities are kept: 4 bytes a pair, 400 MB for 10,000 rows. Beyond,
each row counts only towards its `neighbours` most similar rows: 8 bytes each, and the value is that
of the sparse similarities. Up to `compared_up_to` rows these are found among all rows, beyond it
among the about 8,000 around each (`geometry.cells`).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cells import CELL_ROWS
from treadle.geometry.cosine import Grid, coarse
from treadle.geometry.neighbours import (
    Neighbours,
    all_neighbours,
    cell_neighbours,
    similarities,
)

TILE = 2048
"""Small products leave the threads of a BLAS waiting for each other on a busy machine."""
ROUGH = 2.0**-18
"""A sum in single precision is off by less than this share: numpy adds in a tree of 30 levels at most
for the sizes here, each of which errs by 2**-24."""


@dataclass(frozen=True, slots=True)
class Facilities:
    """Positions in the order taken, and how much each added to the sum of similarities."""

    order: list[int]
    gains: list[float]


class Coverage(Protocol):
    """How similar each row is to the most similar row taken."""

    def firsts(self) -> NDArray[np.float64]:
        """Return what each row would add to nothing."""

    def bound(self, position: int) -> float:
        """Return at least what a row would add now."""

    def gain(self, position: int) -> float:
        """Return what a row would add now."""

    def take(self, position: int) -> None:
        """Cover what this row covers."""


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
    tokens = [0] * total if tokens_N is None else tokens_N.tolist()
    left = math.inf if token_limit is None else token_limit
    order, gains = _lazy_greedy(covered, count, tokens, left)
    return Facilities(order, [gain / unit for gain in gains])


def _lazy_greedy(
    covered: Coverage, count: int, tokens: list[int], left: float
) -> tuple[list[int], list[float]]:
    """Renew the best bound, first roughly and then exactly, until the best one is exact."""
    bounds = [(-gain, i) for i, gain in enumerate(covered.firsts().tolist())]
    heapq.heapify(bounds)
    # 2 * step: bounded at this step; one more: known exactly.
    known = [1] * len(bounds)
    order: list[int] = []
    gains: list[float] = []
    now = 0
    while bounds and len(order) < count:
        bound, position = bounds[0]
        if tokens[position] > left:
            heapq.heappop(bounds)
        elif known[position] < now:
            known[position] = now
            # The older bound holds as well.
            heapq.heapreplace(bounds, (max(bound, -covered.bound(position)), position))
        elif known[position] == now:
            known[position] = now + 1
            heapq.heapreplace(bounds, (-covered.gain(position), position))
        else:
            heapq.heappop(bounds)
            covered.take(position)
            order.append(position)
            gains.append(-bound)
            left -= tokens[position]
            now += 2
    return order, gains


@dataclass(slots=True)
class _Dense:
    """All pairs."""

    near: NDArray[np.float32]
    covered: NDArray[np.float32]
    covered_sum: float
    room: NDArray[np.float32]

    @classmethod
    def over(cls, coarse_ND: Grid) -> _Dense:
        total = len(coarse_ND)
        near_NN = np.empty((total, total), dtype=np.float32)
        tiles = [slice(begin, begin + TILE) for begin in range(0, total, TILE)]
        for number, rows in enumerate(tiles):
            for columns in tiles[number:]:
                near = near_NN[rows, columns]
                similarities(coarse_ND[rows], coarse_ND[columns], out=near)
                near_NN[columns, rows] = near.T
        covered = np.zeros(total, dtype=np.float32)
        return cls(near_NN, covered, 0.0, np.empty_like(covered))

    def firsts(self) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = self.near.sum(axis=1, dtype=np.float64)
        return sums

    def bound(self, position: int) -> float:
        np.maximum(self.near[position], self.covered, out=self.room)
        return float(np.add.reduce(self.room)) * (1 + ROUGH) - self.covered_sum

    def gain(self, position: int) -> float:
        np.maximum(self.near[position], self.covered, out=self.room)
        return float(np.add.reduce(self.room, dtype=np.float64)) - self.covered_sum

    def take(self, position: int) -> None:
        np.maximum(self.near[position], self.covered, out=self.covered)
        self.covered_sum = float(self.covered.sum(dtype=np.float64))


@dataclass(slots=True)
class _Sparse:
    """For each row the rows that have it among their nearest, in one long list cut at `ends`."""

    where: NDArray[np.int32]
    near: NDArray[np.float32]
    ends: list[int]
    covered: NDArray[np.float32]

    @classmethod
    def over(cls, found: Neighbours) -> _Sparse:
        total, count = found.positions.shape
        # Rows without so many neighbours leave room behind, which sorts to the front.
        by_column = np.argsort(found.positions.ravel(), kind="stable")
        by_column = by_column[np.count_nonzero(found.positions < 0) :]
        where = (by_column // max(1, count)).astype(np.int32)
        sizes = np.bincount(found.positions[found.positions >= 0], minlength=total)
        ends = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        near = found.similarities.ravel()[by_column]
        return cls(where, near, ends, np.zeros(total, dtype=np.float32))

    def firsts(self) -> NDArray[np.float64]:
        column = np.repeat(np.arange(len(self.covered)), np.diff(self.ends))
        return np.bincount(column, weights=self.near, minlength=len(self.covered)).astype(float)

    def bound(self, position: int) -> float:
        return math.inf  # a column is short, so that its exact sum costs no more

    def gain(self, position: int) -> float:
        inside = slice(self.ends[position], self.ends[position + 1])
        more = self.near[inside] - self.covered[self.where[inside]]
        return float(np.add.reduce(np.maximum(more, 0.0), dtype=np.float64))

    def take(self, position: int) -> None:
        inside = slice(self.ends[position], self.ends[position + 1])
        some = self.where[inside]
        self.covered[some] = np.maximum(self.covered[some], self.near[inside])
