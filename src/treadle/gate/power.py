"""How many items and seeds a difference needs to be seen: what a held verdict tells people to buy.

    needed_items(0.02, error_items=0.011, error_seeds=0.004, items=120, seeds=3)     about 600

The figures are for the gate's own test (see `statistics`), with the variances seen so far, which
are themselves uncertain: they say whether to buy twice or ten times as much, not the last item.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

POWER = 0.8
MOST_ITEMS = 1_000_000
MOST_SEEDS = 50

Floats = NDArray[np.float64]


def power(
    effect: float, error_items: float, error_seeds: float, seeds: int, alpha: float = 0.05
) -> float:
    """Return the chance that the gate finds a true difference of this size.

    The seeds' spread is estimated anew in every experiment, so the test's threshold varies: average
    over the chi-square distribution of that estimate. Takes the items' mean as normal: with a few
    large losses among many small gains the true chance is lower (0.72 for 0.8 at a skewness of -2).
    """
    total = math.hypot(error_items, error_seeds)
    if total == 0:
        return 1.0 if effect > 0 else 0.0
    if seeds < 2 or error_seeds == 0:
        threshold = np.array([error_items * special.ndtri(1 - alpha)])
    else:
        spread = error_seeds * np.sqrt(_chi_square(seeds - 1) / (seeds - 1))
        threshold = thresholds(error_items, spread, seeds - 1, alpha)
    return float(special.ndtr((effect - threshold) / total).mean())


def thresholds(error_items: float, error_seeds: Floats, freedom: int, alpha: float) -> Floats:
    """Return the 1 - alpha quantile of error_items * normal + error_seeds * t(freedom)."""
    if error_items == 0:
        return np.asarray(error_seeds * float(special.stdtrit(freedom, 1 - alpha)))
    draws = _student(freedom)
    low = np.zeros_like(error_seeds)
    # the sum passes both parts' 1 - alpha / 2 quantiles with a chance of alpha at the most
    high = error_items * special.ndtri(1 - alpha / 2)
    high = high + error_seeds * special.stdtrit(freedom, 1 - alpha / 2)
    for _ in range(30):
        middle = (low + high) / 2
        below = special.ndtr((middle[:, None] - error_seeds[:, None] * draws) / error_items)
        is_low = below.mean(axis=1) < 1 - alpha
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    return np.asarray((low + high) / 2)


@cache
def _student(freedom: int) -> Floats:
    """Equally likely values of Student's t."""
    found: Floats = special.stdtrit(freedom, (np.arange(300) + 0.5) / 300)
    return found


@cache
def _chi_square(freedom: int) -> Floats:
    """Equally likely values of chi-square."""
    found: Floats = special.chdtri(freedom, (np.arange(30) + 0.5) / 30)
    return found


def needed_items(
    effect: float,
    *,
    error_items: float,
    error_seeds: float,
    items: int,
    seeds: int,
    alpha: float = 0.05,
    error_answers: float = 0.0,
) -> int | None:
    """Return how many items of this kind show the effect at 80% power, with the same seeds.

    More items lessen the luck of items and of answers (a part of `error_seeds`), never that of
    training. None if even a million would not do.
    """
    training = max(0.0, error_seeds**2 - error_answers**2)

    def enough(count: int) -> bool:
        share = items / count
        seen = math.sqrt(training + error_answers**2 * share)
        return power(effect, error_items * math.sqrt(share), seen, seeds, alpha) >= POWER

    return _smallest(enough, 1, MOST_ITEMS)


def needed_seeds(
    effect: float, *, error_items: float, error_seeds: float, seeds: int, alpha: float = 0.05
) -> int | None:
    """Return how many training seeds an arm show the effect at 80% power, with the same items.

    None if even fifty would not do, or if fewer than two seeds leave their spread unknown.
    """
    if seeds < 2:
        return None

    def enough(count: int) -> bool:
        scaled = error_seeds * math.sqrt(seeds / count)
        return power(effect, error_items, scaled, count, alpha) >= POWER

    return _smallest(enough, 2, MOST_SEEDS)


def _smallest(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
