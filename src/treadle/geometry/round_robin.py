"""Round-robin over target rows: each in its turn takes the row most like it that is still free.

    for position, group, cosine in offers(points, to_QD, starts_G, expected=1000): ...

Each group of targets reads a list of its most similar rows, and all share a map of the rows taken.
Where all rough cosines fit into memory, lists are short, and a group whose list ends takes the next part
of its order. Beyond that, lists are as deep as memory allows; when one ends, all are made anew
among the rows still free. So a narrow set of targets, which all want the same rows, costs passes
over the pool, and never more memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from treadle.geometry.cosine import Floats, Grid
from treadle.geometry.nearest import (
    Positions,
    candidates,
    exact_cosines,
    groups_of,
    most_similar,
    reaching,
)
from treadle.geometry.points import Points, rough_cosines

LIST_CELLS = 2**24
LEAST_DEPTH = 16
READ_ROWS = 1024

Waiting = Iterator[tuple[int, float]]


def offers(
    points: Points,
    to_QD: Grid,
    starts_G: Positions,
    *,
    expected: int,
    list_cells: int = LIST_CELLS,
) -> Iterator[tuple[int, int, float]]:
    """Yield position, group and cosine, turn by turn, until every row is taken.

    A group's cosine to a row is the largest of its targets'; equal ones go to the lower position.
    `expected` (how many will be asked for) and `list_cells` trade speed only.
    """
    groups = len(starts_G)
    taken = bytearray(len(points))  # read one at a time, this is faster than an array
    lists: _Held | _Remade
    if groups * len(points) <= list_cells:
        depth = max(LEAST_DEPTH, 2 * expected // groups)
        lists = _Held(points, to_QD, starts_G, taken, depth)
    else:
        depth = max(1, min(expected, list_cells // groups))
        lists = _Remade(points, to_QD, starts_G, taken, depth)
    for turn in range(len(points)):
        g = turn % groups
        found = next(lists.waiting[g], None)
        if found is None:
            lists.refill(g)
            found = next(lists.waiting[g])
        position, cosine = found
        taken[position] = True
        yield position, g, cosine


class _Held:
    """Rough cosines are in memory: a list that ends is followed by the next part of its group's order."""

    def __init__(
        self, points: Points, to_QD: Grid, starts_G: Positions, taken: bytearray, depth: int
    ) -> None:
        self.points, self.to, self.starts, self.taken = points, to_QD, starts_G, taken
        everyone = np.arange(len(points))
        self.rough_GN = rough_cosines(points, to_QD, starts_G, everyone)
        self.waiting = list(self._lists(self.rough_GN, to_QD, starts_G, everyone, depth))
        self.depths = [depth] * len(starts_G)

    def refill(self, g: int) -> None:
        self.depths[g] *= 2
        free = _free(self.taken)
        to, start = groups_of(self.to, self.starts, g, g + 1)
        rough_GN = self.rough_GN[g : g + 1, free]
        self.waiting[g] = next(self._lists(rough_GN, to, start, free, self.depths[g]))

    def _lists(
        self, rough_GN: Grid, to_QD: Grid, starts_G: Positions, among: Positions, depth: int
    ) -> Iterator[Waiting]:
        """Yield a list for each group: as long as `depth`, and as its order is known beyond that.

        So rows that no rough cosine can tell apart are compared once, however many they are.
        """
        seen = candidates(rough_GN, depth, self.points.width)
        exact = exact_cosines(self.points, seen.may, to_QD, starts_G, among)
        for (rows, near), least in zip(exact, seen.sure, strict=True):
            top = reaching(near, least)
            yield _waiting(rows[top], near[top], self.taken)


class _Remade:
    """Cosines are made anew among the rows still free, for all groups at once."""

    def __init__(
        self, points: Points, to_QD: Grid, starts_G: Positions, taken: bytearray, depth: int
    ) -> None:
        self.points, self.to, self.starts, self.taken = points, to_QD, starts_G, taken
        self.depth = depth
        self.waiting = self._lists()

    def refill(self, g: int) -> None:
        """Make all lists anew, that of `g` among them."""
        self.waiting = self._lists()

    def _lists(self) -> list[Waiting]:
        free = _free(self.taken)
        lists = most_similar(self.points, self.to, self.starts, free, self.depth)
        return [_waiting(rows, near, self.taken) for rows, near in zip(*lists, strict=True)]


def _free(taken: bytearray) -> Positions:
    return np.flatnonzero(np.frombuffer(taken, np.uint8) == 0)


def _waiting(rows: Positions, cosines: Floats, taken: bytearray) -> Waiting:
    """Read a list's rows that are free by then.

    A part at a time: as Python's numbers, a long list would take much memory.
    """
    for begin in range(0, len(rows), READ_ROWS):
        part = slice(begin, begin + READ_ROWS)
        for position, cosine in zip(rows[part].tolist(), cosines[part].tolist(), strict=True):
            if not taken[position]:
                yield position, cosine
