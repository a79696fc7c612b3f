"""Rank rows by one number, and say in words where each row ended.

    ranking = rank(rows, "ifd", drop_above=1.0)
    ranking.order          positions, best first; equal values in the order of their ids
    ranking.reason(0)      'ifd 0.83, rank 1'
    ranking.left           {7: 'unscored', 9: 'ifd_above_1'}

Rows must be sorted by id. What several selectors need of a ranking lives here, because selectors
do not import one another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.data.selection import UNSCORED, has_length, scored

IFD_LIMIT = 1.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """Positions of the rows that may be chosen, best first, and why all others may not."""

    feature: str
    order: NDArray[np.int64]
    values: NDArray[np.float64]
    left: dict[int, str]

    def reason(self, place: int) -> str:
        """Say why the row at this place (from 0) is where it is; ranks in words start at 1."""
        value = figure(float(self.values[self.order[place]]))
        return f"{self.feature} {value}, rank {place + 1}"

    def reasons(self, positions: Sequence[int]) -> list[str]:
        """Return the reasons of rows given by position."""
        places = np.empty(len(self.values), dtype=np.int64)
        places[self.order] = np.arange(len(self.order))
        return [self.reason(int(places[i])) for i in positions]


def rank(
    rows: pl.DataFrame,
    by: str,
    *,
    ascending: bool = False,
    drop_above: float | None = None,
    drop_below: float | None = None,
) -> Ranking:
    """Rank rows by a feature: highest first, or lowest first if `ascending`.

    Rows without a value or without a known length are left as `unscored`; rows past a limit as
    `<feature>_above_<limit>` or `<feature>_below_<limit>`. A value at the limit itself stays.
    """
    values, is_scored = scored(rows, by)
    may = is_scored & has_length(rows)
    left = dict.fromkeys(np.flatnonzero(~may).tolist(), UNSCORED)
    for limit, word in ((drop_above, "above"), (drop_below, "below")):
        if limit is not None:
            past = may & ((values > limit) if word == "above" else (values < limit))
            left |= dict.fromkeys(np.flatnonzero(past).tolist(), snake(f"{by}_{word}_{limit:g}"))
            may &= ~past
    inside = np.flatnonzero(may)
    keys = values[inside] if ascending else -values[inside]
    return Ranking(by, inside[np.argsort(keys, kind="stable")], values, left)


def upper_limit(by: str, drop_above: float | None) -> float | None:
    """Return the limit above which rows are dropped: for IFD, 1 unless another is given.

    An IFD above 1 says that the answer is less likely with its instruction than without: mostly a
    mismatched pair, and the first that a highest-first selection would take.
    """
    return IFD_LIMIT if drop_above is None and by == "ifd" else drop_above


def figure(value: float) -> str:
    """Format a number for a reason: three significant digits, whole numbers whole."""
    if value == 0:
        return "0"
    return f"{value:.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"


def snake(text: str) -> str:
    """Turn a text into a snake_case reason: `Score A_above_-0.5` becomes `score_a_above_minus_0_5`."""
    text = re.sub(r"-(?=[0-9])", "minus_", text.lower())
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_")
