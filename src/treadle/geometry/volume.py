"""Greedy choice by volume: rows whose kernel matrix has the largest determinant.

The most likely set of a determinantal point process cannot be found fast; the greedy choice can
(Chen, Zhang, Zhou 2018): each step takes the row that multiplies the determinant by most, and that
factor is the part of the row which the rows taken so far do not explain.

    greedy_dpp(grid_ND, log_quality_N, ridge=0.01, count=100).order     positions, in the order taken

The kernel of rows i and j is `quality_i * quality_j * (cosine_ij + ridge * (i == j))`. It is never
built. A step is a row of its Cholesky factor, which for a cosine is one product of all vectors with
one direction: what the new row adds to the span of those taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cosine import Grid

NOTHING_NEW = 1e-9
TIE = 1e-6

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Volume:
    """Positions in the order taken, and the part of each that the rows before do not explain.

    That part is 1 + ridge for a row at a right angle to all taken, and about 2 * ridge for a copy.
    `explained` are the rows not taken that have no such part (only without a ridge).
    """

    order: list[int]
    new_parts: list[float]
    explained: list[int]


def greedy_dpp(
    grid_ND: Grid,
    log_quality_N: Floats,
    *,
    ridge: float,
    count: int,
    tokens_N: NDArray[np.int64] | None = None,
    token_limit: int | None = None,
) -> Volume:
    """Take up to `count` rows, each the one that multiplies the determinant by most.

    Factors that differ by less than a millionth are ties and go to the lower
    position: their last bits differ between machines. Under a token limit, each is the best
    of the rows that still fit, until none does. Without a ridge it ends when no row adds anything to
    the span, after `width` rows at the most. Costs O(rows * width) a step, and memory for the
    vectors in double precision and one vector a step.
    """
    total, width = grid_ND.shape
    tokens = np.zeros(total, dtype=np.int64) if tokens_N is None else tokens_N
    left = math.inf if token_limit is None else token_limit
    vectors_ND = grid_ND.astype(np.float64)
    vectors_ND /= np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND))[:, None]
    new_N = np.full(total, 1.0 + ridge)
    worth_N = 2 * log_quality_N
    may_N = tokens <= left
    taken_KD = np.zeros((min(count, total), width))
    order: list[int] = []
    parts: list[float] = []
    while len(order) < len(taken_KD):
        may_N &= new_N > NOTHING_NEW
        if not may_N.any():
            break
        factors = np.where(may_N, worth_N + np.log(np.maximum(new_N, NOTHING_NEW)), -math.inf)
        best = int((factors >= factors.max() - TIE).argmax())
        before = taken_KD[: len(order)]
        rest = vectors_ND[best] - (before @ vectors_ND[best]) @ before
        taken_KD[len(order)] = rest / math.sqrt(new_N[best])
        order.append(best)
        parts.append(float(new_N[best]))
        new_N -= (vectors_ND @ taken_KD[len(order) - 1]) ** 2
        left -= int(tokens[best])
        may_N[best] = False
        may_N &= tokens <= left
    new_N[order] = math.inf
    return Volume(order, parts, np.flatnonzero(new_N <= NOTHING_NEW).tolist())
