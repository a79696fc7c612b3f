"""Rows that are near one kept before them in two ways at once, without a matrix of all pairs.

    found = drop_alike((prompts_ND, replies_NE), order, limit=0.9)

Both matrices are directions on the grid of `geometry.cosine`, so whether a pair reaches the limit is
the same on any machine. How near two rows are is the smaller of their two cosines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cosine import BLOCK_ROWS, WALK_ROWS, Floats, Grid, cosines

Positions = NDArray[np.int64]
Apart = Callable[[Positions, Positions], NDArray[np.bool_]]
"""Says of each pair of rows whether they are not alike, however near."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Two directions for each row."""

    one: Grid
    other: Grid

    def __len__(self) -> int:
        return len(self.one)

    def take(self, which: Positions) -> Sides:
        """Return the rows at these positions, in this order."""
        return Sides(self.one[which], self.other[which])


@dataclass(frozen=True, slots=True)
class Alike:
    """Rows that were dropped, the kept row that each is most like, and how near that is."""

    dropped: Positions
    kept: Positions
    nearness: Floats


def nearness(some: Sides, others: Sides, limit: float) -> Floats:
    """Return the smaller cosine of every pair; where the first is below the limit, that one."""
    found = cosines(some.one, others.one)
    may = np.flatnonzero((found >= limit).any(axis=1))
    if len(may):
        found[may] = np.minimum(found[may], cosines(some.other[may], others.other))
    return found


def drop_alike(
    rows: Sides,
    order: Positions,
    limit: float,
    *,
    apart: Apart | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Alike:
    """Walk rows in order and drop each whose nearness to a row kept before reaches the limit.

    Of equally near kept rows the first in order is named. Pairs that are `apart` are never near. Costs O(rows * rows kept * width), with
    memory for a few blocks.
    """
    kept = np.zeros(0, dtype=np.int64)
    nothing = Alike(kept, kept, np.zeros(0))
    parts = [nothing]
    for begin in range(0, len(order), WALK_ROWS):
        block = order[begin : begin + WALK_ROWS]
        inside = rows.take(block)
        best, like = np.full(len(block), -np.inf), np.zeros(len(block), dtype=np.int64)
        for start in range(0, len(kept), BLOCK_ROWS):
            tick()
            before = kept[start : start + BLOCK_ROWS]
            near = nearness(inside, rows.take(before), limit)
            _part(near, block, before, limit, apart)
            top = near.argmax(axis=1)
            value = near[np.arange(len(block)), top]
            like = np.where(value > best, before[top], like)
            best = np.maximum(best, value)
        near = nearness(inside, inside, limit)
        _part(near, block, block, limit, apart)
        is_kept = _walk(near, block, best, like, limit)
        parts.append(Alike(block[~is_kept], like[~is_kept], best[~is_kept]))
        kept = np.concatenate([kept, block[is_kept]])
    return Alike(
        np.concatenate([part.dropped for part in parts]),
        np.concatenate([part.kept for part in parts]),
        np.concatenate([part.nearness for part in parts]),
    )


def _part(
    near: Floats, some: Positions, others: Positions, limit: float, apart: Apart | None
) -> None:
    """Move pairs that are apart to the far end, in place; only near ones are asked about."""
    is_near = near >= limit
    rows, columns = np.flatnonzero(is_near.any(axis=1)), np.flatnonzero(is_near.any(axis=0))
    if apart is None or not len(rows):
        return
    inside = np.ix_(rows, columns)
    near[inside] = np.where(apart(some[rows], others[columns]), -1.0, near[inside])


def _walk(
    near_BB: Floats, block: Positions, best: Floats, like: Positions, limit: float
) -> NDArray[np.bool_]:
    """Say which rows of a block stay, and note (in place) what the others are most like."""
    is_kept = np.ones(len(block), dtype=np.bool_)
    for i in range(len(block)):
        before = np.flatnonzero(is_kept[:i])
        if len(before):
            nearest = before[near_BB[i, before].argmax()]
            if near_BB[i, nearest] > best[i]:
                best[i], like[i] = near_BB[i, nearest], block[nearest]
        is_kept[i] = best[i] < limit
    return is_kept
