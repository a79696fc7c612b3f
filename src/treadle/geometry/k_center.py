"""Greedy k-center: cover a cloud of points with few of them, with one answer on every machine.

Each step takes the row farthest from those already taken. The farthest of many near-equal rows is
decided by the last bits of a distance, and floating-point sums differ in those bits with the BLAS
library, its threads and a row's place in the matrix: the same data would then give other rows
elsewhere. So coordinates are first rounded to whole numbers, small enough that every sum inside a
distance is a whole number below 2**53. Such sums are exact in any order, equal rows get equal
distances, and a tie is a tie, broken by position.

    greedy_k_center(points_ND, count=1000).order     positions, in the order taken

Memory is a few times the points themselves and never grows with the square of their number.
Not here: approximate search for pools that do not fit into memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 4096
HOT_ROWS = 512
MOST_PENDING = 256
TAKEN = -1.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Centres:
    """Positions in the order taken, and each one's distance to the nearest row taken before it.

    The first has its distance to the mean of all points.
    """

    order: list[int]
    distances: list[float]


def greedy_k_center(
    points_ND: NDArray[np.float32],
    *,
    count: int,
    tokens_N: NDArray[np.int64] | None = None,
    token_limit: int | None = None,
    hot_rows: int = HOT_ROWS,
) -> Centres:
    """Take up to `count` rows, each the farthest (Euclidean) from those taken before.

    The largest distance from any point to its nearest centre is at most twice the optimum
    (Gonzalez 1985), up to the rounding: 2**-21 of the largest coordinate at 384 dimensions. The
    first row is the one nearest the mean. Ties go to the lower position; so does everything once
    all rows left are copies of taken ones. Under a token limit, each is the farthest of the rows
    that still fit, until none does. A ranking stops at the first row that does not fit
    (`Budget.take`); here that may be a long outlier, which is far from everything and comes early.
    `hot_rows` trades speed only: how many rows are kept exact at every step.
    """
    total = len(points_ND)
    left = math.inf if token_limit is None else token_limit
    tokens = np.zeros(total, dtype=np.int64) if tokens_N is None else tokens_N
    smallest = int(tokens.min()) if total else 0
    order: list[int] = []
    distances: list[float] = []
    if not total:
        return Centres(order, distances)
    search = _Farthest.over(points_ND, tokens <= left, hot_rows)
    while len(order) < min(count, total) and left >= smallest:
        position, distance = search.farthest()
        if position < 0:
            break
        if tokens[position] > left:
            search.discard(tokens > left)
            continue
        order.append(position)
        distances.append(distance)
        left -= int(tokens[position])
        search.take()
    return Centres(order, distances)


@dataclass(slots=True)
class _Farthest:
    """Knows the row farthest from the taken ones while looking at few rows a step.

    A distance to the nearest taken row can only shrink, so a distance computed some steps ago is an
    upper bound. The rows with the largest bounds (`hot`) are kept exact at every step; as long as
    the best of them beats the best bound outside, it is the farthest of all. When it no longer
    does, the rows taken meanwhile (`pending`) are compared with every row by one matrix product,
    which reads the points once instead of once a step.
    """

    grid: NDArray[np.float32]
    norms: Floats
    unit: float
    bounds: Floats
    hot_rows: int
    start: int
    start_distance: float
    pending: list[int] = field(default_factory=list)
    hot: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    hot_grid: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    hot_bounds: Floats = field(default_factory=lambda: np.zeros(0))
    outside: tuple[float, int] = (math.inf, -1)
    best: int = -1

    @classmethod
    def over(
        cls, points_ND: NDArray[np.float32], start_among: NDArray[np.bool_], hot_rows: int
    ) -> _Farthest:
        """Prepare a search that starts at the row nearest the mean among those allowed."""
        grid, unit = _whole_numbers(points_ND)
        total = len(grid)
        norms, sums = np.empty(total), np.zeros(grid.shape[1])
        for begin in range(0, total, BLOCK_ROWS):
            block = grid[begin : begin + BLOCK_ROWS].astype(np.float64)
            norms[begin : begin + BLOCK_ROWS] = np.einsum("nd,nd->n", block, block)
            sums += block.sum(axis=0)
        mean = np.rint(sums / total)
        away = norms + mean @ mean
        for begin in range(0, total, BLOCK_ROWS):
            block = grid[begin : begin + BLOCK_ROWS].astype(np.float64)
            away[begin : begin + BLOCK_ROWS] -= block @ (2 * mean)
        away[~start_among] = math.inf
        start = int(away.argmin())
        distance = math.sqrt(away[start]) * unit
        bounds = np.full(total, math.inf)
        return cls(grid, norms, unit, bounds, min(hot_rows, total), start, distance)

    def farthest(self) -> tuple[int, float]:
        """Return the farthest row left and its distance; position -1 when none is left."""
        if not self.pending and not len(self.hot):
            return self.start, self.start_distance
        if not self._is_certain():
            self._catch_up()
            self._choose_hot()
        value = float(self.hot_bounds[self.best]) if len(self.hot) else TAKEN
        if value < 0:
            return -1, 0.0
        return int(self.hot[self.best]), math.sqrt(value) * self.unit

    def take(self) -> None:
        """Take the row that `farthest` returned."""
        if not len(self.hot):
            self.pending.append(self.start)
            self.bounds[self.start] = TAKEN
            return
        position, value = int(self.hot[self.best]), self.hot_bounds[self.best]
        self.pending.append(position)
        if value > 0:
            centre = self.hot_grid[self.best]
            away = self.norms[self.hot] + self.norms[position] - self.hot_grid @ (2 * centre)
            np.minimum(self.hot_bounds, away, out=self.hot_bounds)
        self.bounds[position] = TAKEN
        self.hot_bounds[self.best] = TAKEN
        self.best = int(self.hot_bounds.argmax())

    def discard(self, is_out: NDArray[np.bool_]) -> None:
        """Never offer these rows (after the first row, which is chosen among those that fit)."""
        self.bounds[is_out] = TAKEN
        self.hot_bounds[is_out[self.hot]] = TAKEN
        self.best = int(self.hot_bounds.argmax())

    def _is_certain(self) -> bool:
        """Whether the best hot row beats, or precedes at equal distance, every row outside."""
        if not len(self.hot) or len(self.pending) >= MOST_PENDING:
            return False
        value, position = float(self.hot_bounds[self.best]), int(self.hot[self.best])
        bound, first = self.outside
        return value > bound or (value == bound and position < first)

    def _catch_up(self) -> None:
        """Compare every row with the rows taken since the last time."""
        if not self.pending:
            return
        centres = self.grid[self.pending].astype(np.float64)
        norms = self.norms[self.pending]
        for begin in range(0, len(self.grid), BLOCK_ROWS):
            rows = slice(begin, begin + BLOCK_ROWS)
            away = self.grid[rows].astype(np.float64) @ centres.T
            away *= -2
            away += norms
            nearest = away.min(axis=1) + self.norms[rows]
            np.minimum(self.bounds[rows], nearest, out=self.bounds[rows])
        self.pending.clear()

    def _choose_hot(self) -> None:
        """Make the rows with the largest bounds hot; at equal bounds, those of lowest position."""
        edge = np.partition(self.bounds, -self.hot_rows)[-self.hot_rows]
        above = np.flatnonzero(self.bounds > edge)
        level = np.flatnonzero(self.bounds == edge)
        inside = self.hot_rows - len(above)
        self.hot = np.sort(np.concatenate([above, level[:inside]]))
        if inside < len(level):
            self.outside = (float(edge), int(level[inside]))
        else:
            rest = self.bounds[self.bounds < edge]
            self.outside = (float(rest.max()) if len(rest) else -math.inf, -1)
        self.hot_grid = self.grid[self.hot].astype(np.float64)
        self.hot_bounds = self.bounds[self.hot]
        self.best = int(self.hot_bounds.argmax())


def representatives(points_ND: NDArray[np.float32], *, count: int) -> list[int]:
    """Return up to `count` rows, each of which stands for a region of the cloud.

    Greedy centres are outliers by design, so they only part the cloud: every row belongs to its
    nearest centre, and the row nearest the mean of its part stands for it. Ties go to the lower
    position, in whole numbers as above: one answer on every machine.
    """
    centres = greedy_k_center(points_ND, count=count).order
    if not centres:
        return []
    grid, _ = _whole_numbers(points_ND)
    parts = _nearest(grid, grid[centres].astype(np.float64))
    away = np.empty(len(grid))
    for part in np.unique(parts):
        inside = np.flatnonzero(parts == part)
        own = grid[inside].astype(np.float64)
        apart = own - np.rint(own.mean(axis=0))
        away[inside] = np.einsum("nd,nd->n", apart, apart)
    order = np.lexsort((away, parts))
    first = np.unique(parts[order], return_index=True)[1]
    return sorted(order[first].tolist())


def _nearest(grid: NDArray[np.float32], centres: Floats) -> NDArray[np.int64]:
    """Return which centre is nearest to each row."""
    norms = np.einsum("cd,cd->c", centres, centres)
    found = np.empty(len(grid), dtype=np.int64)
    for begin in range(0, len(grid), BLOCK_ROWS):
        rows = slice(begin, begin + BLOCK_ROWS)
        found[rows] = (norms - grid[rows].astype(np.float64) @ (2 * centres.T)).argmin(axis=1)
    return found


def _whole_numbers(points_ND: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Round coordinates to multiples of a power of two; return them in that unit, and the unit.

    A squared distance sums d squares of at most 2**(2 * bits + 2): with these bits, at most 2**53.
    """
    width = points_ND.shape[1]
    bits = min(23, (51 - math.ceil(math.log2(max(1, width)))) // 2)
    largest = max(float(points_ND.max(initial=0.0)), -float(points_ND.min(initial=0.0)))
    exponent = math.frexp(largest)[1]
    grid = np.empty(points_ND.shape, dtype=np.float32)
    for begin in range(0, len(points_ND), BLOCK_ROWS):
        rows = slice(begin, begin + BLOCK_ROWS)
        grid[rows] = np.rint(np.ldexp(points_ND[rows].astype(np.float64), bits - exponent))
    return grid, math.ldexp(1.0, exponent - bits)
