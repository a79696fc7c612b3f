"""For each row its most similar rows: the sparse similarities of large pools.

    near = all_neighbours(coarse_ND, 128)             every pair is compared
    near = cell_neighbours(grid_ND, coarse_ND, 128)   every row with about 8,000 rows around it

Similarities are cosines of at least 0 as whole numbers (`cosine.coarse`). A similarity and a position
share one number, so that no two are equal: which rows are nearest does not hang on how a sort breaks
ties. Equally near rows go by position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cells import CELL_ROWS, PROBES, cells, neighbourhoods
from treadle.geometry.cosine import Grid
from treadle.geometry.threads import in_threads

PLACES = 2.0**26
BLOCK_CELLS = 2**21
"""So many similarities stay near the processor."""
BLOCK_ROWS = 64


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Positions and similarities of each row's most similar rows, in no order; -1: there is none."""

    positions: NDArray[np.int32]
    similarities: NDArray[np.float32]

    @classmethod
    def none(cls, total: int, count: int) -> Neighbours:
        """Make room for `count` neighbours of `total` rows."""
        positions = np.full((total, count), -1, dtype=np.int32)
        return cls(positions, np.zeros((total, count), dtype=np.float32))


def all_neighbours(coarse_ND: Grid, count: int) -> Neighbours:
    """Compare all pairs. Costs O(rows**2 * width), with memory for a few blocks and the answer."""
    total = len(coarse_ND)
    found = Neighbours.none(total, min(count, total))
    everyone = np.arange(total)
    _compare(found, coarse_ND, everyone, everyone, coarse_ND)
    return found


def cell_neighbours(
    grid_ND: Grid,
    coarse_ND: Grid,
    count: int,
    *,
    cell_rows: int = CELL_ROWS,
    probes: int = PROBES,
) -> Neighbours:
    """Compare each row with those of its own and the nearest other cells: approximate.

    The cells are found by the finer grid. Costs O(rows * probes * cell_rows * width), and finding
    the cells of a pool of a million takes longer than that.
    """
    total = len(grid_ND)
    found = Neighbours.none(total, min(count, total))
    for some, others in neighbourhoods(grid_ND, cells(grid_ND, cell_rows), probes):
        _compare(found, coarse_ND, some, others, coarse_ND[others])
    return found


def _compare(
    found: Neighbours,
    coarse_ND: Grid,
    some: NDArray[np.int64],
    others: NDArray[np.int64],
    others_OD: Grid,
) -> None:
    """Find the nearest of `others` for each of `some` rows, a block of BLOCK_CELLS pairs at a time."""
    size = max(BLOCK_ROWS, BLOCK_CELLS // max(1, len(others)))

    def compare(begin: int) -> None:
        rows = some[begin : begin + size]
        _keep_best(found, rows, others, similarities(coarse_ND[rows], others_OD))

    in_threads(compare, range(0, len(some), size))


def _keep_best(
    found: Neighbours, rows: NDArray[np.int64], others: NDArray[np.int64], near: Grid
) -> None:
    """Note the most similar of `others` for each of `rows`."""
    count = min(found.positions.shape[1], len(others))
    keys = near.astype(np.float64)
    keys *= PLACES
    keys += PLACES - 1 - others
    if count < len(others):
        keys.partition(len(others) - count, axis=1)
    similarity, place = np.divmod(keys[:, len(others) - count :], PLACES)
    found.similarities[rows, :count] = similarity
    found.positions[rows, :count] = PLACES - 1 - place


def similarities(some_AD: Grid, others_BD: Grid) -> Grid:
    """Return products of coarse directions, at least 0."""
    found: Grid = some_AD @ others_BD.T
    return np.maximum(found, 0, out=found)
