"""The gate in worlds whose truth is known: false accepts, power, regressions, and a gate that fails.

Each world is drawn thousands of times with fixed seeds. A rate may lie above its level by three
standard errors of the simulation, no more.
"""

import numpy as np
import pytest

from gate_worlds import (
    Floats,
    World,
    bank_decisions,
    comparisons,
    decisions,
    naive_share_better,
    run_gate,
    share_better,
    share_worse,
)
from treadle.gate.power import needed_items, needed_seeds, power
from treadle.gate.statistics import estimate

ALPHA = 0.05
GATES = 2000


def most(level: float, gates: int) -> float:
    """The level and three standard errors of a simulation of this size."""
    return level + 3 * float(np.sqrt(level * (1 - level) / gates))


def skewed(sign: float):  # type: ignore[no-untyped-def]
    """Item differences with mean 0, standard deviation 1 and skewness 2 (an exponential)."""
    return lambda rng, count: sign * (rng.exponential(size=count) - 1)


NULLS = {
    "items and training alike": World(item_sd=1, training_sd=0.2),
    "items only": World(item_sd=1),
    "few items": World(items=12, item_sd=1),
    "training rules": World(item_sd=0.1, training_sd=1),
    "answers rule": World(item_sd=0, answer_sd=1),
    "all three": World(item_sd=0.5, training_sd=0.1, answer_sd=1, seeds=5),
    "two clusters": World(cluster_sizes=(5, 5), item_sd=1, answer_sd=1, seeds=5),
    "two seeds": World(item_sd=0.5, training_sd=0.2, answer_sd=0.5, seeds=2),
    "gains many and small, losses few and large": World(training_sd=0.02, item_luck=skewed(-1)),
    "losses many and small, gains few and large": World(training_sd=0.02, item_luck=skewed(1)),
    "twelve clusters": World(cluster_sizes=(10,) * 12, cluster_sd=0.7, training_sd=0.1),
    "five clusters": World(cluster_sizes=(12,) * 5, cluster_sd=0.7, training_sd=0.1),
    "uneven clusters": World(
        cluster_sizes=(1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20),
        cluster_sd=0.7,
        answer_sd=0.5,
        training_sd=0.1,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("world", NULLS.values(), ids=[name.replace(" ", "-") for name in NULLS])
def test_without_a_difference_neither_arm_is_called_better_more_often_than_alpha(
    world: World,
) -> None:
    pairs = comparisons(world, GATES)
    assert share_better(pairs) <= most(ALPHA, GATES)
    assert share_worse(pairs) <= most(ALPHA, GATES)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("answer_sd", [0.3, 1.5])
def test_without_a_difference_zero_one_scores_are_called_better_no_more_often_than_alpha(
    seeds: int, answer_sd: float
) -> None:
    training_sd = 0.3 if seeds > 1 else 0.0  # one seed claims nothing about training
    world = World(items=100, seeds=seeds, item_sd=0.5, answer_sd=answer_sd, training_sd=training_sd)
    pairs = comparisons(world, GATES, zero_one=True)
    assert share_better(pairs) <= most(ALPHA, GATES)
    assert share_worse(pairs) <= most(ALPHA, GATES)


def rare_flips(
    rng: np.random.Generator, share: float, values: tuple[float, ...], clusters: int
) -> tuple[Floats, Floats]:
    """Scores of two equal arms that differ on few clusters of items, there by a value at random."""
    of_cluster = rng.choice(values, size=clusters)
    arms = []
    for _ in range(2):
        is_new = rng.random(clusters) < share
        arms.append(np.where(is_new, rng.choice(values, size=clusters), of_cluster)[None])
    return arms[0], arms[1]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.01, 0.02, 0.04, 0.1])
@pytest.mark.parametrize("values", [(0.0, 1.0), (-1.0, 0.0), (0.0, 0.5, 1.0)])
@pytest.mark.parametrize("size", [1, 4])
def test_without_a_difference_rare_flips_are_called_better_no_more_often_than_alpha(
    share: float, values: tuple[float, ...], size: int
) -> None:
    rng, clusters, pairs = np.random.default_rng(0), 60, []
    for _ in range(1000):
        selected, random = rare_flips(rng, share, values, clusters)
        of_items = np.arange(clusters).repeat(size)
        pairs.append(run_gate(selected[:, of_items], random[:, of_items], of_items, rng))
    assert share_better(pairs) <= most(ALPHA, 1000)
    assert share_worse(pairs) <= most(ALPHA, 1000)


@pytest.mark.slow
def test_the_studentised_bootstrap_alone_fails_where_scores_rarely_differ() -> None:
    rng, found = np.random.default_rng(0), 0
    for _ in range(1000):
        selected, random = rare_flips(rng, 0.1, (0.0, 0.5, 1.0), 60)
        alone = estimate(selected - random, np.arange(60), resamples=399, rng=rng)
        found += alone.p_better <= ALPHA
    assert found > 80


@pytest.mark.slow
def test_a_bootstrap_over_items_alone_fails_where_training_luck_rules() -> None:
    assert naive_share_better(NULLS["training rules"].draw, 1000) > 0.3
    assert naive_share_better(NULLS["items and training alike"].draw, 1000) > 0.1
    assert naive_share_better(NULLS["items only"].draw, 1000) <= most(ALPHA, 1000)


@pytest.mark.slow
def test_a_bootstrap_over_items_alone_fails_where_items_come_in_clusters() -> None:
    world = World(cluster_sizes=(10,) * 12, cluster_sd=0.7)
    assert naive_share_better(world.draw, 1000) > 0.12


@pytest.mark.slow
def test_the_whole_gate_accepts_no_more_often_than_alpha_however_much_the_other_arms_lose() -> None:
    world = World(item_sd=1, training_sd=0.2, answer_sd=0.5)
    found = decisions(world, GATES, over_others=5.0)
    assert found["accept"] <= most(ALPHA, GATES) * GATES
    assert found["roll_back"] <= most(ALPHA, GATES) * GATES


def gain_for(world: World, wanted: float = 0.8) -> float:
    """The gain that the power formula says is found with this chance."""
    low, high = 0.0, 10.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if formula(world, middle) < wanted else (low, middle)
    return high


def errors(world: World) -> dict[str, float]:
    """The true standard errors of a world, without clusters."""
    answers = world.answer_sd / np.sqrt(world.items * world.seeds)
    return {
        "error_items": world.item_sd / np.sqrt(world.items),
        "error_seeds": float(np.hypot(world.training_sd / np.sqrt(world.seeds), answers)),
        "error_answers": answers,
    }


def formula(world: World, gain: float) -> float:
    e = errors(world)
    return power(gain, e["error_items"], e["error_seeds"], world.seeds, ALPHA)


def with_gain(world: World, gain: float) -> World:
    return World(**{**{k: getattr(world, k) for k in world.__dataclass_fields__}, "gain": gain})


POWERED = {
    "items": World(items=100, item_sd=1),
    "training": World(items=100, item_sd=0.1, training_sd=0.3),
    "both": World(items=100, item_sd=1, training_sd=0.1),
    "answers too": World(items=100, item_sd=0.6, training_sd=0.05, answer_sd=0.8, seeds=5),
}


@pytest.mark.slow
@pytest.mark.parametrize("world", POWERED.values(), ids=[n.replace(" ", "-") for n in POWERED])
def test_a_planted_gain_is_found_as_often_as_the_power_formula_says(world: World) -> None:
    planted = with_gain(world, gain_for(world))
    rate = share_better(comparisons(planted, 1000))
    assert 0.8 - 3 * np.sqrt(0.16 / 1000) <= rate <= 0.9
    assert share_worse(comparisons(planted, 300)) == 0


@pytest.mark.slow
def test_where_losses_are_few_and_large_the_power_formula_promises_a_little_too_much() -> None:
    world = World(items=200, item_luck=skewed(-1), training_sd=0.05, seeds=5)
    rate = share_better(comparisons(with_gain(world, gain_for(world)), 1000))
    assert 0.65 <= rate <= 0.8


@pytest.mark.slow
def test_the_number_of_items_and_of_seeds_that_a_verdict_names_would_have_done() -> None:
    world = World(items=60, item_sd=1, training_sd=0.05, answer_sd=0.5, gain=0.2)
    items = needed_items(0.2, items=60, seeds=3, **errors(world))
    assert items is not None
    assert items > 60
    bigger = World(items=items, item_sd=1, training_sd=0.05, answer_sd=0.5, gain=0.2)
    assert share_better(comparisons(world, 600)) < 0.6
    assert share_better(comparisons(bigger, 600)) > 0.75
    shaky = World(items=200, item_sd=0.5, training_sd=0.2, gain=0.15)
    found = errors(shaky)
    seeds = needed_seeds(
        0.15, error_items=found["error_items"], error_seeds=found["error_seeds"], seeds=3
    )
    assert seeds is not None
    steadier = World(items=200, item_sd=0.5, training_sd=0.2, gain=0.15, seeds=seeds)
    assert share_better(comparisons(shaky, 600)) < 0.5
    assert share_better(comparisons(steadier, 600)) > 0.75


@pytest.mark.slow
def test_a_planted_gain_over_every_arm_is_accepted_and_a_regression_is_never() -> None:
    world = World(items=100, item_sd=0.5, training_sd=0.05, answer_sd=0.5)
    clear = gain_for(world, 0.95)
    found = decisions(with_gain(world, clear), 300, over_others=clear + 0.2)
    assert found["accept"] >= 0.8 * 300
    assert found["roll_back"] == 0
    lost = decisions(with_gain(world, -2 * clear), 500, over_others=0.2)
    assert lost["accept"] == 0
    assert lost["roll_back"] >= 0.95 * 500
    untrained = decisions(with_gain(world, clear), 500, over_others=-2 * clear)
    assert untrained["accept"] == 0
    assert untrained["roll_back"] >= 0.95 * 500


@pytest.mark.slow
def test_on_one_seed_nothing_is_accepted_or_rolled_back_however_large_the_difference() -> None:
    for gain in (5.0, -5.0):
        found = decisions(World(seeds=1, gain=gain, item_sd=0.1), 50, over_others=gain)
        assert found == {"hold": 50}


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize("training_sd", [0.05, 0.1, 0.2])
def test_equal_arms_are_rolled_back_no_more_often_than_alpha_on_any_number_of_seeds(
    seeds: int, training_sd: float
) -> None:
    world = World(items=100, seeds=seeds, training_sd=training_sd)
    found = decisions(world, 1000, over_others=5.0)
    assert found["roll_back"] <= most(ALPHA, 1000) * 1000
    assert found["accept"] <= (most(ALPHA, 1000) * 1000 if seeds >= 3 else 0)


@pytest.mark.slow
def test_items_of_one_single_source_decide_nothing_however_much_they_share() -> None:
    world = World(cluster_sizes=(60,), cluster_sd=0.7, training_sd=0.05)
    assert share_better(comparisons(world, 500)) > 0.2, "counted as if each stood alone"
    assert decisions(world, 500, over_others=5.0) == {"hold": 500}


def bank(students: int, items: int, seed: int) -> Floats:
    """A made-up bank: students on random subsets, each with its own level and its own answers."""
    rng = np.random.default_rng(seed)
    level = 0.02 * rng.normal(size=(students, 1))
    return rng.normal(size=items) + level + 0.1 * rng.normal(size=(students, items))


@pytest.mark.slow
def test_groups_drawn_from_one_bank_of_students_are_accepted_no_more_often_than_alpha() -> None:
    accepted, gates = 0, 0
    for seed in range(4):
        scores = bank(40, 80, seed)
        found, seen = bank_decisions(scores, scores.min(axis=0) - 5, gates=100, seeds=3, seed=seed)
        accepted += found["accept"]
        gates += len(seen)
        assert {c.seeds for c in seen} == {3}
    assert accepted <= most(ALPHA, gates) * gates


def test_a_bank_gives_as_many_decisions_as_gates_and_must_hold_enough_students() -> None:
    scores = bank(8, 40, 1)
    found, seen = bank_decisions(scores, scores.min(axis=0) - 5, gates=6, seeds=3)
    assert sum(found.values()) == len(seen) == 6
    assert len({c.effect for c in seen}) > 1
    below = bank_decisions(scores, scores.max(axis=0) + 5, gates=6, seeds=3)[0]
    assert below == {"roll_back": 6}
    with pytest.raises(ValueError, match="5 students cannot fill two arms of 3"):
        bank_decisions(scores[:5], scores[0], gates=1, seeds=3)
