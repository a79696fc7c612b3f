"""How often does a rater err, told from ratings alone? Rows that lie close together betray it.

    counts = consensus(ratings_N, neighbours_N2, levels)
    noise = solve(counts)
    noise.transition[y, r]      the chance that a row truly of level y is rated r
    noise.prior[y]               the share of rows truly of level y

If a row and its two nearest neighbours truly deserve one and the same rating, then how often one,
two and three of them are rated alike follows from the rater's errors, and for a rater who is right
more often than not these errors follow from how often (HOC, arXiv:2102.05291, "clusterability").
Where near rows do *not* deserve the same, their differences are taken for errors of the rater: the
two cannot be told apart by this.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = 2000
"""At the most: the search mostly ends after some hundred."""
LEADS = (2.0, 3.0, 5.0)
"""What the diagonal leads by before the softmax where a search starts: a rater right in most cases."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Shares of single ratings (K), of pairs (K x K) and of triples (K x K x K) of near rows."""

    one: Floats
    two: Floats
    three: Floats

    @property
    def agreement(self) -> float:
        """Cohen's kappa of a row's rating with that of a near row: 0 where near rows are as any rows."""
        expected = float((self.one**2).sum())
        return float(np.trace(self.two) - expected) / (1 - expected) if expected < 1 else math.nan


@dataclass(frozen=True, slots=True)
class Noise:
    """What a rater makes of each true level, how common these are, and what remains unexplained."""

    transition: Floats
    prior: Floats
    residual: float

    def kept_share(self, rated: Floats) -> Floats:
        """Return, for each rating, the chance that a row that got it deserves it."""
        hits = np.diag(self.transition) * self.prior
        found: Floats = np.divide(hits, rated, out=np.zeros(len(hits)), where=rated > 0)
        return np.minimum(found, 1.0)


def consensus(ratings_N: Ints, neighbours_N2: Ints, levels: int) -> Counts:
    """Count ratings of rows, of them with their nearest row, and with their two nearest.

    What is true of two near rows is true of them in any order, so the counts of pairs and triples
    are averaged over all orders.
    """
    first, second = ratings_N[neighbours_N2[:, 0]], ratings_N[neighbours_N2[:, 1]]
    places = (ratings_N * levels + first) * levels + second
    three = np.bincount(places, minlength=levels**3).astype(np.float64)
    three = three.reshape(levels, levels, levels) / max(1, len(ratings_N))
    two = three.sum(axis=2)
    orders = list(itertools.permutations(range(3)))
    triples = sum((three.transpose(order) for order in orders), np.zeros_like(three))
    return Counts(two.sum(axis=1), (two + two.T) / 2, triples / len(orders))


def solve(counts: Counts, *, steps: int = STEPS) -> Noise:
    """Return the transition matrix and the prior that explain the counts best.

    Least squares over all counts, T and p as softmax of free numbers, by L-BFGS from several raters
    who are mostly right; the best end counts, since some starts end in a poorer one. The counts say
    nothing of what the true levels are called: each is given the name that makes the rater right
    most often.
    """
    levels = len(counts.one)
    priors = (np.log(counts.one + 1e-9), np.zeros(levels))
    ends = [
        optimize.minimize(
            _loss, np.concatenate([(lead * np.eye(levels)).ravel(), prior]), args=(counts,),
            jac=True, method="L-BFGS-B",
            options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-10, "gtol": 1e-9},
        )
        for lead in LEADS for prior in priors
    ]  # fmt: skip
    best = min(ends, key=lambda end: float(end.fun))
    transition, prior = _read(best.x, levels)
    named, ratings = optimize.linear_sum_assignment(-(prior[:, None] * transition))
    order = named[np.argsort(ratings)]
    return Noise(transition[order], prior[order], float(np.sqrt(best.fun)))


def _read(free: Floats, levels: int) -> tuple[Floats, Floats]:
    return _softmax(free[: levels**2].reshape(levels, levels)), _softmax(free[levels**2 :])


def _softmax(free: Floats) -> Floats:
    powers = np.exp(free - free.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _loss(free: Floats, counts: Counts) -> tuple[float, Floats]:
    """Return the squared distance of expected from counted shares, and its gradient."""
    levels = len(counts.one)
    T, p = _read(free, levels)
    one = p @ T - counts.one
    two = np.einsum("y,yi,yj->ij", p, T, T) - counts.two
    three = np.einsum("y,yi,yj,yk->ijk", p, T, T, T, optimize=True) - counts.three
    # For each true level y: the residuals, as far as they are its doing.
    pairs_yi, triples_yi = T @ two, np.einsum("yj,yk,ijk->yi", T, T, three, optimize=True)
    by_prior = T @ one + (pairs_yi * T).sum(axis=1) + (triples_yi * T).sum(axis=1)
    by_transition = p[:, None] * (one + 2 * pairs_yi + 3 * triples_yi)
    d_T = T * (by_transition - (by_transition * T).sum(axis=1, keepdims=True))
    d_p = p * (by_prior - by_prior @ p)
    loss = float((one**2).sum() + (two**2).sum() + (three**2).sum())
    return loss, 2 * np.concatenate([d_T.ravel(), d_p])
