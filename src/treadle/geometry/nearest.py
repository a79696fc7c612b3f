"""The rows most like each target row, without a matrix of all pairs.

    for part, cosines_BQ in cosine_blocks(grid_ND, to_QD): ...
    most_similar(points, to_QD, starts_G, among, count)

Targets, and rows where they are compared exactly, are directions on the grid of `geometry.cosine`, so
that a tie is a tie on any machine. The most similar are found in two passes: rough cosines of all pairs
say which few rows may belong to a list, exact ones say which do and in what order.
Not here: approximate search.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cosine import BLOCK_ROWS, Floats, Grid, cosines
from treadle.geometry.points import Points, margin, rough_cosines

BLOCK_CELLS = 2**24
PAIR_COST = 16
"""A cosine computed for a pair alone takes about as long as so many within a matrix of all pairs."""

Positions = NDArray[np.int64]
Flags = NDArray[np.bool_]


def cosine_blocks(grid_ND: Grid, to_QD: Grid) -> Iterator[tuple[slice, Floats]]:
    """Yield the cosines of a block of rows (first axis) to all targets, block by block."""
    step = max(1, min(BLOCK_ROWS, BLOCK_CELLS // max(1, len(to_QD))))
    for begin in range(0, len(grid_ND), step):
        part = slice(begin, begin + step)
        yield part, cosines(grid_ND[part], to_QD)


def most_similar(
    points: Points,
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
    step = max(1, BLOCK_CELLS // max(1, len(among)))
    for begin in range(0, len(starts_G), step):
        to, starts = groups_of(to_QD, starts_G, begin, begin + step)
        if count * PAIR_COST > len(among):  # so long a list saves nothing
            may_GN = np.broadcast_to(np.True_, (len(starts), len(among)))
        else:
            may_GN = candidates(rough_cosines(points, to, starts, among), count, points.width)
        lists = best(points, may_GN, to, starts, among, count)
        for g, (rows, near) in enumerate(lists, start=begin):
            found[g], values[g] = rows, near
    return found, values


def groups_of(to_QD: Grid, starts_G: Positions, begin: int, end: int) -> tuple[Grid, Positions]:
    """Return the targets of the groups from `begin` up to `end`, and their starts among these."""
    starts = starts_G[begin:end]
    stop = starts_G[end] if end < len(starts_G) else len(to_QD)
    return to_QD[starts[0] : stop], starts - starts[0]


def candidates(rough_GN: Grid, count: int, width: int) -> Flags:
    """Return which rows may be among the `count` most similar of each group, by rough cosines.

    Of the `count` rows whose rough cosine reaches the count-th largest, all have an exact one above
    that less a margin; a row whose rough one is lower by more than two margins has one below it.
    """
    if count >= rough_GN.shape[1]:
        return np.ones(rough_GN.shape, np.bool_)
    edge_G = np.partition(rough_GN, -count, axis=1)[:, -count]
    return rough_GN >= (edge_G - 2 * margin(width))[:, None]


def best(
    points: Points,
    may_GN: Flags,
    to_QD: Grid,
    starts_G: Positions,
    among: Positions,
    count: int,
) -> Iterator[tuple[Positions, Floats]]:
    """Yield, for each group, the `count` most similar of the rows of `among` that it may take.

    Positions and exact cosines, as `most_similar` orders them.
    """
    union = np.flatnonzero(may_GN.any(axis=0))
    grid_UD = points.directions(among[union])
    is_dense = np.count_nonzero(may_GN) * PAIR_COST > len(union) * len(starts_G)
    if is_dense:  # rows that it may not take do no harm: they are less similar
        for scores in group_cosines(grid_UD, to_QD, starts_G):
            top = largest(scores, count)
            yield among[union[top]], scores[top]
        return
    for g in range(len(starts_G)):
        mine = np.flatnonzero(may_GN[g])
        to, start = groups_of(to_QD, starts_G, g, g + 1)
        scores = group_cosines(grid_UD[np.searchsorted(union, mine)], to, start)[0]
        top = largest(scores, count)
        yield among[mine[top]], scores[top]


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
