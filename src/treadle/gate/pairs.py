"""One comparison: the tested arm against another, paired by item and training seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.data.verdict import ArmRole, Comparison
from treadle.errors import DataError
from treadle.gate.results import Floats, Scores
from treadle.gate.statistics import cluster_sums, estimate, sign_test_exact, wins_and_losses


@dataclass(frozen=True, slots=True)
class Pair:
    """A comparison, and what it rests on: how many items and seeds there were to begin with.

    `error_answers` is the part of `comparison.sd_seeds` that more items would lessen.
    """

    comparison: Comparison
    error_answers: float
    items: int
    tested_seeds: int
    other_seeds: int

    @property
    def unscored(self) -> int:
        """Items left out because some seed of either arm has no score for them."""
        return self.items - self.comparison.items

    @property
    def is_other_once(self) -> bool:
        """Whether the other arm was trained once: its luck of training is a guess (see `compare`)."""
        one = self.comparison
        return self.other_seeds == 1 and one.seeds > 1 and one.role != "incumbent"


def compare(
    tested: Scores,
    other: Scores,
    clusters_N: NDArray[np.int64],
    against: str,
    role: ArmRole,
    *,
    alpha: float,
    resamples: int,
    rng: np.random.Generator,
) -> Pair:
    """Compare two arms.

    Seeds are paired by their place in sorted order. An arm with one seed is paired with every seed
    of the other. The incumbent is one fixed model; any other arm that was trained once brings a
    luck of training that its one seed cannot show, and is given that of the tested arm.

    Raises:
        DataError: fewer than two items are scored in both arms.
    """
    seeds = tested.seeds if other.seeds == 1 else min(tested.seeds, other.seeds)
    whole_SN = tested.scores[:seeds] - other.scores[:seeds]
    is_scored = np.asarray(np.isfinite(whole_SN).all(axis=0))
    differences_SN = whole_SN[:, is_scored]
    items = differences_SN.shape[1]
    if items < 2:
        raise DataError(
            f"gate.paired: {items} of {len(is_scored)} items are scored in both the tested arm and "
            f"{against!r}; a comparison needs at least 2."
        )
    found = estimate(
        differences_SN,
        clusters_N[is_scored],
        resamples=resamples,
        rng=rng,
        is_other_single=other.seeds == 1 and role != "incumbent",
    )
    better, worse = found.p_better, found.p_worse
    low, high = found.interval(alpha)
    signs = _signs(
        differences_SN.mean(axis=0), clusters_N[is_scored], _has_two_values(tested, other)
    )
    if signs is not None:
        wins, losses = signs
        better = max(better, sign_test_exact(wins, losses))
        worse = max(worse, sign_test_exact(losses, wins))
        # an interval that excluded zero would contradict the test that counts
        low = min(low, 0.0) if better > alpha else low
        high = max(high, 0.0) if worse > alpha else high
    comparison = Comparison(
        against, role, found.mean, low, high, better, worse, items, found.clusters, seeds,
        found.error_items, found.error_seeds,
    )  # fmt: skip
    return Pair(comparison, found.error_answers, len(is_scored), tested.seeds, other.seeds)


def _signs(
    by_item_N: Floats, clusters_N: NDArray[np.int64], has_two_values: bool
) -> tuple[int, int] | None:
    """Return wins and losses where the exact test has to agree; None where the bootstrap suffices.

    The bootstrap breaks down where most differences are ties: two wins and no loss among sixty
    items give it p = 0.02, and the exact test 0.25. Where whole clusters are tied, clusters are
    what is counted.
    """
    sums, _ = cluster_sums(by_item_N, clusters_N)
    for values in (sums, by_item_N):
        wins, losses = wins_and_losses(values)
        if 2 * (wins + losses) < len(values):
            return wins, losses
    return wins_and_losses(by_item_N) if has_two_values else None


def _has_two_values(tested: Scores, other: Scores) -> bool:
    """Whether both arms together have two different scores at the most: right and wrong."""
    both = np.concatenate([tested.scores.ravel(), other.scores.ravel()])
    return len(np.unique(both[np.isfinite(both)])) <= 2


def is_zero_or_one(scores: Floats) -> bool:
    """Whether every score that there is is 0 or 1."""
    return bool((np.isnan(scores) | (scores == 0) | (scores == 1)).all())
