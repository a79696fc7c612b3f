"""Spherical k-means: group vectors by direction, with one answer on every machine.

Directions are whole numbers (`cosine.directions`), so a sum of members is exact in any order, and
with it every centroid and every assignment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.cosine import BLOCK_ROWS, Grid, cosines, directions

ROWS_A_CENTROID = 256


@dataclass(frozen=True, slots=True)
class Clusters:
    """The cluster of each row, and its cosine to the centroid of that cluster."""

    labels: NDArray[np.int64]
    nearness: NDArray[np.float64]


def spherical_k_means(
    grid_ND: Grid,
    count: int,
    rng: np.random.Generator,
    *,
    rounds: int = 20,
    rows_a_centroid: int = ROWS_A_CENTROID,
) -> Clusters:
    """Cluster rows around `count` directions, starting from rows drawn by chance.

    The centroids are learnt from at most `rows_a_centroid` rows each. A cluster that loses all its rows keeps its
    centroid. Costs O(rows * count * width), times `rounds` for the rows learnt from; ends early
    when no row moves.
    """
    total = len(grid_ND)
    if not total:
        return Clusters(np.zeros(0, dtype=np.int64), np.zeros(0))
    drawn = rng.permutation(total)[: rows_a_centroid * count]
    learnt_from = grid_ND[np.sort(drawn)]
    centroids = grid_ND[np.sort(drawn[:count])]
    labels = np.full(len(learnt_from), -1)
    for _ in range(rounds):
        found = _nearest(learnt_from, centroids)
        if (found.labels == labels).all():
            break
        labels = found.labels
        centroids = _means(learnt_from, labels, centroids)
    return _nearest(grid_ND, centroids)


def _means(grid_ND: Grid, labels: NDArray[np.int64], before: Grid) -> Grid:
    """Return the mean direction of each cluster; where there is none, the one before."""
    sums = np.zeros(before.shape)
    members = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=len(before)))
    for cluster, inside in enumerate(np.split(members, ends[:-1])):
        sums[cluster] = grid_ND[inside].sum(axis=0, dtype=np.float64)
    return np.where(sums.any(axis=1, keepdims=True), directions(sums), before)


def _nearest(grid_ND: Grid, centroids: Grid) -> Clusters:
    """Assign each row to the centroid of the largest cosine, the first of equal ones."""
    labels = np.empty(len(grid_ND), dtype=np.int64)
    nearness = np.empty(len(grid_ND))
    for begin in range(0, len(grid_ND), BLOCK_ROWS):
        rows = slice(begin, begin + BLOCK_ROWS)
        near = cosines(grid_ND[rows], centroids)
        labels[rows] = near.argmax(axis=1)
        nearness[rows] = near.max(axis=1)
    return Clusters(labels, nearness)
