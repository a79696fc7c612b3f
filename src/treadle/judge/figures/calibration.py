"""Whether a judge is right as often as it is sure: expected calibration error, AUROC of confidence.

What is held against the truth is the settled verdict: one that both orders agree on, with the mean of
their confidences. A tie claims nothing and is left out, and so is a judge that does not tell how sure it
is: it claims nothing either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from treadle.judge.figures.proportions import Figure, normal_quantile, share
from treadle.judge.figures.verdicts import Verdicts

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
BINS = 10
RESAMPLES = 1_000
FEWEST_OF_A_KIND = 10
"""With fewer right or wrong verdicts nobody can say whether confidence tells them apart."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Settled verdicts: how sure each was, and whether it was right."""

    confidence: Floats
    is_right: Flags

    def __len__(self) -> int:
        return len(self.confidence)


@dataclass(frozen=True, slots=True)
class Bin:
    """Verdicts of about the same confidence, and how often they are right."""

    confidence: float
    right: Figure


def claims(verdicts: Verdicts) -> Claims:
    """Return what a judge claimed: decided verdicts of known confidence on pairs of known label."""
    if verdicts.confidence is None:
        return Claims(np.empty(0), np.empty(0, dtype=bool))
    said = verdicts.settled
    known = (said > 0) & (verdicts.label > 0) & ~np.isnan(verdicts.confidence)
    return Claims(verdicts.confidence[known], said[known] == verdicts.label[known])


def calibration_error(verdicts: Verdicts, *, seed: int = 0) -> Figure:
    """The gap between confidence and accuracy, in ten bins of equal width, weighted by their verdicts.

    Percentile bootstrap. The estimate is never below the truth on average, since chance alone opens
    gaps: about 0.03 for a judge without any at 600 pairs.
    """
    made = claims(verdicts)
    if len(made) < 2:
        return Figure.nothing()
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(made), size=(RESAMPLES, len(made)))
    found = [_error(made.confidence[draw], made.is_right[draw]) for draw in draws]
    low, high = np.quantile(found, [0.025, 0.975])
    return Figure(_error(made.confidence, made.is_right), float(low), float(high), len(made))


def auroc(verdicts: Verdicts) -> Figure:
    """The chance that a right verdict is surer than a wrong one; ties count half. DeLong's interval."""
    made = claims(verdicts)
    right, wrong = made.confidence[made.is_right], made.confidence[~made.is_right]
    if min(len(right), len(wrong)) < FEWEST_OF_A_KIND:
        return Figure.nothing()
    # Where each verdict stands among those of the other kind, by ranks.
    together = stats.rankdata(np.concatenate([right, wrong]))
    of_right = (together[: len(right)] - stats.rankdata(right)) / len(wrong)
    of_wrong = (together[len(right) :] - stats.rankdata(wrong)) / len(right)
    value = float(of_right.mean())
    spread = of_right.var(ddof=1) / len(right) + of_wrong.var(ddof=1) / len(wrong)
    half = normal_quantile(0.95) * float(np.sqrt(spread))
    return Figure(value, max(0.0, value - half), min(1.0, value + half), len(made))


def curve(verdicts: Verdicts) -> list[Bin]:
    """Return the bins that hold any verdicts, for a plot."""
    made = claims(verdicts)
    place = _bins(made.confidence)
    return [
        Bin(float(made.confidence[place == i].mean()), share(made.is_right[place == i]))
        for i in np.unique(place)
    ]


def _error(confidence: Floats, is_right: Flags) -> float:
    """sum over bins of |verdicts right - confidence claimed|, over all verdicts."""
    gaps = np.bincount(_bins(confidence), weights=is_right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum()) / len(confidence)


def _bins(confidence: Floats) -> NDArray[np.int64]:
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
