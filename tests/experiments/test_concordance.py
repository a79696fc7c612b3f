"""The statistics of the experiments, against slow counts of pairs and against worlds with known truth."""

from itertools import combinations
from math import nan

import numpy as np
import pytest

from concordance import (
    Ranking,
    auc,
    auc_by_chance,
    auc_interval,
    length_bins,
    overlap,
    share,
)


def slow_auc(scores, marked, bins=None, weights=None) -> float:
    """Mean over marked rows of the share of unmarked rows of their bin that they beat."""
    n = len(scores)
    bins = [0] * n if bins is None else bins
    weights = [1.0] * n if weights is None else weights
    wins = total = 0.0
    for i in range(n):
        others = [j for j in range(n) if not marked[j] and bins[j] == bins[i]]
        mass = sum(weights[j] for j in others)
        if marked[i] and mass:
            beaten = sum(
                weights[j] * ((scores[i] > scores[j]) + (scores[i] == scores[j]) / 2)
                for j in others
            )
            wins += weights[i] * beaten / mass
            total += weights[i]
    return wins / total if total else nan


@pytest.mark.parametrize("seed", range(8))
def test_auc_counts_pairs_with_ties_bins_and_weights(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 60))
    scores = rng.integers(0, 8, n).astype(float)
    marked = rng.random(n) < 0.3
    marked[:2] = True, False
    bins = rng.integers(-1, 4, n)
    weights = rng.integers(0, 4, n).astype(float)
    weights[:2] = 1
    for within in (None, bins):
        for counted in (None, weights):
            mine = auc(scores, marked, bins=within, weights=counted)
            assert mine == pytest.approx(slow_auc(scores, marked, within, counted), nan_ok=True)


def test_a_weight_of_three_is_three_equal_rows() -> None:
    scores, marked = np.array([1.0, 2, 3, 4]), np.array([False, True, False, True])
    weights = np.array([3, 1, 2, 3])
    many = np.repeat(np.arange(4), weights)
    once = auc(scores, marked, weights=weights.astype(float))
    assert once == pytest.approx(auc(scores[many], marked[many])) == pytest.approx(0.9)


def test_unscored_rows_are_refused_and_no_pairs_give_no_number() -> None:
    marked = np.array([True, True])
    with pytest.raises(ValueError, match="scored rows only"):
        auc(np.array([1.0, nan]), marked)
    assert np.isnan(auc(np.array([1.0, 2.0]), marked))
    one_each = auc(np.array([1.0, 2.0]), np.array([True, False]), bins=np.array([0, 1]))
    assert np.isnan(one_each)


def world(rng, n: int = 4000):
    """Rows that are marked for their length alone, with a score that reads length alone."""
    lengths = rng.lognormal(4, 0.8, n).round()
    marked = rng.random(n) < 0.3 / (1 + np.exp(-(lengths - 120) / 20))
    return lengths, marked


def test_length_in_disguise_reaches_a_high_auc_and_a_matched_one_of_a_half() -> None:
    rng = np.random.default_rng(1)
    lengths, marked = world(rng)
    score = np.log(lengths) + rng.normal(0, 0.2, len(lengths))
    bins = length_bins(lengths, marked)
    assert auc(score, marked) > 0.85
    assert 0.45 < auc(score, marked, bins=bins) < 0.55
    helped = score + marked
    assert auc(helped, marked, bins=bins) > 0.8


def test_bins_hold_equally_many_marked_rows_and_rows_beyond_them_stand_apart() -> None:
    rng = np.random.default_rng(2)
    lengths, marked = world(rng)
    bins = length_bins(lengths, marked, most=10)
    inside = [int((bins[marked] == one).sum()) for one in np.unique(bins[marked])]
    assert len(inside) == 10
    assert max(inside) - min(inside) <= 0.4 * marked.sum() / 10  # lengths are whole numbers
    low, high = lengths[marked].min(), lengths[marked].max()
    assert not set(bins[(lengths < low) | (lengths > high)]) & set(bins[marked])
    order = rng.permutation(len(lengths))
    assert (length_bins(lengths[order], marked[order], most=10) == bins[order]).all()


def test_bins_of_one_length_and_of_no_marks_are_defined() -> None:
    lengths = np.array([1.0, 2, 2, 3])
    bins = length_bins(lengths, np.array([False, True, False, False]))
    assert bins[1] == bins[2]
    assert len({bins[0], bins[1], bins[3]}) == 3
    assert set(length_bins(lengths, np.zeros(4, bool))) == {0}


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        marked = np.arange(150) < 50
        scores = rng.normal(0, 1, 150) + marked  # P(N(1, 2) > 0) = 0.7602
        found = auc_interval(scores, marked, rng, resamples=200)
        covered += found.low <= 0.7602 <= found.high
    assert 50 <= covered <= 60


def test_marks_by_chance_keep_their_number_in_each_bin_and_p_is_small_by_chance_only() -> None:
    rng = np.random.default_rng(3)
    bins = rng.integers(0, 4, 200)
    marked = rng.random(200) < bins / 5
    dealt = Ranking(rng.random(200), marked, bins).shuffled(rng)
    assert (np.bincount(bins, dealt) == np.bincount(bins, marked)).all()
    assert (dealt != marked).any()
    small = sum(
        auc_by_chance(rng.random(200), marked, rng, bins=bins, permutations=99)[1] <= 0.1
        for _ in range(60)
    )
    assert 1 <= small <= 14
    chance, p = auc_by_chance(rng.random(200) + marked, marked, rng, bins=bins)
    assert chance.low < 0.5 < chance.high
    assert p < 0.01


def test_weights_undo_a_sample_that_takes_strata_at_different_rates() -> None:
    rng = np.random.default_rng(4)
    n = 30_000
    stratum = rng.choice(3, n, p=[0.04, 0.06, 0.9])
    marked = stratum == 1
    scores = rng.normal(0, 1, n) + np.array([2.0, 1.0, 0.0])[stratum]
    rows = np.concatenate([rng.choice(np.flatnonzero(stratum == s), 900, False) for s in range(3)])
    weights = np.array([(stratum == s).sum() / 900 for s in range(3)])[stratum[rows]]
    truth = auc(scores, marked)
    assert auc(scores[rows], marked[rows], weights=weights) == pytest.approx(truth, abs=0.02)
    assert abs(auc(scores[rows], marked[rows]) - truth) > 0.1
    found = auc_interval(
        scores[rows], marked[rows], rng, weights=weights, strata=stratum[rows], resamples=100
    )
    assert found.low < truth < found.high


def test_overlap_agrees_with_a_count_of_all_draws() -> None:
    chosen = np.array([True, True, True, False, False, False, False])
    marked = np.array([True, True, False, True, False, False, False])
    found = overlap(chosen, marked, np.zeros(7, int), np.random.default_rng(0))
    draws = [len({0, 1, 3} & set(drawn)) for drawn in combinations(range(7), 3)]
    assert found.common == 2
    assert found.expected == pytest.approx(np.mean(draws)) == pytest.approx(found.matched.value)
    assert found.p == pytest.approx(np.mean([one >= 2 for one in draws]))
    assert found.matched_p == pytest.approx(found.p, abs=0.03)
    assert found.jaccard == 2 / 4
    assert found.lift == pytest.approx(2 / (9 / 7))


def test_a_choice_by_length_has_lift_and_none_at_equal_lengths() -> None:
    rng = np.random.default_rng(5)
    lengths, marked = world(rng)
    chosen = np.zeros(len(lengths), bool)
    chosen[np.argsort(-lengths * rng.lognormal(0, 0.2, len(lengths)))[:400]] = True
    found = overlap(chosen, marked, length_bins(lengths, marked), rng)
    assert found.lift > 2
    assert found.p < 1e-6
    assert found.matched.low <= found.common <= found.matched.high
    assert found.matched_p > 0.02


def test_chance_at_equal_lengths_is_counted_bin_by_bin() -> None:
    chosen = np.array([True, True, False, True, False, False, False])
    marked = np.array([True, False, True, False, False, False, True])
    bins = np.array([0, 0, 0, 1, 1, 1, 1])
    found = overlap(chosen, marked, bins, np.random.default_rng(0))
    assert found.matched.value == pytest.approx(2 * 2 / 3 + 1 * 1 / 4)
    assert found.expected == pytest.approx(3 * 3 / 7)
    assert (found.matched.low, found.matched.high) == (1, 3)  # two of two marked in three: 1 or 2


def test_empty_choices_have_no_lift() -> None:
    none = np.zeros(4, bool)
    found = overlap(
        none, np.array([True, False, True, False]), np.zeros(4, int), np.random.default_rng(0)
    )
    assert (found.common, found.expected, found.p) == (0, 0, 1)
    assert np.isnan(found.lift)
    assert np.isnan(found.matched_lift)


def test_a_share_has_wilsons_interval() -> None:
    assert share(0, 60).low == 0
    assert share(0, 60).high == pytest.approx(0.0602, abs=1e-4)
    half = share(5, 10)
    assert (half.low, half.high) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert np.isnan(share(0, 0).value)
