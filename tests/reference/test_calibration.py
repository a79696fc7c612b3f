"""ECE, AUROC, contradictions and the length-controlled win rate against slow or foreign implementations."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from treadle.judge.figures.calibration import auroc, calibration_error, claims, curve
from treadle.judge.figures.groups import best_of_accuracy, intransitivity
from treadle.judge.figures.ppi import labels_to_decide, powered_mean
from treadle.judge.figures.verdicts import UNSCORED, Verdicts
from treadle.judge.figures.win_rate import win_rate

Rng = np.random.Generator


def verdicts(
    rng: Rng, items: int, overconfident: float = 0.0, *, has_ties: bool = False
) -> Verdicts:
    """A judge that is right as often as it is sure, less `overconfident`."""
    sure = np.round(rng.uniform(0.5, 1.0, items), 2)
    label = rng.integers(1, 3, items)
    is_right = rng.random(items) < sure - overconfident
    said = np.where(is_right, label, 3 - label)
    second = np.where(rng.random(items) < 0.1, 3 - said, said) if has_ties else said
    return Verdicts(tuple(map(str, range(items))), label, said, second, confidence=sure)


def slow_error(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    total = 0.0
    for i in range(10):
        low, high = i / 10, (i + 1) / 10
        inside = [
            (c, r)
            for c, r in zip(confidence, is_right, strict=True)
            if low <= c < high or (i == 9 and c == 1)
        ]
        if inside:
            gap = np.mean([r for _, r in inside]) - np.mean([c for c, _ in inside])
            total += len(inside) / len(confidence) * abs(gap)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_calibration_is_that_of_a_slow_loop_and_auroc_that_of_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    known = verdicts(np.random.default_rng(seed), 300, 0.1, has_ties=True)
    made = claims(known)
    assert 200 < len(made) < 300  # where the orders disagree nothing is claimed
    assert calibration_error(known).value == pytest.approx(
        slow_error(made.confidence, made.is_right)
    )
    assert auroc(known).value == pytest.approx(
        metrics.roc_auc_score(made.is_right, made.confidence)
    )


def test_the_interval_of_auroc_covers_the_truth_and_calibration_passes_who_is_calibrated() -> None:
    big = verdicts(np.random.default_rng(10**6), 200_000)
    truth = auroc(big).value
    assert calibration_error(big).value < 0.01
    runs = [verdicts(np.random.default_rng(seed), 600) for seed in range(300)]
    hits = [auroc(run).low <= truth <= auroc(run).high for run in runs]
    assert 0.92 <= np.mean(hits) <= 0.98
    assert np.mean([calibration_error(run).high <= 0.10 for run in runs[:40]]) >= 0.95
    lax = [verdicts(np.random.default_rng(seed), 600, 0.15) for seed in range(40)]
    assert np.mean([calibration_error(run).high <= 0.10 for run in lax]) <= 0.05


def test_a_judge_that_does_not_tell_and_one_without_mistakes_are_not_measured() -> None:
    silent = Verdicts(("a", "b"), np.array([1, 2]), np.array([1, 1]), np.array([1, 1]))
    assert not calibration_error(silent).is_known
    assert not auroc(silent).is_known
    assert curve(silent) == []
    sure = Verdicts(("a", "b"), np.array([1, 2]), np.array([1, 2]), np.array([1, 2]), confidence=np.ones(2))  # fmt: skip
    assert calibration_error(sure).value == 0
    assert not auroc(sure).is_known


def test_the_bins_of_the_curve_hold_every_claim_once() -> None:
    known = verdicts(np.random.default_rng(0), 500)
    bins = curve(known)
    assert sum(one.right.items for one in bins) == 500
    assert [one.confidence for one in bins] == sorted(one.confidence for one in bins)


def grouped(said: dict[str, int]) -> Verdicts:
    values = np.array(list(said.values()))
    return Verdicts(tuple(said), np.ones(len(said), dtype=np.int64), values, values)


def test_every_triple_of_verdicts_is_circular_just_where_a_slow_look_says_so() -> None:
    circular = 0
    for ab, bc, ac in itertools.product((0, 1, 2, UNSCORED), repeat=3):
        found = intransitivity(grouped({"g/0-1": ab, "g/1-2": bc, "g/0-2": ac}))
        if UNSCORED in (ab, bc, ac):
            assert found.items == 0
            continue
        beats = {(0, 1): ab == 1, (1, 0): ab == 2, (1, 2): bc == 1, (2, 1): bc == 2, (0, 2): ac == 1, (2, 0): ac == 2}  # fmt: skip
        slow = any(beats[a, b] and beats[b, c] and beats[c, a] for a, b, c in itertools.permutations(range(3)))  # fmt: skip
        assert found.value == float(slow)
        circular += slow
    assert circular == 2


def test_the_best_of_four_must_beat_all_others() -> None:
    won = {"g/0-1": 1, "g/0-2": 1, "g/0-3": 1, "g/1-2": 0}
    assert best_of_accuracy(grouped(won)).value == 1
    for name, said in (("g/0-2", 0), ("g/0-3", 2), ("g/0-1", UNSCORED)):
        assert best_of_accuracy(grouped({**won, name: said})).value == 0
    # A group without any scored verdict is a failure as well, and not left out.
    assert best_of_accuracy(grouped(dict.fromkeys(won, UNSCORED))).value == 0


def played(rng: Rng, items: int, theta: float, phi: float) -> tuple[NDArray[np.float64], ...]:
    lengths = rng.integers(50, 2_000, (2, items)).astype(float)
    gap = lengths[0] - lengths[1]
    chance = 1 / (1 + np.exp(-(theta + phi * np.tanh(gap / gap.std()))))
    wins = (rng.random(items) < chance).astype(float)
    wins[rng.random(items) < 0.1] = 0.5
    return wins, lengths[0], lengths[1]


@pytest.mark.parametrize("seed", range(3))
def test_the_length_controlled_win_rate_is_that_of_scikit_learns_regression(seed: int) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    wins, one, two = played(np.random.default_rng(seed), 400, 0.3, 1.2)
    gap = one - two
    feature = np.tanh(gap / gap.std())[:, None]
    # A tie is half a win and half a loss.
    rows = np.concatenate([feature, feature])
    won = np.concatenate([np.ones(400), np.zeros(400)])
    weight = np.concatenate([wins, 1 - wins])
    model = linear.LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    model.fit(rows[weight > 0], won[weight > 0], sample_weight=weight[weight > 0])
    found = win_rate(wins, one, two)
    assert found.controlled.value == pytest.approx(
        1 / (1 + math.exp(-float(model.intercept_[0]))), abs=1e-5
    )
    assert found.length_effect.value == pytest.approx(float(model.coef_[0, 0]), abs=1e-4)


def test_what_is_won_by_length_alone_is_taken_out_and_the_interval_covers() -> None:
    hits, raw = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        lengths = rng.integers(50, 1_000, (2, 400)).astype(float)
        lengths[0] += 400  # system 1 talks more, and is no better
        gap = lengths[0] - lengths[1]
        chance = 1 / (1 + np.exp(-1.5 * np.tanh(gap / gap.std())))
        found = win_rate((rng.random(400) < chance).astype(float), *lengths)
        hits.append(found.controlled.low <= 0.5 <= found.controlled.high)
        raw.append(found.raw.value)
    assert np.mean(raw) > 0.65
    assert 0.92 <= np.mean(hits) <= 0.98


def test_where_length_decides_everything_nothing_is_said_at_equal_length() -> None:
    one, two = np.array([5.0, 9, 3, 8] * 5), np.array([9.0, 5, 8, 3] * 5)
    decided = win_rate((one > two).astype(float), one, two)
    assert decided.raw.value == 0.5
    assert not decided.controlled.is_known
    always = win_rate(np.ones(20), one, two)
    assert always.raw.value == 1
    assert not always.controlled.is_known
    equal = win_rate(np.array([1.0, 0, 1, 0.5]), np.full(4, 7.0), np.full(4, 7.0))
    assert equal.controlled.value == equal.raw.value == 0.625
    with pytest.raises(ValueError, match="same pairs"):
        win_rate(np.ones(3), one, two)


def test_so_many_labels_decide_in_four_of_five_draws() -> None:
    """The number that is named, drawn again and again, decides as often as it says."""

    def world(seed: int, labels: int) -> tuple[NDArray[np.float64], ...]:
        rng = np.random.default_rng(seed)
        truth = (rng.random(labels + 4_000) < 0.58).astype(float)
        judged = np.where(rng.random(len(truth)) < 0.8, truth, 1 - truth)
        return truth[:labels], judged[:labels], judged[labels:]

    few = [labels_to_decide(*world(seed, 2_000)) for seed in range(30)]
    needed = [one.with_judge for one in few if one.with_judge is not None]
    assert len(needed) == 30
    number = int(np.median(needed))
    assert number < np.median([one.alone or 0 for one in few])
    decided = []
    for seed in range(400):
        figure = powered_mean(*world(10_000 + seed, number)).figure
        decided.append(not figure.low <= 0.5 <= figure.high)
    assert 0.70 <= np.mean(decided) <= 0.90


def test_labels_that_cannot_decide_are_not_asked_for() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(1_060) < 0.5).astype(float)
    truth[:60] = np.tile([0.0, 1.0], 30)  # people see no difference at all
    judged = truth.copy()
    judged[60:] = np.tile([0.0, 1.0], 500)
    found = labels_to_decide(truth[:60], judged[:60], judged[60:])
    assert found.with_judge is None
    assert found.alone is None
    assert not found.is_decided
