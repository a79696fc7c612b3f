"""The figures of the reliability benchmark: what a judge gets right, and what sways it.

Each takes verdicts and returns an estimate with a 95% interval. A verdict that could not be read is
not right, but it is no verdict for the other answer either: it counts against accuracy and is left
out of biases.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from treadle.judge.figures.agreement import cohen_kappa
from treadle.judge.figures.proportions import Figure, difference, mean, share
from treadle.judge.figures.verdicts import UNSCORED, Verdicts

Floats = NDArray[np.float64]
RESAMPLES = 1_000


def scored(verdicts: Verdicts) -> Figure:
    """The share of pairs on which both orders gave a verdict that could be read."""
    return share(verdicts.is_scored)


def accuracy(verdicts: Verdicts, *, swapped: bool = False) -> Figure:
    """The share of labelled pairs that one order gets right; pairs labelled a tie do not count."""
    known = verdicts.where(verdicts.label != 0)
    return share((known.second if swapped else known.first) == known.label)


def both_order_accuracy(verdicts: Verdicts) -> Figure:
    """The share of pairs that are right in both orders. Chance has 0.25, a coin that sticks 0.5."""
    known = verdicts.where(verdicts.label != 0)
    return share((known.first == known.label) & (known.second == known.label))


def consistency(verdicts: Verdicts) -> Figure:
    """The share of scored pairs on which both orders say the same. High is not right: see accuracy."""
    known = verdicts.where(verdicts.is_scored)
    return share(known.first == known.second)


def position_bias(verdicts: Verdicts) -> Figure:
    """P(the answer shown first wins) - 1/2. Every pair is shown both ways, so it owes nothing to labels.

    A tie counts half for each place.
    """
    known = verdicts.where(verdicts.is_scored)
    places = _won(known.first, 1) + _won(known.second, 2)
    return mean(places / 2 - 0.5)


def first_answer_wins(verdicts: Verdicts) -> Figure:
    """The share of verdicts that answer 1 of a pair wins, wherever it is shown; a tie is half a win."""
    known = verdicts.where(verdicts.is_scored)
    return mean((_won(known.first, 1) + _won(known.second, 1)) / 2)


def length_gap(verdicts: Verdicts) -> Figure:
    """Error rate where the shorter answer is right, minus that where the longer is.

    How often a judge picks the longer one is no measure of bias: people prefer it too, on PandaLM's
    pairs in 67%.
    """
    if verdicts.length_1 is None or verdicts.length_2 is None:
        return Figure.nothing()
    known = verdicts.where((verdicts.label != 0) & verdicts.is_scored)
    assert known.length_1 is not None
    assert known.length_2 is not None
    longer = np.where(known.length_1 > known.length_2, 1, 2)
    differ = known.length_1 != known.length_2
    errors = _errors(known)
    is_longer_right = known.label == longer
    return difference(errors[differ & ~is_longer_right], errors[differ & is_longer_right])


def self_preference(verdicts: Verdicts) -> Figure:
    """Error rate where the judge's own answer is the wrong one, minus that where the other is.

    Preferring one's own right answer is no fault; only this harmful part is counted.
    """
    if verdicts.own is None:
        return Figure.nothing()
    known = verdicts.where((verdicts.label != 0) & verdicts.is_scored & (verdicts.own > 0))
    assert known.own is not None
    errors = _errors(known)
    is_own_right = known.own == known.label
    return difference(errors[~is_own_right], errors[is_own_right])


def kappa(verdicts: Verdicts, *, seed: int = 0) -> Figure:
    """Cohen's kappa of the settled verdicts with the labels, ties included; percentile bootstrap."""
    known = verdicts.where(verdicts.is_scored)
    if len(known) < 2:
        return Figure.nothing()
    said, label = known.settled, known.label
    value = cohen_kappa(said.tolist(), label.tolist())
    if math.isnan(value):
        return Figure.nothing()
    codes = said * 3 + label
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(
        len(codes), np.bincount(codes, minlength=9) / len(codes), size=RESAMPLES
    )
    tables = counts.reshape(-1, 3, 3) / len(codes)
    expected = (tables.sum(axis=2) * tables.sum(axis=1)).sum(axis=1)
    observed = np.trace(tables, axis1=1, axis2=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = (observed - expected) / (1 - expected)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Figure(value, float(low), float(high), len(codes))


def robustness(verdicts: Verdicts, perturbed: Verdicts) -> Figure:
    """The share of verdicts that a change which keeps the label leaves as they are.

    Pairs are matched by name, each order for itself, so a pair counts 0, 1/2 or 1. A verdict that
    the change makes unreadable has not stayed.
    """
    place = {pair: i for i, pair in enumerate(verdicts.pair)}
    matched = [(place[pair], i) for i, pair in enumerate(perturbed.pair) if pair in place]
    if not matched:
        return Figure.nothing()
    before, after = (np.array(side) for side in zip(*matched, strict=True))
    kept = [
        np.where(old[before] == UNSCORED, np.nan, (old[before] == new[after]).astype(float))
        for old, new in ((verdicts.first, perturbed.first), (verdicts.second, perturbed.second))
    ]
    both = np.array(kept)
    values = both.mean(axis=0)[~np.isnan(both).any(axis=0)]
    if ((values == 0) | (values == 1)).all():
        return share(values == 1)
    return mean(values)


def shell_wins(verdicts: Verdicts) -> Figure:
    """The share of verdicts that an empty, gibberish or master-key answer wins. The label is the real one."""
    votes = np.concatenate([verdicts.first, verdicts.second])
    labels = np.concatenate([verdicts.label, verdicts.label])
    return share(((votes == 1) | (votes == 2)) & (votes != labels))


def _errors(known: Verdicts) -> Floats:
    """Return each pair's error rate over its two orders; a tie is half an error."""
    wrong = _won(known.first, 3 - known.label) + _won(known.second, 3 - known.label)
    return wrong / 2


def _won(verdict: NDArray[np.int64], answer: NDArray[np.int64] | int) -> Floats:
    return np.where(verdict == 0, 0.5, (verdict == answer).astype(float))
