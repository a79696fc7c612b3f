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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cosine import BLOCK_CELLS, Floats, Grid, block_rows, cosines
from treadle.geometry.points import Points, margin, rough_cosines

PAIR_COST = 16
"""A cosine computed for a pair alone takes about as long as so many within a matrix of all pairs."""

Positions = NDArray[np.int64]
Flags = NDArray[np.bool_]


def cosine_blocks(grid_ND: Grid, to_QD: Grid) -> Iterator[tuple[slice, Floats]]:
    """Yield the cosines of a block of rows (first axis) to all targets, block by block."""
    step = block_rows(len(to_QD))
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
            may_GN: Flags = np.broadcast_to(np.True_, (len(starts), len(among)))
        else:
            rough_GN = rough_cosines(points, to, starts, among)
            may_GN = candidates(rough_GN, count, points.width).may
        exact = exact_cosines(points, may_GN, to, starts, among)
        for g, (rows, near) in enumerate(exact, start=begin):
            top = largest(near, count)
            found[g], values[g] = rows[top], near[top]
    return found, values


def groups_of(to_QD: Grid, starts_G: Positions, begin: int, end: int) -> tuple[Grid, Positions]:
    """Return the targets of the groups from `begin` up to `end`, and their starts among these."""
    starts = starts_G[begin:end]
    stop = starts_G[end] if end < len(starts_G) else len(to_QD)
    return to_QD[starts[0] : stop], starts - starts[0]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Which rows may be among the most similar of each group, and from what cosine on all are there."""

    may: Flags
    sure: NDArray[np.float32]


def candidates(rough_GN: Grid, count: int, width: int) -> Candidates:
    """Return the rows that may be among the `count` most similar of each group, by rough cosines.

    Where the count-th largest rough cosine is e, `count` rows have an exact one of at least e less a
    margin. A row whose rough one is below e less two margins has an exact one below that: no candidate
    is missing, and beyond `count` the order of all that reach it is known too.
    """
    if count >= rough_GN.shape[1]:
        return Candidates(
            np.ones(rough_GN.shape, np.bool_), np.full(len(rough_GN), -np.inf, np.float32)
        )
    edge_G = np.partition(rough_GN, -count, axis=1)[:, -count]
    may_GN = rough_GN >= (edge_G - 2 * margin(width))[:, None]
    return Candidates(may_GN, edge_G - margin(width))


def exact_cosines(
    points: Points, may_GN: Flags, to_QD: Grid, starts_G: Positions, among: Positions
) -> Iterator[tuple[Positions, Floats]]:
    """Yield, for each group, the rows of `among` that it may take, and their cosines.

    Where that is cheaper, others too. Positions rise.
    """
    union = np.flatnonzero(may_GN.any(axis=0))
    grid_UD = points.directions(among[union])
    if np.count_nonzero(may_GN) * PAIR_COST > len(union) * len(starts_G):
        for near in group_cosines(grid_UD, to_QD, starts_G):
            yield among[union], near
        return
    for g in range(len(starts_G)):
        mine = np.flatnonzero(may_GN[g])
        to, start = groups_of(to_QD, starts_G, g, g + 1)
        near = group_cosines(grid_UD[union.searchsorted(mine)], to, start)[0]
        yield among[mine], near


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
    least = np.partition(scores, -count)[-count] if count < len(scores) else -np.inf
    return reaching(scores, least)[:count]


def reaching(scores: Floats, least: float) -> Positions:
    """Return the positions of all values from `least` on, largest first; equal ones in order."""
    inside = np.flatnonzero(scores >= least)
    return inside[np.argsort(-scores[inside], kind="stable")]
