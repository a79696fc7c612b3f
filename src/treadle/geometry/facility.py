"""Facility location: few rows that every row of the pool is similar to at least one of.

    greedy_facility_location(grid_ND, count=1000).order      positions, in the order taken

It maximises the sum, over all rows, of the cosine to the most similar row taken (a cosine below 0
counts as 0, which is also the value of having taken none). Similarities are rounded to whole
numbers of 2**-23, so gains are exact sums, and neither the machine nor the order of the rows
decides a tie.

A gain can only shrink as rows are taken, so a gain computed some steps ago is an upper bound, and
only rows with the best bounds are computed again (Minoux 1978): the same rows as the plain greedy
choice, which reaches at least 63% of the best possible value, at a small part of the work.

Up to `exact_up_to` rows all similarities are kept: 4 bytes a pair, 400 MB for 10,000 rows. Beyond,
each row counts only towards its `neighbours` most similar rows: 8 bytes each, and the value is that
of the sparse similarities. Not here: a way around the one comparison of all pairs.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cosine import RADIUS, Grid

BLOCK_CELLS = 2**21
BLOCK_ROWS = 64
PLACES = 2.0**26

Column = tuple[slice | NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Facilities:
    """Positions in the order taken, and how much each added to the sum of similarities."""

    order: list[int]
    gains: list[float]


def greedy_facility_location(
    grid_ND: Grid,
    *,
    count: int,
    tokens_N: NDArray[np.int64] | None = None,
    token_limit: int | None = None,
    exact_up_to: int = 10_000,
    neighbours: int = 128,
) -> Facilities:
    """Take up to `count` rows, each the one that adds most; ties go to the lower position.

    Under a token limit, each is the best of the rows that still fit, until none does. The grid is
    that of `cosine.directions`, with no row of zeros.
    """
    total = len(grid_ND)
    tokens = np.zeros(total, dtype=np.int64) if tokens_N is None else tokens_N
    left = math.inf if token_limit is None else token_limit
    if total <= exact_up_to:
        column, firsts = _all_pairs(grid_ND)
    else:
        column, firsts = _nearest_pairs(grid_ND, min(neighbours, total))
    covered = np.zeros(total, dtype=np.float32)
    covered_sum = np.float64(0)
    bounds = [(-gain, i) for i, gain in enumerate(firsts.tolist())]
    heapq.heapify(bounds)
    computed_at = np.zeros(total, dtype=np.int64)
    order: list[int] = []
    gains: list[float] = []
    while bounds and len(order) < count:
        bound, position = bounds[0]
        if tokens[position] > left:
            heapq.heappop(bounds)
            continue
        where, near = column(position)
        if computed_at[position] < len(order):
            now = covered[where]
            before = covered_sum if isinstance(where, slice) else now.sum(dtype=np.float64)
            gain = np.maximum(near, now).sum(dtype=np.float64) - before
            computed_at[position] = len(order)
            heapq.heapreplace(bounds, (-float(gain), position))
            continue
        heapq.heappop(bounds)
        covered[where] = np.maximum(covered[where], near)
        covered_sum = covered.sum(dtype=np.float64)
        order.append(position)
        gains.append(-bound / RADIUS)
        left -= int(tokens[position])
    return Facilities(order, gains)


def _all_pairs(grid_ND: Grid) -> tuple[Callable[[int], Column], NDArray[np.float64]]:
    """Return, for each row, its similarity to all rows; and the sums of these."""
    total = len(grid_ND)
    near_NN = np.empty((total, total), dtype=np.float32)
    exact_ND = grid_ND.astype(np.float64)
    for rows in _blocks(total):
        near = _similarities(exact_ND[rows], exact_ND[rows.start :])
        near_NN[rows, rows.start :] = near
        near_NN[rows.start :, rows] = near.T
    return lambda i: (slice(None), near_NN[i]), near_NN.sum(axis=1, dtype=np.float64)


def _nearest_pairs(
    grid_ND: Grid, neighbours: int
) -> tuple[Callable[[int], Column], NDArray[np.float64]]:
    """Return, for each row, the rows that have it among their nearest, with their similarity.

    A similarity and a position share one number, so that no two are equal: which rows are nearest
    does not hang on how a sort breaks ties. Equally near rows go by position.
    """
    total = len(grid_ND)
    nearest = np.empty((total, neighbours), dtype=np.int32)
    near = np.empty((total, neighbours), dtype=np.float32)
    positions = PLACES - 1 - np.arange(total)
    exact_ND = grid_ND.astype(np.float64)
    for rows in _blocks(total):
        keys = _similarities(exact_ND[rows], exact_ND)
        keys *= PLACES
        keys += positions
        best = np.partition(keys, -neighbours, axis=1)[:, -neighbours:]
        near[rows], place = np.divmod(best, PLACES)
        nearest[rows] = PLACES - 1 - place
    by_column = np.argsort(nearest.ravel(), kind="stable")
    where = (by_column // neighbours).astype(np.int32)
    values = near.ravel()[by_column]
    ends = np.cumsum(np.bincount(nearest.ravel(), minlength=total))

    def column(i: int) -> Column:
        inside = slice(ends[i - 1] if i else 0, ends[i])
        return where[inside], values[inside]

    sums = np.bincount(nearest.ravel(), weights=near.ravel(), minlength=total)
    return column, sums.astype(np.float64)


def _similarities(
    some_AD: NDArray[np.float64], others_BD: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return cosines of at least 0 as whole numbers of 1 / RADIUS; grids in double precision."""
    found: NDArray[np.float64] = some_AD @ others_BD.T
    found /= RADIUS
    np.rint(found, out=found)
    return np.maximum(found, 0, out=found)


def _blocks(total: int) -> list[slice]:
    """Cut `total` rows so that a block's similarities stay near the processor: BLOCK_CELLS of them."""
    size = max(BLOCK_ROWS, BLOCK_CELLS // max(1, total))
    return [slice(begin, begin + size) for begin in range(0, total, size)]
