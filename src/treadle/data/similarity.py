"""Cosines of many rows to a few target rows, with one answer on every machine.

Which of two near-equal rows is the more similar is decided by the last bits of a cosine, and those
differ with the BLAS library, its threads and a row's place in the matrix. So unit vectors are
rounded to whole multiples of 2**-24, which float32 holds exactly: the products inside a cosine are
multiples of 2**-48 and their sums are exact in float64, in any order and at any width. Equal rows
get equal cosines, and a tie is a tie, broken by position.

    rows, targets = directions(points_ND), directions(wanted_QD)
    for part, cosines_BQ in cosines(rows.units, targets.units): ...

Memory is bounded by blocks; nothing holds rows x targets. Not here: approximate search.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BITS = 24
BLOCK_ROWS = 4096
BLOCK_CELLS = 2**24

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Directions:
    """Unit vectors on a grid of 2**-24, and the lengths they had (a zero vector has no direction)."""

    units: NDArray[np.float32]
    lengths: Floats


def directions(points_ND: NDArray[np.floating]) -> Directions:
    """Split vectors into direction and length; a zero vector stays zero."""
    total, width = points_ND.shape
    bits = (53 - math.ceil(math.log2(max(1, width)))) // 2
    units, lengths = np.empty((total, width), np.float32), np.empty(total)
    for begin in range(0, total, BLOCK_ROWS):
        rows = slice(begin, begin + BLOCK_ROWS)
        block = points_ND[rows].astype(np.float64)
        # Each row in whole numbers of its own unit, so that the sum of squares is exact too.
        exponents = np.frexp(np.abs(block).max(axis=1, initial=0.0))[1]
        whole = np.rint(np.ldexp(block, bits - exponents[:, None]))
        norms = np.sqrt(np.einsum("nd,nd->n", whole, whole))
        lengths[rows] = np.ldexp(norms, exponents - bits)
        norms[norms == 0] = 1.0
        units[rows] = np.ldexp(np.rint(np.ldexp(whole / norms[:, None], BITS)), -BITS)
    return Directions(units, lengths)


def has_direction(points_ND: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which vectors are not zero: only those have a cosine."""
    return np.asarray(points_ND.any(axis=1), dtype=np.bool_)


def cosines(
    units_ND: NDArray[np.float32], to_QD: NDArray[np.float32]
) -> Iterator[tuple[slice, Floats]]:
    """Yield the cosines of a block of rows (first axis) to all targets, block by block."""
    step = max(1, min(BLOCK_ROWS, BLOCK_CELLS // max(1, len(to_QD))))
    columns = to_QD.T.astype(np.float64)
    for begin in range(0, len(units_ND), step):
        rows = slice(begin, begin + step)
        yield rows, units_ND[rows].astype(np.float64) @ columns


def most_similar(
    units_ND: NDArray[np.float32],
    to_QD: NDArray[np.float32],
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
    ends_G = np.append(starts_G[1:], len(to_QD))
    rows = units_ND if len(among) == len(units_ND) else units_ND[among]
    step = max(1, BLOCK_CELLS // max(1, len(among)))
    for begin in range(0, len(starts_G), step):
        starts = starts_G[begin : begin + step]
        inside = to_QD[starts[0] : ends_G[begin : begin + step][-1]]
        best_GN = np.empty((len(starts), len(among)))
        for part, block in cosines(rows, inside):
            best_GN[:, part] = np.maximum.reduceat(block, starts - starts[0], axis=1).T
        for g, scores in enumerate(best_GN, start=begin):
            top = _largest(scores, count)
            found[g], values[g] = among[top], scores[top]
    return found, values


def _largest(scores: Floats, count: int) -> Positions:
    """Return the positions of the largest values, largest first; of equal ones the first."""
    inside = np.arange(len(scores))
    if count < len(scores):
        edge = np.partition(scores, -count)[-count]
        above, level = np.flatnonzero(scores > edge), np.flatnonzero(scores == edge)
        inside = np.sort(np.concatenate([above, level[: count - len(above)]]))
    return inside[np.argsort(-scores[inside], kind="stable")]
