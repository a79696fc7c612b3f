"""Intervals for shares and means of items."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate with its interval, and the number of items that it rests on."""

    value: float
    low: float
    high: float
    items: int

    @classmethod
    def nothing(cls) -> Figure:
        """No item speaks to it."""
        return cls(math.nan, math.nan, math.nan, 0)

    @property
    def is_known(self) -> bool:
        return self.items > 0 and not math.isnan(self.value)


def wilson(successes: int, items: int, *, level: float = 0.95) -> Figure:
    """Return a share with Wilson's score interval: honest near 0 and 1, where the usual one is not."""
    if items == 0:
        return Figure.nothing()
    z = normal_quantile(level)
    share = successes / items
    middle = (share + z * z / (2 * items)) / (1 + z * z / items)
    half = (
        z
        * math.sqrt(share * (1 - share) / items + z * z / (4 * items * items))
        / (1 + z * z / items)
    )
    return Figure(share, max(0.0, middle - half), min(1.0, middle + half), items)


def share(is_so: NDArray[np.bool_], *, level: float = 0.95) -> Figure:
    """Return the share of items on which something is so."""
    return wilson(int(is_so.sum()), len(is_so), level=level)


def mean(values: Floats, *, level: float = 0.95) -> Figure:
    """Return the mean of one number an item, with Student's interval."""
    count = len(values)
    if count < 2:
        return Figure.nothing() if count == 0 else Figure(float(values[0]), -math.inf, math.inf, 1)
    half = _student(count - 1, level) * float(values.std(ddof=1)) / math.sqrt(count)
    middle = float(values.mean())
    return Figure(middle, middle - half, middle + half, count)


def difference(ones: Floats, others: Floats, *, level: float = 0.95) -> Figure:
    """Return mean(ones) - mean(others) of independent items, with Welch's interval."""
    if len(ones) < 2 or len(others) < 2:
        return Figure.nothing()
    spread = [float(values.var(ddof=1)) / len(values) for values in (ones, others)]
    gap = float(ones.mean() - others.mean())
    items = len(ones) + len(others)
    if sum(spread) == 0:
        return Figure(gap, gap, gap, items)
    freedom = sum(spread) ** 2 / sum(
        s * s / (len(v) - 1) for s, v in zip(spread, (ones, others), strict=True)
    )
    half = _student(freedom, level) * math.sqrt(sum(spread))
    return Figure(gap, gap - half, gap + half, items)


def normal_quantile(level: float) -> float:
    """Return z of a two-sided interval: 1.96 at 0.95."""
    return float(special.ndtri(0.5 + level / 2))


def _student(freedom: float, level: float) -> float:
    return float(special.stdtrit(freedom, 0.5 + level / 2))
