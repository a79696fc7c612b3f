"""Round-robin over target rows: each in its turn takes the row most like it that is still free.

    for position, group, cosine in offers(grid_ND, to_QD, starts_G, expected=1000): ...

Each group of targets holds a list of its most similar rows, a pointer into it, and all share a map
of the rows taken. Lists are as deep as memory allows; when one runs out, all are made anew among
the rows still free. So a narrow set of targets, which all want the same rows, costs passes over the
pool, and never more memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cosine import Grid
from treadle.geometry.nearest import Positions, most_similar

LIST_CELLS = 2**24
WINDOW = 64


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
    is_taken = np.zeros(len(grid_ND), np.bool_)
    groups = len(starts_G)
    depth = max(1, min(expected, list_cells // groups))
    pointers = np.zeros(groups, np.int64)
    lists = np.zeros((groups, 0), np.int64)
    values = np.zeros((groups, 0))
    for turn in range(len(grid_ND)):
        g = turn % groups
        pointers[g] = _next_free(lists[g], int(pointers[g]), is_taken)
        if pointers[g] == lists.shape[1]:
            free = np.flatnonzero(~is_taken)
            lists, values = most_similar(grid_ND, to_QD, starts_G, free, depth)
            pointers[:] = 0
        at = pointers[g]
        position = int(lists[g, at])
        is_taken[position] = True
        yield position, g, float(values[g, at])


def _next_free(wanted: Positions, pointer: int, is_taken: NDArray[np.bool_]) -> int:
    """Return the first place at or after the pointer whose row is free, or the list's length."""
    while pointer < len(wanted):
        window = is_taken[wanted[pointer : pointer + WINDOW]]
        if not window.all():
            return pointer + int(window.argmin())
        pointer += len(window)
    return pointer
