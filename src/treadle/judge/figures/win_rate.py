"""The win rate that a system would have if its answers were as long as the other's.

Judges and people prefer longer answers, so a system gains by talking more. AlpacaEval 2 takes that gain
out (arXiv:2404.04475): a logistic regression of who wins on the difference in length,

    P(1 wins) = sigmoid(theta + phi * tanh(d / s))      d = length of answer 1 - length of answer 2

with s the standard deviation of d, and what it predicts at d = 0 is the length-controlled win rate. The
published form has a third term for how hard each instruction is, estimated over many systems; with two
systems there is nothing to estimate it from.

It controls for length alone, and takes the effect of length for a fault: where the longer answers are
really better for what they add, it takes away too much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.judge.figures.proportions import Figure, mean, normal_quantile

Floats = NDArray[np.float64]
STEPS = 60
STEEPEST = 15.0
"""A coefficient beyond this has no end: length, or nothing at all, separates wins from losses."""


@dataclass(frozen=True, slots=True)
class WinRate:
    """System 1's wins as they are, at equal length, and the log-odds that a longer answer gains.

    `controlled` and `length_effect` are nothing where the wins cannot be told from the lengths.
    """

    raw: Figure
    controlled: Figure
    length_effect: Figure


def win_rate(wins: Floats, length_1: Floats, length_2: Floats, *, level: float = 0.95) -> WinRate:
    """Estimate the win rate of system 1 (1: won, 0: lost, 1/2: tie), with intervals.

    The interval is the delta method's with a sandwich variance, which ties do not upset.

    Raises:
        ValueError: lengths and wins are not of the same pairs.
    """
    if not len(wins) == len(length_1) == len(length_2):
        raise ValueError("wins and lengths must be of the same pairs.")
    gap = length_1 - length_2
    scale = float(gap.std()) if len(gap) else 0.0
    raw = mean(wins, level=level)
    if scale == 0 or len(wins) < 3:
        return WinRate(raw, raw if scale == 0 else Figure.nothing(), Figure.nothing())
    design = np.column_stack([np.ones(len(wins)), np.tanh(gap / scale)])
    fitted = _fit(design, wins)
    if fitted is None:
        return WinRate(raw, Figure.nothing(), Figure.nothing())
    weights, covariance = fitted
    z = normal_quantile(level)
    theta, phi = (
        (float(weights[i]), z * math.sqrt(max(0.0, float(covariance[i, i])))) for i in (0, 1)
    )
    ends = (_sigmoid(theta[0]), _sigmoid(theta[0] - theta[1]), _sigmoid(theta[0] + theta[1]))
    return WinRate(
        raw, Figure(*ends, len(wins)),
        Figure(phi[0], phi[0] - phi[1], phi[0] + phi[1], len(wins)),
    )  # fmt: skip


def _fit(design: Floats, wins: Floats) -> tuple[Floats, Floats] | None:
    """Fit by Newton's method; None where the likelihood has no maximum."""
    weights = np.zeros(design.shape[1])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (wins - chance)
        bend = (design * (chance * (1 - chance))[:, None]).T @ design
        if np.linalg.cond(bend) > 1e12:
            return None
        step = np.linalg.solve(bend, slope)
        weights = weights + step
        if np.abs(weights).max() > STEEPEST:
            return None
        if np.abs(step).max() < 1e-10:
            break
    chance = 1 / (1 + np.exp(-design @ weights))
    bread = np.linalg.inv((design * (chance * (1 - chance))[:, None]).T @ design)
    meat = (design * ((wins - chance) ** 2)[:, None]).T @ design
    return weights, bread @ meat @ bread


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))
