"""Vectors as they are, for cosines in two passes: rough ones of all pairs, exact ones of a few.

    points = Points.of(vectors_ND)
    rough_GN = rough_cosines(points, to_QD, starts_G, among)    single precision
    points.directions(rows)                                     on the grid, made when asked for

A rough cosine is at most `margin(width)` from that of the directions (`geometry.cosine`). So a row whose
rough cosine is more than twice that below another's is less similar, and needs no direction.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cosine import CACHED_ROWS, RADIUS, Grid, block_rows, directions, first_bits
from treadle.geometry.threads import in_threads

UNIT = 2.0**-24
"""The largest relative error of one operation in single precision."""
SAFE = 2.0**80
"""Of squared lengths up to this, and down to its inverse, no sum overflows or loses by underflow."""


class Points:
    """Vectors and their directions; each of these is made when first asked for."""

    def __init__(self, vectors_ND: NDArray[np.float32], grid_ND: Grid, is_known: bool) -> None:
        self.vectors = vectors_ND
        self._grid = grid_ND
        self._is_known = np.full(len(grid_ND), is_known)

    @classmethod
    def of(cls, vectors_ND: NDArray[np.float32]) -> Points:
        """Take vectors of any length."""
        return cls(vectors_ND, np.empty(vectors_ND.shape, np.float32), False)

    @classmethod
    def on_grid(cls, grid_ND: Grid) -> Points:
        """Take directions, as their own vectors."""
        return cls(grid_ND, grid_ND, True)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return int(self.vectors.shape[1])

    @property
    def grid(self) -> Grid:
        """The directions of all rows."""
        if not self._is_known.all():
            self._grid, self._is_known[:] = directions(self.vectors), True
        return self._grid

    def directions(self, rows: NDArray[np.int64]) -> Grid:
        """Return the directions of the rows at these positions, which must rise."""
        if len(rows) == len(self):
            return self.grid
        new = rows[~self._is_known[rows]]
        for begin in range(0, len(new), CACHED_ROWS):
            some = new[begin : begin + CACHED_ROWS]
            self._grid[some] = directions(self.vectors[some])
        self._is_known[new] = True
        return self._grid[rows]


def margin(width: int) -> float:
    """Return how far a rough cosine may lie from the exact one of the directions.

    Let x be a vector, X its direction and Q a target's, both about RADIUS long, u = UNIT and D the
    width. The rough cosine is computed from xQ / (|x| RADIUS), the exact one is XQ / RADIUS**2.

    Rounding of the grid. `directions` moves each number by at most 1/2 twice: where the largest lies
    above 2**(bits - 1), which turns the vector by at most sqrt(D) / 2 over that, and at the length
    RADIUS. So X / RADIUS is within sqrt(D) * (2**-bits + u) of x / |x|. (Where x is itself a
    direction, only its length is off, by less than the second term.)

    Single precision. In whatever order its terms are added, a sum of D products is off by about D u
    times the sum of their sizes: for xQ at most |x| |Q|, for |x|**2 itself, whose root halves that.
    Together 3/2 D u, and u for each of the root, the division, and two limits that are computed
    from rough cosines. That 2 (D + 4) u stands here leaves more than the terms of second order need, at
    any width below a million.
    """
    grid = math.sqrt(width) * (2.0 ** -first_bits(width) + UNIT)
    return grid + 2 * (width + 4) * UNIT


def rough_cosines(
    points: Points,
    to_QD: Grid,
    starts_G: NDArray[np.int64],
    among: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the rough cosine of each group's most similar target to each row of `among` (rising).

    Groups x rows; group g is the targets from `starts_G[g]` up to the next start.
    """
    total = len(among)
    best_GN = np.empty((len(starts_G), total), np.float32)
    step = block_rows(len(to_QD))

    def fill(begin: int) -> None:
        part = slice(begin, begin + step)
        vectors, lengths = _measured(points.vectors[part if total == len(points) else among[part]])
        block = to_QD @ vectors.T
        if len(starts_G) < len(to_QD):
            block = np.maximum.reduceat(block, starts_G, axis=0)
        np.divide(block, lengths * np.float32(RADIUS), out=best_GN[:, part])

    in_threads(fill, range(0, total, step))
    return best_GN


def _measured(
    vectors_BD: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return vectors and their lengths; for very long, short and zero ones their directions."""
    squares = np.einsum("nd,nd->n", vectors_BD, vectors_BD)
    odd = np.flatnonzero(~((squares > 1 / SAFE) & (squares < SAFE)))
    if len(odd):
        vectors_BD = vectors_BD.copy()
        vectors_BD[odd] = directions(vectors_BD[odd])
        squares[odd] = np.einsum("nd,nd->n", vectors_BD[odd], vectors_BD[odd])
        squares[squares == 0] = 1.0
    return vectors_BD, np.sqrt(squares)
