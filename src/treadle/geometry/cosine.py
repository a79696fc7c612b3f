"""Cosine similarity that comes out the same on every machine, and the search for near-copies.

    grid_ND = directions(points_ND)          unit vectors, as whole numbers of length RADIUS
    cosines(grid_ND[:9], grid_ND)            a 9 x N matrix

Whether a pair lies above a limit may hang on the last bits of a sum, and those differ with the BLAS
library and a row's place in the matrix. So vectors are scaled to one length and rounded to whole
numbers, whose products are exact in double precision in any order of summing: equal rows get equal
similarities everywhere. The rounding moves a cosine by at most 2e-6 at 384 dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.data.selection import UNSCORED, has_length, vectors

RADIUS = 2.0**23
BLOCK_ROWS = 4096
BLOCK_CELLS = 2**24
"""So many cosines are made at a time."""
WALK_ROWS = 512
CACHED_ROWS = 256
"""Of 384 numbers in double precision, so many rows stay in the processor's cache."""
NEAR_COPY = "near_copy"

Grid = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pointed:
    """The rows that have a direction and a length: vectors, positions, and why not the rest."""

    vectors: NDArray[np.float32]
    positions: NDArray[np.int64]
    left: dict[int, str]


@dataclass(frozen=True, slots=True)
class Directed:
    """The rows that have a direction and a length: their grid, their positions, and why not the rest."""

    grid: Grid
    positions: NDArray[np.int64]
    left: dict[int, str]


def pointed(rows: pl.DataFrame, feature: str) -> Pointed:
    """Return a vector feature as it is; rows without one are left as `unscored`.

    A vector of zeros points nowhere, so it counts as missing.
    """
    points, is_scored = vectors(rows, feature)
    may = is_scored & has_length(rows) & _has_direction(points)
    outside = np.flatnonzero(~may).tolist()
    points = points if may.all() else points[may]
    return Pointed(points, np.flatnonzero(may), dict.fromkeys(outside, UNSCORED))


def _has_direction(points_ND: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which vectors are not zeros; mostly their first number says so, and the rest is not read."""
    found: NDArray[np.bool_] = np.count_nonzero(points_ND[:, :1], axis=1) > 0
    found[~found] = points_ND[~found].any(axis=1)
    return found


def directed(rows: pl.DataFrame, feature: str) -> Directed:
    """Return the directions of a vector feature; rows without one are left as `unscored`."""
    found = pointed(rows, feature)
    return Directed(directions(found.vectors), found.positions, found.left)


def first_bits(width: int) -> int:
    """Return how many bits a number may have so that a sum of `width` squares is exact."""
    return (53 - math.ceil(math.log2(max(1, width)))) // 2


def directions(points_ND: NDArray[np.floating]) -> Grid:
    """Scale vectors to the length RADIUS and round them to whole numbers; zeros stay zeros.

    Coordinates are first rounded so that the sum of their squares, and with it the length, is exact.
    """
    grid = np.empty(points_ND.shape, dtype=np.float32)
    bits = first_bits(points_ND.shape[1])
    for begin in range(0, len(grid), CACHED_ROWS):
        part = points_ND[begin : begin + CACHED_ROWS]
        largest = np.maximum(part.max(axis=1, initial=0.0), -part.min(axis=1, initial=0.0))
        exponents = np.frexp(largest.astype(np.float64))[1]
        # A power of two, so that the product is exact; of vectors near the smallest doubles, the largest.
        scale = np.ldexp(1.0, np.minimum(bits - exponents, 1000))
        block: Floats = part * scale[:, None]
        np.rint(block, out=block)
        lengths = np.sqrt(np.einsum("nd,nd->n", block, block))
        lengths[lengths == 0] = 1.0
        block *= (RADIUS / lengths)[:, None]
        grid[begin : begin + CACHED_ROWS] = np.rint(block, out=block)
    return grid


def coarse(grid_ND: Grid) -> tuple[Grid, float]:
    """Round directions so coarsely that their products are exact in single precision.

    Returns the rounded vectors and the product that stands for a cosine of 1. All partial sums of a
    product are whole numbers of at most 2**24, so any order of adding gives the same, at half the
    time of double precision. The rounding moves a cosine by about 7e-5 (5e-4 at most, as seen) at
    384 dimensions, and more at more: enough for sums of similarities, too little for a limit.
    """
    radius = 2**12 - math.ceil(math.sqrt(grid_ND.shape[1]) / 2)
    found = np.rint(grid_ND * np.float32(radius / RADIUS))
    return found, float(radius * radius)


def block_rows(others: int) -> int:
    """Return how many rows to compare with so many others at a time."""
    return max(1, min(BLOCK_ROWS, BLOCK_CELLS // max(1, others)))


def cosines(some_AD: Grid, others_BD: Grid) -> Floats:
    """Return the cosine of every pair, exact on the grid: an A x B matrix."""
    found: Floats = some_AD.astype(np.float64) @ others_BD.astype(np.float64).T
    found /= RADIUS * RADIUS
    return found


def near_copies(
    grid_ND: Grid,
    order: NDArray[np.int64],
    *,
    limit: float,
    against: Literal["kept", "earlier"],
) -> Iterator[NDArray[np.bool_]]:
    """Walk rows in order, a block at a time, and say which come too close to a row before them.

    Too close is a cosine above `limit` to a row kept before (`kept`: the exact greedy filter), or to
    any row before, kept or not (`earlier`). A walk that is ended early costs no more than it saw:
    O(rows walked * rows compared with * width), in blocks, with memory for a few blocks.
    """
    kept = np.zeros(0, dtype=np.int64)
    for begin in range(0, len(order), WALK_ROWS):
        block = order[begin : begin + WALK_ROWS]
        before = order[:begin] if against == "earlier" else kept
        is_copy = _is_near_any(grid_ND, block, before, limit)
        near_BB = np.triu(cosines(grid_ND[block], grid_ND[block]) > limit, k=1)
        if against == "earlier":
            is_copy |= near_BB.any(axis=0)
        else:
            for i in range(len(block)):
                if not is_copy[i]:
                    is_copy |= near_BB[i]
        kept = np.concatenate([kept, block[~is_copy]])
        yield is_copy


def _is_near_any(
    grid_ND: Grid, some: NDArray[np.int64], others: NDArray[np.int64], limit: float
) -> NDArray[np.bool_]:
    """Return which of `some` rows have a cosine above the limit to any of `others`."""
    is_near = np.zeros(len(some), dtype=np.bool_)
    for begin in range(0, len(others), BLOCK_ROWS):
        against = grid_ND[others[begin : begin + BLOCK_ROWS]]
        is_near |= (cosines(grid_ND[some], against) > limit).any(axis=1)
    return is_near
