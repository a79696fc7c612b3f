"""The gate's formulas against SciPy, against slow and obvious loops, and against published sizes."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from treadle.gate.power import (
    needed_items,
    needed_seeds,
    power,
    thresholds,
)
from treadle.gate.statistics import (
    FEWEST_CLUSTERS,
    Estimate,
    error_of_items,
    estimate,
    item_pivots,
    sign_test_exact,
    wins_and_losses,
)


def test_the_sign_test_is_scipys_exact_binomial_test() -> None:
    for wins in range(25):
        for losses in range(25):
            if wins + losses:
                expected = stats.binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue
                assert sign_test_exact(wins, losses) == pytest.approx(expected, rel=1e-12)
    assert sign_test_exact(0, 0) == 1.0
    expected = stats.binomtest(1100, 2050, 0.5, alternative="greater").pvalue
    assert sign_test_exact(1100, 950) == pytest.approx(expected, rel=1e-9)


def test_on_one_seed_of_zero_one_scores_the_sign_test_is_mcnemars() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, size=(2, 200)).astype(float)
    wins, losses = wins_and_losses(first - second)
    table = [[sum((first == a) & (second == b)) for b in (0, 1)] for a in (0, 1)]
    assert (wins, losses) == (table[1][0], table[0][1])


def test_thirds_that_cancel_are_ties() -> None:
    differences = np.array([[1 / 3, 0.1], [1 / 3, 0.2], [-2 / 3, -0.3]])
    assert wins_and_losses(differences.mean(axis=0)) == (0, 0)


@pytest.mark.parametrize(
    ("effect", "discordant", "alpha", "items"),
    [
        (0.02, 0.10, 0.05, 1544), (0.02, 0.20, 0.05, 3090), (0.02, 0.30, 0.05, 4635),
        (0.03, 0.10, 0.05, 685), (0.03, 0.20, 0.05, 1372), (0.03, 0.30, 0.05, 2059),
        (0.05, 0.10, 0.05, 246), (0.05, 0.20, 0.05, 493), (0.05, 0.30, 0.05, 740),
        (0.10, 0.20, 0.05, 122), (0.10, 0.30, 0.05, 184),
        (0.02, 0.10, 0.01, 2507), (0.03, 0.20, 0.01, 2228), (0.05, 0.30, 0.01, 1202),
        (0.10, 0.20, 0.01, 199),
    ],
)  # fmt: skip
def test_the_number_of_zero_one_items_is_close_to_that_of_the_published_table(
    effect: float, discordant: float, alpha: float, items: int
) -> None:
    found = zero_one_items(effect, discordant, alpha)
    assert 0.95 * items <= found <= items


def zero_one_items(effect: float, discordant: float, alpha: float = 0.05) -> int:
    """How many 0/1 items of one seed show the effect, of which a share differs."""
    error = math.sqrt((discordant - effect**2) / 100)
    found = needed_items(effect, error_items=error, error_seeds=0, items=100, seeds=1, alpha=alpha)
    assert found is not None
    return found


def exact_power(items: int, discordant: float, effect: float) -> float:
    """The chance that the exact test finds the effect, summed over the number of discordant items."""
    wins_share = (discordant + effect) / 2 / discordant
    found = 0.0
    for count in range(1, items + 1):
        chance = stats.binom.pmf(count, items, discordant)
        if chance > 1e-9:
            enough = (w for w in range(count + 1) if sign_test_exact(w, count - w) <= 0.05)
            found += chance * stats.binom.sf(next(enough, count + 1) - 1, count, wins_share)
    return found


def test_the_exact_test_has_a_little_less_power_than_the_sizes_promise() -> None:
    assert exact_power(400, 0.20, 0.05) == pytest.approx(0.68, abs=0.015)  # published: 0.68
    for effect, discordant in ((0.05, 0.2), (0.1, 0.3)):
        items = zero_one_items(effect, discordant)
        assert 0.72 < exact_power(items, discordant, effect) < 0.8


@pytest.mark.parametrize(
    ("seed_sd", "effect", "published"),
    [(2, 5, 3), (2, 3, 7), (2, 2, 14), (1, 5, 2), (1, 3, 3), (1, 2, 5)],
)
def test_the_number_of_seeds_is_that_of_the_published_table_or_one_more(
    seed_sd: float, effect: float, published: int
) -> None:
    # The table is for two independent groups, with twice our degrees of freedom.
    def two_groups(seeds: int) -> float:
        freedom, error = 2 * (seeds - 1), seed_sd * math.sqrt(2 / seeds)
        return float(stats.nct.sf(stats.t.ppf(0.95, freedom), freedom, effect / error))

    assert two_groups(published) > 0.79
    ours = needed_seeds(effect, error_items=0, error_seeds=seed_sd, seeds=2)
    assert ours is not None
    assert published <= ours <= published + 1


def test_without_luck_of_items_power_is_that_of_the_t_test() -> None:
    for seeds in (2, 3, 5, 12):
        for effect in (0.5, 1.0, 3.0):
            expected = stats.nct.sf(stats.t.ppf(0.95, seeds - 1), seeds - 1, effect)
            assert power(effect, 0, 1, seeds) == pytest.approx(expected, abs=0.01)


def test_without_luck_of_training_power_is_that_of_the_normal_test() -> None:
    for effect in (0.0, 1.0, 2.4865, 4.0):
        assert power(effect, 1, 0, 3) == pytest.approx(stats.norm.sf(1.6449 - effect), abs=1e-4)
    assert power(0.0, 0, 0, 3) == 0.0
    assert power(0.1, 0, 0, 3) == 1.0


def test_the_threshold_is_the_quantile_of_the_sum_of_both_lucks() -> None:
    rng = np.random.default_rng(0)
    for ratio, freedom in ((0.2, 2), (1.0, 2), (5.0, 2), (1.0, 1), (1.0, 9)):
        draws = rng.normal(size=10**6) + ratio * rng.standard_t(freedom, size=10**6)
        found = thresholds(1.0, np.array([ratio]), freedom, 0.05)[0]
        assert found == pytest.approx(np.quantile(draws, 0.95), rel=0.02)


def test_the_needed_number_is_the_smallest_that_has_the_power() -> None:
    given_errors = {"error_items": 0.02, "error_seeds": 0.01}
    items = needed_items(0.05, items=100, seeds=3, **given_errors)
    assert items is not None
    for count, is_enough in ((items, True), (items - 1, False)):
        assert (power(0.05, 0.02 * math.sqrt(100 / count), 0.01, 3) >= 0.8) is is_enough
    seeds = needed_seeds(0.06, seeds=3, **given_errors)
    assert seeds is not None
    for count, is_enough in ((seeds, True), (seeds - 1, False)):
        assert (power(0.06, 0.02, 0.01 * math.sqrt(3 / count), count) >= 0.8) is is_enough


def test_no_number_of_items_makes_up_for_luck_of_training_but_it_does_for_luck_of_answers() -> None:
    assert needed_items(0.01, error_items=0.01, error_seeds=0.01, items=100, seeds=3) is None
    answers = needed_items(
        0.01, error_items=0.01, error_seeds=0.01, error_answers=0.01, items=100, seeds=3
    )
    assert answers is not None
    assert answers > 100
    assert needed_seeds(0.01, error_items=0.01, error_seeds=0.01, seeds=3) is None
    assert needed_seeds(0.01, error_items=0.0, error_seeds=0.01, seeds=1) is None


def obvious_error(values: list[float], clusters: list[int]) -> float:
    """The linearised error of a mean over clusters, by dictionaries."""
    mean = sum(values) / len(values)
    sums: dict[int, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value - mean
    count = len(sums)
    return math.sqrt(sum(s * s for s in sums.values()) * count / (count - 1)) / len(values)


def test_the_error_over_clusters_is_that_of_the_obvious_loop() -> None:
    rng = np.random.default_rng(1)
    clusters = rng.integers(0, 20, size=150)
    values = rng.normal(size=150) + clusters / 10
    expected = obvious_error(values.tolist(), clusters.tolist())
    assert error_of_items(values, clusters) == pytest.approx(expected, rel=1e-12)
    assert expected > 1.2 * values.std(ddof=1) / math.sqrt(150)


def test_without_clusters_the_error_is_the_textbook_one() -> None:
    values = np.random.default_rng(1).normal(size=37)
    expected = values.std(ddof=1) / math.sqrt(37)
    assert error_of_items(values, np.arange(37)) == pytest.approx(expected, rel=1e-12)
    assert error_of_items(values, np.zeros(37, dtype=int)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("clustered", [False, True])
def test_the_bootstrap_is_the_obvious_one_draw_by_draw(clustered: bool) -> None:
    values = np.random.default_rng(1).exponential(size=40)
    clusters = np.arange(40) // (3 if clustered else 1)
    _, pivots = item_pivots(values, clusters, 200, np.random.default_rng(7))
    count = len(set(clusters.tolist()))
    drawn = np.random.default_rng(7).integers(count, size=(200, count))
    for row, pivot in zip(drawn, pivots, strict=True):
        picked, labels = [], []
        for place, cluster in enumerate(row):
            inside = values[clusters == cluster].tolist()
            picked += inside
            labels += [place] * len(inside)
        expected = (np.mean(picked) - values.mean()) / obvious_error(picked, labels)
        assert pivot == pytest.approx(expected, rel=1e-9)


def test_below_ten_clusters_students_t_takes_the_place_of_the_bootstrap() -> None:
    values = np.random.default_rng(1).normal(size=40)
    clusters = np.arange(40) % (FEWEST_CLUSTERS - 4)
    _, pivots = item_pivots(values, clusters, 50_000, np.random.default_rng(7))
    count = FEWEST_CLUSTERS - 4
    assert np.quantile(pivots, 0.95) == pytest.approx(stats.t.ppf(0.95, count - 1), rel=0.03)


def test_resamples_without_any_spread_give_finite_intervals() -> None:
    values = np.zeros(60)
    values[:2] = 1.0
    found = estimate(values[None], np.arange(60), resamples=2000, rng=np.random.default_rng(0))
    assert np.isfinite(found.draws).all()
    assert found.interval(0.05)[0] <= found.mean <= found.interval(0.05)[1]


def test_equal_arms_are_neither_better_nor_worse() -> None:
    found = estimate(np.zeros((3, 50)), np.arange(50), resamples=400, rng=np.random.default_rng(0))
    assert (found.p_better, found.p_worse, found.interval(0.05)) == (1.0, 1.0, (0.0, 0.0))


def test_with_seeds_alone_the_interval_is_students() -> None:
    levels = np.array([0.125, 0.5, 0.75])
    values = np.repeat(levels[:, None], 50, axis=1)
    found = estimate(values, np.arange(50), resamples=200_000, rng=np.random.default_rng(0))
    assert found.error_items == pytest.approx(0, abs=1e-12)
    assert found.error_answers == pytest.approx(0, abs=1e-12)
    expected = stats.t.interval(0.9, 2, loc=levels.mean(), scale=levels.std(ddof=1) / math.sqrt(3))
    assert found.interval(0.05) == pytest.approx(expected, abs=0.01)
    expected_p = stats.ttest_1samp(levels, 0.0, alternative="greater").pvalue
    assert found.p_better == pytest.approx(expected_p, rel=0.05)


def test_a_rival_trained_once_brings_its_own_luck() -> None:
    values = np.repeat(np.array([[0.1], [0.4], [0.7]]), 50, axis=1)
    rng = np.random.default_rng(0)
    shared = estimate(values, np.arange(50), resamples=400, rng=rng)
    single = estimate(values, np.arange(50), resamples=400, rng=rng, is_other_single=True)
    assert single.error_seeds == pytest.approx(shared.error_seeds * 2)


def test_each_kind_of_luck_is_counted_once() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(300):
        values = (
            0.6 * rng.normal(size=200) + 0.05 * rng.normal(size=(4, 1)) + rng.normal(size=(4, 200))
        )
        found.append(estimate(values, np.arange(200), resamples=10, rng=rng))
    items = np.sqrt(np.mean([f.error_items**2 for f in found]))
    seeds = np.sqrt(np.mean([f.error_seeds**2 for f in found]))
    answers = np.sqrt(np.mean([f.error_answers**2 for f in found]))
    assert items == pytest.approx(0.6 / math.sqrt(200), rel=0.05)
    assert answers == pytest.approx(1 / math.sqrt(800), rel=0.05)
    assert seeds == pytest.approx(math.hypot(0.05 / 2, 1 / math.sqrt(800)), rel=0.1)
    means = np.array([f.mean for f in found])
    assert means.std() == pytest.approx(math.hypot(items, seeds), rel=0.12)


def test_one_seed_shows_the_luck_of_items_only() -> None:
    values = np.random.default_rng(1).normal(size=(1, 80))
    found = estimate(values, np.arange(80), resamples=400, rng=np.random.default_rng(0))
    assert found.error_seeds == 0.0
    assert found.error_items == pytest.approx(values.std(ddof=1) / math.sqrt(80))


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("resamples", [100, 399, 400, 1000])
def test_the_interval_and_the_p_values_agree_at_every_count_of_draws(
    alpha: float, resamples: int
) -> None:
    for count in range(resamples + 1):
        draws = np.repeat([-1.0, 1.0], [count, resamples - count])
        found = Estimate(0.0, draws, 1.0, 0.0, 0.0, 50)
        low, high = found.interval(alpha)
        assert (low > 0) == (found.p_better <= alpha)
        assert (high < 0) == (found.p_worse <= alpha)


def test_memory_stays_small_with_many_items_and_resamples() -> None:
    values = np.random.default_rng(1).normal(size=(3, 5000))
    tracemalloc.start()
    estimate(values, np.arange(5000), resamples=2000, rng=np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6  # the resamples themselves would be 80 MB
