"""The rows most like each target row, without a matrix of all pairs.

    for part, cosines_BQ in cosine_blocks(grid_ND, to_QD): ...
    most_similar(grid_ND, to_QD, starts_G, among, count)

Rows and targets are directions on the grid of `geometry.cosine`, so that a tie is a tie on any machine.
Not here: approximate search.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cosine import BLOCK_ROWS, Floats, Grid, cosines

BLOCK_CELLS = 2**24

Positions = NDArray[np.int64]


def cosine_blocks(grid_ND: Grid, to_QD: Grid) -> Iterator[tuple[slice, Floats]]:
    """Yield the cosines of a block of rows (first axis) to all targets, block by block."""
    step = max(1, min(BLOCK_ROWS, BLOCK_CELLS // max(1, len(to_QD))))
    for begin in range(0, len(grid_ND), step):
        part = slice(begin, begin + step)
        yield part, cosines(grid_ND[part], to_QD)


def most_similar(
    grid_ND: Grid,
    to_QD: Grid,
    starts_G: Positions,
    among: Positions,
    count: int,
) -> tuple[Positions, Floats]:
    """Return, for each group of targets, the `count` rows most similar to any target of the group.

    Group g is the targets from `starts_G[g]` up to the next start. Answers positions and cosines,
    groups x count, best first and equal ones in the order of `among` (which must rise).
    """
    count = min(count, len(among))
    found = np.empty((len(starts_G), count), np.int64)
    values = np.empty((len(starts_G), count))
    rows = grid_ND if len(among) == len(grid_ND) else grid_ND[among]
    step = max(1, BLOCK_CELLS // max(1, len(among)))
    for begin in range(0, len(starts_G), step):
        end = begin + step
        stop = starts_G[end] if end < len(starts_G) else len(to_QD)
        starts = starts_G[begin:end]
        best_GN = group_cosines(rows, to_QD[starts[0] : stop], starts - starts[0])
        for g, scores in enumerate(best_GN, start=begin):
            top = largest(scores, count)
            found[g], values[g] = among[top], scores[top]
    return found, values


def group_cosines(grid_ND: Grid, to_QD: Grid, starts_G: Positions) -> Floats:
    """Return the cosine of each group's most similar target to each row: groups x rows."""
    best_GN = np.empty((len(starts_G), len(grid_ND)))
    for part, block in cosine_blocks(grid_ND, to_QD):
        if len(starts_G) < len(to_QD):
            block = np.maximum.reduceat(block, starts_G, axis=1)
        best_GN[:, part] = block.T
    return best_GN


def largest(scores: Floats, count: int) -> Positions:
    """Return the positions of the largest values, largest first; of equal ones the first."""
    inside = np.arange(len(scores))
    if count < len(scores):
        inside = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    # Of those at the edge, the stable sort leaves the last ones out.
    return inside[np.argsort(-scores[inside], kind="stable")[:count]]
