"""How far raters agree beyond chance: Cohen, Fleiss, Krippendorff; rank correlations.

Raw agreement flatters a rater who names the commoner answer: on PandaLM's test set GPT-3.5 agrees
with the majority of people on 70% of pairs, and its kappa is 0.48.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Scale = Literal["nominal", "ordinal", "interval"]
Matrix = NDArray[np.float64]


def cohen_kappa(ones: Sequence[object], others: Sequence[object]) -> float:
    """Return Cohen's kappa of two raters: (observed - expected) / (1 - expected agreement).

    NaN where both always give one and the same answer: nothing can be expected or exceeded there.

    Raises:
        ValueError: they did not rate the same items.
    """
    if len(ones) != len(others):
        raise ValueError(
            f"{len(ones)} and {len(others)} ratings: kappa wants the same items of both."
        )
    if not ones:
        return math.nan
    answers = sorted({*map(str, ones), *map(str, others)})
    code = {answer: i for i, answer in enumerate(answers)}
    table = np.zeros((len(answers), len(answers)))
    for one, other in zip(ones, others, strict=True):
        table[code[str(one)], code[str(other)]] += 1
    table /= len(ones)
    expected = float((table.sum(axis=1) * table.sum(axis=0)).sum())
    return math.nan if expected == 1 else (float(np.trace(table)) - expected) / (1 - expected)


def fleiss_kappa(counts_NK: Matrix) -> float:
    """Return Fleiss' kappa from how many raters gave item n the answer k.

    Raises:
        ValueError: items have different numbers of raters, or fewer than two.
    """
    raters = counts_NK.sum(axis=1)
    if len(raters) == 0 or raters[0] < 2 or not (raters == raters[0]).all():
        raise ValueError(
            "Fleiss' kappa wants the same number of raters, two or more, for every item."
        )
    n = float(raters[0])
    agreement = ((counts_NK**2).sum(axis=1) - n) / (n * (n - 1))
    shares = counts_NK.sum(axis=0) / counts_NK.sum()
    expected = float((shares**2).sum())
    return math.nan if expected == 1 else float((agreement.mean() - expected) / (1 - expected))


def krippendorff_alpha(ratings_RN: Matrix, scale: Scale = "nominal") -> float:
    """Return Krippendorff's alpha of raters (rows) on items (columns); NaN marks a missing rating.

    1 - observed / expected disagreement, over all pairs of ratings of one item. Items with fewer
    than two ratings say nothing. NaN where all ratings are equal.
    """
    present = ~np.isnan(ratings_RN)
    paired = present.sum(axis=0) >= 2
    ratings, present = ratings_RN[:, paired], present[:, paired]
    if ratings.size == 0:
        return math.nan
    answers = np.unique(ratings[present])
    counts_KN = np.array(
        [((ratings == answer) & present).sum(axis=0) for answer in answers], dtype=float
    )
    per_item = counts_KN.sum(axis=0)
    pairs = (counts_KN / (per_item - 1)) @ counts_KN.T
    pairs -= np.diag((counts_KN / (per_item - 1)).sum(axis=1))
    totals = pairs.sum(axis=1)
    distance = _DISTANCES[scale](answers, totals)
    expected = float((np.outer(totals, totals) * distance).sum()) / (totals.sum() - 1)
    return math.nan if expected == 0 else 1 - float((pairs * distance).sum()) / expected


def spearman(ones: Matrix, others: Matrix) -> float:
    """Return the correlation of ranks; NaN where one side is constant."""
    return _correlation(stats.spearmanr, ones, others)


def kendall(ones: Matrix, others: Matrix) -> float:
    """Return Kendall's tau-b, which knows of ties; NaN where one side is constant."""
    return _correlation(stats.kendalltau, ones, others)


def _correlation(of: Callable[..., object], ones: Matrix, others: Matrix) -> float:
    if len(ones) < 2 or len(set(ones.tolist())) == 1 or len(set(others.tolist())) == 1:
        return math.nan
    return float(of(ones, others)[0])  # type: ignore[index]


def _nominal(answers: Matrix, totals: Matrix) -> Matrix:
    return 1.0 - np.eye(len(answers))


def _interval(answers: Matrix, totals: Matrix) -> Matrix:
    gaps: Matrix = (answers[:, None] - answers[None, :]) ** 2
    return gaps


def _ordinal(answers: Matrix, totals: Matrix) -> Matrix:
    """Squared number of ratings between two ranks, their own counted half."""
    ends = np.cumsum(totals)
    between = np.abs((ends - totals / 2)[:, None] - (ends - totals / 2)[None, :])
    squares: Matrix = between**2
    return squares


_DISTANCES: dict[Scale, Callable[[Matrix, Matrix], Matrix]] = {
    "nominal": _nominal,
    "ordinal": _ordinal,
    "interval": _interval,
}
