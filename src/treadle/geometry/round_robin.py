"""Round-robin over target rows: each in its turn takes the row most like it that is still free.

    for position, group, cosine in offers(grid_ND, to_QD, starts_G, expected=1000): ...

Each group of targets reads a list of its most similar rows, and all share a map of the rows taken.
Where all cosines fit into memory, lists are short, and a group whose list ends takes the next part
of its order. Beyond that, lists are as deep as memory allows; when one ends, all are made anew
among the rows still free. So a narrow set of targets, which all want the same rows, costs passes
over the pool, and never more memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cosine import Floats, Grid
from treadle.geometry.nearest import Positions, group_cosines, largest, most_similar

LIST_CELLS = 2**24
LEAST_DEPTH = 16


def offers(
    grid_ND: Grid,
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
    is_taken = np.zeros(len(grid_ND), np.bool_)
    lists: _Held | _Remade
    if groups * len(grid_ND) <= list_cells:
        lists = _Held(group_cosines(grid_ND, to_QD, starts_G), is_taken, expected)
    else:
        depth = max(1, min(expected, list_cells // groups))
        lists = _Remade(grid_ND, to_QD, starts_G, is_taken, depth)
    waiting: list[Iterator[tuple[int, float]]] = [iter(())] * groups
    for turn in range(len(grid_ND)):
        g = turn % groups
        found = next((pair for pair in waiting[g] if not is_taken[pair[0]]), None)
        if found is None:
            lists.refill(waiting, g)
            found = next(waiting[g])
        position, cosine = found
        is_taken[position] = True
        yield position, g, cosine


class _Held:
    """All cosines are in memory: a list that ends is followed by the next part of its group's order."""

    def __init__(self, cosines_GN: Floats, is_taken: NDArray[np.bool_], expected: int) -> None:
        self.cosines_GN, self.is_taken = cosines_GN, is_taken
        self.depths = [max(LEAST_DEPTH, 2 * expected // len(cosines_GN))] * len(cosines_GN)

    def refill(self, waiting: list[Iterator[tuple[int, float]]], g: int) -> None:
        free = np.flatnonzero(~self.is_taken)
        scores = self.cosines_GN[g, free]
        top = largest(scores, min(self.depths[g], len(free)))
        waiting[g] = zip(free[top].tolist(), scores[top].tolist(), strict=True)
        self.depths[g] *= 4


@dataclass(frozen=True, slots=True)
class _Remade:
    """Cosines are made anew among the rows still free, for all groups at once."""

    grid: Grid
    targets: Grid
    starts: Positions
    is_taken: NDArray[np.bool_]
    depth: int

    def refill(self, waiting: list[Iterator[tuple[int, float]]], _: int) -> None:
        free = np.flatnonzero(~self.is_taken)
        rows, values = most_similar(self.grid, self.targets, self.starts, free, self.depth)
        for g, (mine, near) in enumerate(zip(rows, values, strict=True)):
            waiting[g] = zip(mine.tolist(), near.tolist(), strict=True)
