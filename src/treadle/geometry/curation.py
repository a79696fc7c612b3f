"""Repair noisy ratings by those of near rows, and say how rare each row is (DS2, arXiv:2410.10877).

    found = curate(grid_ND, ratings_N)
    found.rating          the rating that counts: repaired where the doubt and the confidence are high
    found.doubt           in what share of draws the rating stood out among its neighbours'
    found.confidence      of the rating that the neighbours suggest; NaN where there is no doubt
    found.long_tail       how far the row lies from its nearest: high is rare

SimiFeat by ranks (arXiv:2110.06283): many draws of most rows; in each, the rows of one rating whose
neighbours disagree most are doubted, as many as the rater's estimated errors say (`consensus`), and the
neighbours' vote is what they suggest. Rows are directions on the grid of `geometry.cosine`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.consensus import Noise, consensus, solve
from treadle.geometry.cosine import BLOCK_ROWS, Grid
from treadle.geometry.nearest import most_similar
from treadle.geometry.points import Points

DRAWS = 51
DRAWN_SHARE = 0.9
SPARE = 18
"""Neighbours kept beyond those that vote, since a draw leaves out one in ten."""
LEAST_RATE, MOST_RATE = 0.05, 0.95
LEAST_ROWS = 10
"""In a smaller pool there are no neighbours to speak of, and nothing is repaired."""
LEAST_AGREEMENT = 0.2
"""Cohen's kappa of a row's rating with that of its nearest row, below which repair did harm as often as
good where the truth was known. The published code repairs whatever it is."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The other rows nearest to each, best first, and their cosines (N x M)."""

    positions: Ints
    cosines: Floats


@dataclass(frozen=True, slots=True)
class Curated:
    """What became of each rating, and what the rater is estimated to do (None: nothing can be said).

    `agreement` is Cohen's kappa of a row's rating with that of its nearest row.
    """

    rating: Floats
    doubt: Floats
    confidence: Floats
    long_tail: Floats
    agreement: float
    noise: Noise | None


def curate(
    grid_ND: Grid,
    ratings_N: NDArray[np.number],
    *,
    voters: int = 10,
    least_confidence: float = 0.5,
    least_agreement: float = LEAST_AGREEMENT,
    with_self: bool = False,
    rng: np.random.Generator,
    tick: Callable[[], None] = lambda: None,
) -> Curated:
    """Repair ratings where their neighbours speak against them with enough confidence.

    `voters` counts the row itself, whose vote weighs about as the nearest one's. `with_self` says
    whether the long-tail score counts the row itself as its nearest, too. Where near rows are rated
    alike hardly more often than any rows (`least_agreement`), neighbours know too little of what a row
    deserves, and nothing is repaired.
    """
    total = len(grid_ND)
    whole = ratings_N.astype(np.float64)
    near = nearest_others(grid_ND, voters - 1 + SPARE, tick=tick)
    tail = long_tail(near, voters, with_self=with_self)
    names, codes = np.unique(whole, return_inverse=True)
    untouched = Curated(whole, np.zeros(total), np.full(total, np.nan), tail, math.nan, None)
    if total < LEAST_ROWS or len(names) < 2:
        return untouched
    counts = consensus(codes, near.positions[:, :2], len(names))
    if not counts.agreement >= least_agreement:
        return replace(untouched, agreement=counts.agreement)
    noise = solve(counts)
    kept = noise.kept_share(np.bincount(codes, minlength=len(names)) / total)
    flags, drawn = np.zeros(total), np.zeros(total)
    suggested = np.zeros((total, len(names)))
    for _ in range(DRAWS):
        tick()
        inside = np.zeros(total, dtype=np.bool_)
        inside[rng.permutation(total)[: int(DRAWN_SHARE * total)]] = True
        votes = vote(near, codes, inside, len(names), others=voters - 1)
        doubted = stand_out(votes, codes, inside, kept)
        drawn += inside
        flags += doubted
        suggested[doubted, votes[doubted].argmax(axis=1)] += 1
    doubt = (flags + 1) / (drawn + 2)
    best, confidence = _suggestions(suggested, codes, doubt)
    repaired = np.nan_to_num(confidence) >= least_confidence
    rating = np.where(repaired, names[best], whole)
    return Curated(rating, doubt, confidence, tail, counts.agreement, noise)


def _suggestions(suggested: Floats, codes: Ints, doubt: Floats) -> tuple[Ints, Floats]:
    """Return the level most suggested instead of each rating, and how surely; NaN without a doubt."""
    shares = (suggested + 1) / (suggested.sum(axis=1, keepdims=True) + suggested.shape[1])
    shares[np.arange(len(codes)), codes] = -1
    return shares.argmax(axis=1), np.where(doubt > 0.5, shares.max(axis=1) * doubt, np.nan)


def nearest_others(
    grid_ND: Grid, count: int, *, tick: Callable[[], None] = lambda: None
) -> Neighbours:
    """Return the `count` rows nearest to each, itself aside, without a matrix of all pairs."""
    total = len(grid_ND)
    count = max(0, min(count, total - 1))
    positions = np.empty((total, count), dtype=np.int64)
    values = np.empty((total, count))
    points, everybody = Points.on_grid(grid_ND), np.arange(total)
    for part in _blocks(total):
        tick()
        queries = grid_ND[part]
        found, near = most_similar(
            points, queries, np.arange(len(queries)), everybody, min(count + 1, total)
        )
        is_other = found != everybody[part, None]
        whole = is_other.all(axis=1)  # many rows just like this one crowded it out of its own list
        is_other[whole, -1] = False
        positions[part] = found[is_other].reshape(len(queries), count)
        values[part] = near[is_other].reshape(len(queries), count)
    return Neighbours(positions, values)


def long_tail(near: Neighbours, count: int, *, with_self: bool) -> Floats:
    """Return 2 / (1 + exp(-mean cosine distance to the nearest `count`)) - 1; NaN for a lone row.

    With the row itself as its own nearest, as published, at distance 0 and to four decimals.
    """
    others = 1 - near.cosines[:, : count - 1 if with_self else count]
    if not others.shape[1]:
        return np.full(len(others), np.nan)
    mean = others.sum(axis=1) / (others.shape[1] + with_self)
    found = 2 / (1 + np.exp(-mean)) - 1
    rounded: Floats = np.round(found, 4)
    return rounded if with_self else found


def vote(near: Neighbours, codes: Ints, inside: Flags, levels: int, *, others: int) -> Floats:
    """Return each row's vote over the levels (N x K, length 1): its own and that of its nearest drawn.

    A neighbour weighs its cosine. The row weighs a step more than the nearest, as far as that is
    nearer than the second.
    """
    votes = np.empty((len(codes), levels))
    for part in _blocks(len(codes)):
        positions, cosines = near.positions[part], near.cosines[part]
        counts = inside[positions]
        place = np.cumsum(counts, axis=1)
        weights = np.where(counts & (place <= others), cosines, 0.0)
        first, second = (_at(cosines, counts & (place == n)) for n in (1, 2))
        mine = np.eye(levels)[codes[part]] * (2 * first - second)[:, None]
        summed = mine + np.einsum("nm,nmk->nk", weights, np.eye(levels)[codes[positions]])
        lengths = np.sqrt((summed**2).sum(axis=1, keepdims=True))
        votes[part] = summed / np.maximum(lengths, 1e-12)
    return votes


def stand_out(votes: Floats, codes: Ints, inside: Flags, kept: Floats) -> Flags:
    """Return the drawn rows whose own rating has least of the vote: of each rating, the share in error."""
    odd = -np.log(np.maximum(votes[np.arange(len(codes)), codes], 0) + 1e-8)
    found = np.zeros(len(codes), dtype=np.bool_)
    for level, share in enumerate(np.clip(1 - kept, LEAST_RATE, MOST_RATE)):
        members = inside & (codes == level)
        if members.any():
            found |= members & (odd >= np.quantile(odd[members], 1 - share))
    return found


def _at(values: Floats, is_there: Flags) -> Floats:
    """Return the one marked value of each row; 1 where there is none."""
    found: Floats = np.where(is_there, values, 0.0).sum(axis=1)
    return np.where(is_there.any(axis=1), found, 1.0)


def _blocks(total: int) -> Iterator[slice]:
    for begin in range(0, total, BLOCK_ROWS):
        yield slice(begin, begin + BLOCK_ROWS)
