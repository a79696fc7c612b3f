"""A scripted judge with known faults: every estimate's interval covers its knob as often as it says.

Errors stick to items, as a real judge's do: both orders of a pair share one draw of "does it see
the better answer", and a sway (position, length, own) overrides it with its own draw.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from treadle.judge.figures import reliability as r
from treadle.judge.figures.proportions import Figure
from treadle.judge.figures.verdicts import Verdicts

RUNS = 1_000
ITEMS = 600


@dataclass(frozen=True)
class Knobs:
    """accuracy of an unswayed verdict; how often place, length or ownership decides instead."""

    accuracy: float = 0.85
    primacy: float = 0.0
    longer: float = 0.0
    own: float = 0.0


def judged(knobs: Knobs, rng: np.random.Generator, items: int = ITEMS) -> Verdicts:
    label = rng.integers(1, 3, size=items)
    length = rng.integers(50, 150, size=(2, items))
    length[1] += length[0] == length[1]
    own = rng.integers(1, 3, size=items)
    seen = np.where(rng.random(items) < knobs.accuracy, label, 3 - label)
    longer = np.where(length[0] > length[1], 1, 2)
    sway = rng.random(items)
    base = np.where(sway < knobs.longer, longer, seen)
    base = np.where((sway >= knobs.longer) & (sway < knobs.longer + knobs.own), own, base)
    by_place = rng.random(items) < knobs.primacy
    first = np.where(by_place, 1, base)
    second = np.where(by_place, 2, base)
    pairs = tuple(map(str, range(items)))
    return Verdicts(pairs, label, first, second, length[0], length[1], own)


def covered(knobs: Knobs, estimate: object, truth: float) -> float:
    hits = 0
    for run in range(RUNS):
        figure: Figure = estimate(judged(knobs, np.random.default_rng(run)))  # type: ignore[operator]
        hits += figure.low <= truth <= figure.high
    return hits / RUNS


CASES = {
    "accuracy": (Knobs(), r.both_order_accuracy, 0.85),
    "accuracy of a swayed judge": (Knobs(0.9, primacy=0.3), r.both_order_accuracy, 0.7 * 0.9),
    "consistency": (Knobs(0.8, primacy=0.2), r.consistency, 0.8),
    "position": (Knobs(0.8, primacy=0.2), r.position_bias, 0.1),
    "no position": (Knobs(0.8), r.position_bias, 0.0),
    # Where the shorter one is right, length decides wrongly: errors differ by the knob itself.
    "length": (Knobs(0.8, longer=0.2), r.length_gap, 0.2),
    "no length": (Knobs(0.8), r.length_gap, 0.0),
    "own": (Knobs(0.8, own=0.15), r.self_preference, 0.15),
    "no own": (Knobs(0.8), r.self_preference, 0.0),
}


@pytest.mark.parametrize("name", [name for name in CASES if name != "no position"])
def test_the_interval_covers_the_knob_in_93_to_97_percent_of_runs(name: str) -> None:
    knobs, estimate, truth = CASES[name]
    assert 0.93 <= covered(knobs, estimate, truth) <= 0.97


def test_a_judge_without_a_place_shows_none() -> None:
    knobs, estimate, truth = CASES["no position"]
    assert covered(knobs, estimate, truth) == 1.0  # both orders say the same: no noise at all


def test_kappas_interval_covers_the_kappa_of_a_large_sample() -> None:
    knobs = Knobs(0.85)
    truth = r.kappa(judged(knobs, np.random.default_rng(10**6), 400_000)).value
    hits = sum(
        (figure := r.kappa(judged(knobs, np.random.default_rng(run)))).low <= truth <= figure.high
        for run in range(400)
    )
    assert 0.93 <= hits / 400 <= 0.97


def test_robustness_covers_the_share_of_verdicts_that_a_change_leaves() -> None:
    hits = 0
    for run in range(RUNS):
        rng = np.random.default_rng(run)
        before = judged(Knobs(), rng)
        flips = rng.random(ITEMS) < 0.1
        first, second = (np.where(flips, 3 - side, side) for side in (before.first, before.second))
        after = Verdicts(before.pair, before.label, first, second)
        figure = r.robustness(before, after)
        hits += figure.low <= 0.9 <= figure.high
    assert 0.93 <= hits / RUNS <= 0.97
