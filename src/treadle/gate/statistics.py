"""How sure is a paired difference? Standard errors, intervals and exact tests, in NumPy.

Three kinds of luck blur a difference between two arms: which items happen to be in the evaluation
set, which training seeds happen to be drawn, and how a given student answers a given item. An
interval over items alone says nothing of training luck, which is often the larger: a rerun of the
same recipe moves the mean. So each enters once:

    items    bootstrap of whole clusters of items, studentised, on seed-averaged differences
    seeds    Student's t on the means of the seeds, with one degree of freedom less than seeds;
             the luck of single answers is part of how these means differ, and is taken out of
             the items' part (but with two clusters, where it counts in both)

and the two are added by drawing from both at once. Every sum runs in a fixed order without BLAS, so
the same results give the same bytes. Not here: how much data would settle it (`power`), the rule
that decides (`paired`), the words (`sentence`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

FEWEST_CLUSTERS = 10
BLOCK = 1 << 15

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, sorted `draws` of where the truth may lie, and the standard errors behind them.

    `error_seeds` holds the luck of training and of single answers; `error_answers` is the latter.
    """

    mean: float
    draws: Floats
    error_items: float
    error_seeds: float
    error_answers: float
    clusters: int

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the two-sided interval at 1 - 2 * alpha, cut where the p-values cut."""
        cut = max(0, math.floor(alpha * (len(self.draws) + 1) + 1e-9) - 1)
        return float(self.draws[cut]), float(self.draws[-1 - cut])

    @property
    def p_better(self) -> float:
        """One-sided p-value of `the mean is not above 0`."""
        return (1 + int((self.draws <= 0).sum())) / (len(self.draws) + 1)

    @property
    def p_worse(self) -> float:
        """One-sided p-value of `the mean is not below 0`."""
        return (1 + int((self.draws >= 0).sum())) / (len(self.draws) + 1)


def estimate(
    values_SN: Floats,
    clusters_N: NDArray[np.int64],
    *,
    resamples: int,
    rng: np.random.Generator,
    is_other_single: bool = False,
) -> Estimate:
    """Estimate the mean of `values_SN` (seed by item) over items and seeds to come.

    With one seed no luck of training can be seen, and the draws cover items only. At 60 items the
    one-sided error stays at its level for skewness up to about 2; strongly skewed differences (a
    few huge losses among many small gains) need more items.

    Args:
        clusters_N: number of the cluster of each item.
        is_other_single: whether the values are differences to one single trained student. Its own
            luck of training is then taken to be as large as that of each seed, and added.
    """
    seeds = len(values_SN)
    mean = float(values_SN.mean())
    by_item = values_SN.mean(axis=0)
    error_items, pivots = item_pivots(by_item, clusters_N, resamples, rng)
    clusters = len(np.unique(clusters_N))
    if seeds == 1:
        return Estimate(mean, np.sort(mean - pivots * error_items), error_items, 0.0, 0.0, clusters)
    by_seed = values_SN.mean(axis=1)
    error_seeds = float(by_seed.std(ddof=1)) * math.sqrt(1 / seeds + is_other_single)
    answers_SN = values_SN - by_item - (by_seed - mean)[:, None]
    squares = sum(error_of_items(answers_N, clusters_N) ** 2 for answers_N in answers_SN)
    error_answers = math.sqrt(squares / (seeds * (seeds - 1)))
    # Two clusters show their spread with one degree of freedom: too shaky to subtract from.
    if clusters != 2:
        error_items = math.sqrt(max(0.0, error_items**2 - error_answers**2))
    draws = mean - pivots * error_items + error_seeds * rng.standard_t(seeds - 1, size=resamples)
    return Estimate(mean, np.sort(draws), error_items, error_seeds, error_answers, clusters)


def item_pivots(
    values_N: Floats, clusters_N: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> tuple[float, Floats]:
    """Return the mean's standard error over items, and pivots (mean* - mean) / error*.

    Studentised draws follow skewed items, for which plain percentiles accept too often. Below
    `FEWEST_CLUSTERS` clusters resampling is unreliable: t with clusters - 1 degrees of freedom
    takes its place.
    """
    sums, sizes = cluster_sums(values_N, clusters_N)
    count = len(sums)
    means, errors = _errors(sums[None], sizes[None])
    mean, error = float(means[0]), float(errors[0])
    if count < FEWEST_CLUSTERS:
        return error, rng.standard_t(count - 1, size=resamples)
    is_clustered = bool((sizes > 1).any())
    pivots = np.empty(resamples)
    step = max(1, BLOCK // count)
    for begin in range(0, resamples, step):
        drawn = rng.integers(count, size=(min(step, resamples - begin), count))
        means, errors = _errors(sums[drawn], sizes[drawn] if is_clustered else sizes[None])
        with np.errstate(divide="ignore", invalid="ignore"):
            pivots[begin : begin + len(drawn)] = (means - mean) / errors
    return error, _finite(pivots)


def error_of_items(values_N: Floats, clusters_N: NDArray[np.int64]) -> float:
    """Return the standard error of the mean over clusters of items."""
    sums, sizes = cluster_sums(values_N, clusters_N)
    return float(_errors(sums[None], sizes[None])[1][0])


def cluster_sums(values_N: Floats, clusters_N: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the sum and the number of items of each cluster.

    With one single cluster there is nothing to compare it with: its items stand for themselves,
    which says how they differ and nothing of other clusters (see `rule`).
    """
    numbers, codes = np.unique(clusters_N, return_inverse=True)
    if len(numbers) == 1:
        return values_N, np.ones(len(values_N))
    sums = np.bincount(codes, weights=values_N).astype(np.float64)
    return sums, np.bincount(codes).astype(np.float64)


def _errors(sums_RG: Floats, sizes_RG: Floats) -> tuple[Floats, Floats]:
    """Return the mean of all items of each resample, and its linearised standard error.

    The mean is a ratio of sums over clusters: resamples differ in their number of items. Sizes that
    all resamples share are given once.
    """
    count = sums_RG.shape[1]
    items = sizes_RG.sum(axis=1)
    means = sums_RG.sum(axis=1) / items
    squares = ((sums_RG - means[:, None] * sizes_RG) ** 2).sum(axis=1)
    return means, np.sqrt(squares * count / (count - 1)) / items


def _finite(pivots: Floats) -> Floats:
    """Replace pivots of resamples without any spread: nothing / nothing is 0, else the largest seen.

    They arise when almost all items are equal, as with 0/1 scores that hardly ever differ.
    """
    pivots = np.nan_to_num(pivots, nan=0.0, posinf=math.inf, neginf=-math.inf)
    finite = np.abs(pivots[np.isfinite(pivots)])
    most = float(finite.max()) if len(finite) else 0.0
    return np.clip(pivots, -most, most)


def sign_test_exact(wins: int, losses: int) -> float:
    """Return the exact one-sided p-value of `a win is no likelier than a loss`; ties count for nothing.

    On 0/1 scores of one seed this is McNemar's exact test.
    """
    if wins + losses == 0:
        return 1.0
    # P(X >= wins) for X ~ Binomial(wins + losses, 1/2), as a regularised incomplete beta function
    return float(special.betainc(wins, losses + 1, 0.5)) if wins else 1.0


def wins_and_losses(values_N: Floats) -> tuple[int, int]:
    """Count items on which the difference is above and below zero."""
    slack = 1e-12  # means of thirds that should cancel do so up to rounding
    return int((values_N > slack).sum()), int((values_N < -slack).sum())
