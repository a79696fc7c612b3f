"""Prediction-powered inference: many verdicts of a judge and few labels of people, as one estimate.

A judge's mean alone is biased by as much as the judge is, and its interval can miss the truth every
time. The labels of a few items, judged as well, tell by how much; `tuning` (PPI++) weighs the
judge by how well it follows people, so the interval is never wider than that of the labels alone
but for the noise of the weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.errors import DataError
from treadle.judge.figures.proportions import Figure, mean, normal_quantile

Floats = NDArray[np.float64]
FEWEST_LABELS = 50


@dataclass(frozen=True, slots=True)
class PoweredMean:
    """The estimate, beside what people alone and the judge alone would say."""

    figure: Figure
    weight: float
    people_only: Figure
    judge_only: Figure


def powered_mean(
    people: Floats, judge_on_labelled: Floats, judge_on_rest: Floats, *, level: float = 0.95
) -> PoweredMean:
    """Estimate the mean that people would give over all items (arXiv:2311.01453, the mean).

    Args:
        people: labels of n items, one number each.
        judge_on_labelled: the judge's verdicts on the same items, in the same order.
        judge_on_rest: its verdicts on N other items, drawn from the same source.

    Raises:
        DataError: fewer labels than `FEWEST_LABELS`, missing values, or unequal lengths.
    """
    n, rest = len(people), len(judge_on_rest)
    if len(judge_on_labelled) != n:
        raise DataError(
            f"{n} labels and {len(judge_on_labelled)} verdicts on them: they must match."
        )
    if n < FEWEST_LABELS or rest < 2:
        raise DataError(
            f"{n} labels and {rest} further verdicts: at least {FEWEST_LABELS} labels and 2 verdicts "
            "are needed. With fewer, report the labels alone."
        )
    for values in (people, judge_on_labelled, judge_on_rest):
        if np.isnan(values).any():
            raise DataError("a label or verdict is missing. Leave such items out and say how many.")
    everything = np.concatenate([judge_on_labelled, judge_on_rest])
    spread = float(everything.var(ddof=1))
    together = float(np.cov(people, judge_on_labelled, ddof=1)[0, 1])
    weight = 0.0 if spread == 0 else together / ((1 + n / rest) * spread)
    weight = min(1.0, max(0.0, weight))
    corrected = people - weight * judge_on_labelled
    value = weight * float(judge_on_rest.mean()) + float(corrected.mean())
    error = math.sqrt(
        weight**2 * float(judge_on_rest.var(ddof=1)) / rest + float(corrected.var(ddof=1)) / n
    )
    half = normal_quantile(level) * error
    figure = Figure(value, value - half, value + half, n + rest)
    return PoweredMean(figure, weight, mean(people, level=level), mean(everything, level=level))


@dataclass(frozen=True, slots=True)
class LabelsToDecide:
    """How many labels in all it takes to tell a mean from a threshold; None: more than can help.

    `alone` counts labels without the judge. `is_decided`: the interval leaves the threshold out already.
    """

    with_judge: int | None
    alone: int | None
    is_decided: bool


def labels_to_decide(
    people: Floats,
    judge_on_labelled: Floats,
    judge_on_rest: Floats,
    *,
    threshold: float = 0.5,
    level: float = 0.95,
    power: float = 0.80,
) -> LabelsToDecide:
    """Say how many labels decide on which side of a threshold the mean lies, if it is where it seems.

    The error of the estimate is that of the judge's many verdicts, which labels do not reduce, and that of
    the labels, which falls with their number:

        n = spread of (people - weight * judge) / ((gap / (z + z_power))^2 - weight^2 * spread of judge / N)

    Raises:
        DataError: as `powered_mean`.
    """
    found = powered_mean(people, judge_on_labelled, judge_on_rest, level=level)
    corrected = people - found.weight * judge_on_labelled
    fixed = found.weight**2 * float(judge_on_rest.var(ddof=1)) / len(judge_on_rest)
    reach = normal_quantile(level) + normal_quantile(2 * power - 1)
    is_decided = not found.figure.low <= threshold <= found.figure.high

    def needed(gap: float, spread: float, fixed: float) -> int | None:
        room = (gap / reach) ** 2 - fixed
        return None if room <= 0 else max(FEWEST_LABELS, math.ceil(spread / room))

    return LabelsToDecide(
        needed(found.figure.value - threshold, float(corrected.var(ddof=1)), fixed),
        needed(found.people_only.value - threshold, float(people.var(ddof=1)), 0.0),
        is_decided,
    )
