"""Entropic optimal transport between the rows of a pool and target rows, by Sinkhorn's algorithm.

Both sides have equal masses, and moving mass costs 1 - cosine. The transport with the least

    cost + epsilon * KL(plan | masses of both sides)

is given by a potential f for each row and g for each target row; f is the gradient of that minimum
with respect to the row's mass, up to one constant for all rows. All in logarithms, so that a small
epsilon does not overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from treadle.errors import DataError
from treadle.geometry.cosine import RADIUS, Floats, Grid
from treadle.geometry.nearest import cosine_blocks

KEPT_CELLS = 2**26
TOLERANCE = 1e-6
LOOSE_TOLERANCE = 1e-3
MOST_PASSES = 2000


def mass_gradients(
    grid_ND: Grid,
    to_QD: Grid,
    *,
    regularization: float,
    tick: Callable[[], None] = lambda: None,
) -> Floats:
    """Return, for each row, how the cost changes if mass moves to it from all other rows alike.

    Args:
        regularization: epsilon, as a share of the mean cost between a row and a target row.
        tick: is called once a pass over all pairs.

    Raises:
        DataError: after MOST_PASSES passes, the mass that reaches the target rows is still off by
            more than LOOSE_TOLERANCE of it.
    """
    total = len(grid_ND)
    if total < 2:
        return np.zeros(total)
    middles = (grid.mean(axis=0, dtype=np.float64) / RADIUS for grid in (grid_ND, to_QD))
    epsilon = regularization * max(1 - float(np.dot(*middles)), TOLERANCE)
    kept = list(cosine_blocks(grid_ND, to_QD)) if total * len(to_QD) <= KEPT_CELLS else None
    g_Q, error = np.zeros(len(to_QD)), np.inf
    for _ in range(MOST_PASSES):
        tick()
        f_N, next_Q = _sweep(kept or cosine_blocks(grid_ND, to_QD), total, g_Q, epsilon)
        error = np.abs(np.expm1((g_Q - next_Q) / epsilon)).mean()
        if error <= TOLERANCE:
            break
        g_Q = next_Q
    if error > LOOSE_TOLERANCE:
        raise DataError(
            f"select: optimal transport found no solution in {MOST_PASSES} passes at a "
            f"regularization of {regularization:g}. Write a larger one."
        )
    mean_of_others: Floats = (f_N.sum() - f_N) / (total - 1)
    return f_N - mean_of_others


def _sweep(
    blocks: Iterable[tuple[slice, Floats]], total: int, g_Q: Floats, epsilon: float
) -> tuple[Floats, Floats]:
    """Return the potentials of the rows that fit g, and those of the targets that fit these."""
    f_N = np.empty(total)
    largest, sums = np.full(len(g_Q), -np.inf), np.zeros(len(g_Q))
    for part, block in blocks:
        logits_BQ = (block - 1 + g_Q) / epsilon
        peaks = logits_BQ.max(axis=1)
        f_N[part] = -epsilon * (peaks + np.log(np.exp(logits_BQ - peaks[:, None]).mean(axis=1)))
        logits_BQ = (block - 1 + f_N[part, None]) / epsilon
        higher = np.maximum(largest, logits_BQ.max(axis=0))
        sums = sums * np.exp(largest - higher) + np.exp(logits_BQ - higher).sum(axis=0)
        largest = higher
    return f_N, -epsilon * (largest + np.log(sums / total))
