"""How well does a ranking or a selection agree with a set of marked rows?

    auc([0.1, 0.4, 0.8], marked=[False, True, True])            # 1.0
    overlap(chosen, marked).lift                                # 2.0: twice what chance gives

Most scores of instruction rows are length in disguise, so each figure has a second form in which a
row is held against rows of its own length only: those of its bin of `length_bins`.

Not here: means of paired differences (`treadle.gate`), and which rows were marked, and why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure between two bounds. Not a number where nothing could be computed."""

    value: float
    low: float
    high: float


def length_bins(lengths: Floats, marked: Flags, *, most: int = 20) -> Ints:
    """Return each row's bin of lengths, cut so that the marked rows fill bins evenly.

    Rows beyond the shortest or longest marked one have no marked row to be held against and get a
    bin of their own (0 and the last).
    """
    if not marked.any():
        return np.zeros(len(lengths), np.int64)
    edges = np.unique(np.quantile(lengths[marked], np.linspace(0, 1, most + 1)))
    inside = np.clip(np.searchsorted(edges, lengths, side="right"), 1, max(1, len(edges) - 1))
    outer = np.where(lengths < edges[0], 0, np.where(lengths > edges[-1], len(edges) + 1, inside))
    return outer.astype(np.int64)


class Ranking:
    """Scores and marks of rows, prepared so that many weightings cost little each."""

    def __init__(self, scores: Floats, marked: Flags, bins: Ints | None = None) -> None:
        if not np.isfinite(scores).all():
            raise ValueError(
                "a ranking takes scored rows only: leave the others out and count them"
            )
        levels, level = np.unique(scores, return_inverse=True)
        names, group = np.unique(
            np.zeros(len(scores), np.int64) if bins is None else bins, return_inverse=True
        )
        self.marked = marked
        self._shape = (len(names), len(levels))
        self._cell = group * len(levels) + level
        self._group = group

    def auc(self, weights: Floats | None = None, marked: Flags | None = None) -> float:
        """Return the chance that a marked row scores above an unmarked one of its bin (ties: half).

        Each marked row counts once (or by its weight); those in a bin without an unmarked row are
        left out.
        """
        marks = self.marked if marked is None else marked
        weight = np.ones(len(marks)) if weights is None else weights
        yes = self._table(weight * marks)
        no = self._table(weight * ~marks)
        below = np.cumsum(no, axis=1) - no / 2
        totals = no.sum(axis=1)
        comparable = totals > 0
        wins = (yes * below).sum(axis=1)[comparable] / totals[comparable]
        counted = yes.sum(axis=1)[comparable].sum()
        return float(wins.sum() / counted) if counted > 0 else math.nan

    def _table(self, weights: Floats) -> Floats:
        cells = self._shape[0] * self._shape[1]
        found = np.bincount(self._cell, weights, minlength=cells).astype(np.float64)
        return found.reshape(self._shape)

    def shuffled(self, rng: np.random.Generator) -> Flags:
        """Return the marks dealt out anew among the rows of each bin."""
        order = np.lexsort((rng.random(len(self.marked)), self._group))
        marks = np.empty_like(self.marked)
        marks[np.argsort(self._group, kind="stable")] = self.marked[order]
        return marks


def auc(
    scores: Floats, marked: Flags, *, bins: Ints | None = None, weights: Floats | None = None
) -> float:
    """Return the area under the ROC curve; with `bins`, within them. See `Ranking.auc`."""
    return Ranking(scores, marked, bins).auc(weights)


def auc_interval(
    scores: Floats,
    marked: Flags,
    rng: np.random.Generator,
    *,
    bins: Ints | None = None,
    weights: Floats | None = None,
    strata: Ints | None = None,
    resamples: int = 500,
) -> Interval:
    """Return the AUC with its 95% bootstrap interval (percentiles).

    Args:
        weights: how many rows each one stands for, where marked or unmarked rows were sampled at
            different rates.
        strata: rows are drawn anew within each; by default marked and unmarked rows apart.
    """
    ranking = Ranking(scores, marked, bins)
    base = np.ones(len(scores)) if weights is None else weights
    groups = marked.astype(np.int64) if strata is None else strata
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    drawn = []
    for _ in range(resamples):
        counts = np.zeros(len(scores))
        for rows in members:
            counts[rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)))
        drawn.append(ranking.auc(base * counts))
    return _interval(ranking.auc(weights), np.array(drawn))


def auc_by_chance(
    scores: Floats,
    marked: Flags,
    rng: np.random.Generator,
    *,
    bins: Ints | None = None,
    permutations: int = 500,
) -> tuple[Interval, float]:
    """Return the AUCs that marks dealt out by chance give (mean, 95%), and a two-sided p.

    With bins, marks are dealt out within them: chance then knows the lengths of the marked rows.
    """
    ranking = Ranking(scores, marked, bins)
    found = np.array([ranking.auc(marked=ranking.shuffled(rng)) for _ in range(permutations)])
    mean = float(np.mean(found))
    extreme = np.abs(found - mean) >= abs(ranking.auc() - mean)
    return _interval(mean, found), float((1 + extreme.sum()) / (1 + permutations))


def _interval(value: float, drawn: Floats) -> Interval:
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(value, float(low), float(high))


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two sets of rows out of one pool.

    `expected` is the mean common number if one set were drawn by chance, `p` the chance of as many
    or more (hypergeometric). `matched` is the expected number, with 95% of chance around it, if
    the chosen rows were drawn by chance with the lengths they have, and `matched_p` its p.
    """

    chosen: int
    marked: int
    common: int
    expected: float
    jaccard: float
    expected_jaccard: float
    p: float
    matched: Interval
    matched_p: float

    @property
    def lift(self) -> float:
        return self.common / self.expected if self.expected else math.nan

    @property
    def matched_lift(self) -> float:
        return self.common / self.matched.value if self.matched.value else math.nan


def overlap(
    chosen: Flags, marked: Flags, bins: Ints, rng: np.random.Generator, *, draws: int = 2000
) -> Overlap:
    """Count what two sets have in common, against chance and against chance at equal lengths."""
    total, a, b = len(chosen), int(chosen.sum()), int(marked.sum())
    common = int((chosen & marked).sum())
    expected = a * b / total if total else 0.0
    p = float(stats.hypergeom.sf(common - 1, total, b, a)) if total else math.nan
    by_chance = np.zeros(draws, np.int64)
    mean = 0.0
    for one in np.unique(bins):
        here = bins == one
        size, mine, theirs = int(here.sum()), int(chosen[here].sum()), int(marked[here].sum())
        by_chance += rng.hypergeometric(theirs, size - theirs, mine, draws)
        mean += mine * theirs / size
    low, high = np.quantile(by_chance, [0.025, 0.975])
    return Overlap(
        chosen=a,
        marked=b,
        common=common,
        expected=expected,
        jaccard=jaccard(a, b, common),
        expected_jaccard=jaccard(a, b, expected),
        p=p,
        matched=Interval(mean, float(low), float(high)),
        matched_p=float((1 + (by_chance >= common).sum()) / (1 + draws)),
    )


def jaccard(one: int, other: int, common: float) -> float:
    """Return the share of the rows in either set that are in both."""
    return common / (one + other - common) if one + other else math.nan


def share(found: float, total: int) -> Interval:
    """Return a share with its 95% Wilson interval.

    A bootstrap of 0 of 60 would say 0 to 0. `found` may be a mean over draws.
    """
    if not total:
        return Interval(math.nan, math.nan, math.nan)
    z = float(stats.norm.ppf(0.975))
    p, scale = found / total, 1 + z * z / total
    middle = (p + z * z / (2 * total)) / scale
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / scale
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half))
