"""Ratings as a few whole levels, which is what repairing them by their neighbours needs.

levels(rows, "quality", "whole")        4.6 -> 5
levels(rows, "quality", "ten_to_five")  1..4 -> 0, 5 -> 1, ... 8 -> 4, 9 and 10 -> 5 (DS2)
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.data.selection import scored
from treadle.errors import DataError

Scale = Literal["whole", "ten_to_five"]
MOST_LEVELS = 12


def levels(
    rows: pl.DataFrame, by: str, scale: Scale
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return each row's rating as a whole number, and which rows have one.

    Raises:
        DataError: there is no such column, it holds no numbers, or more levels than a rating has.
    """
    values, is_scored = scored(rows, by)
    whole = np.rint(values)
    if scale == "ten_to_five":
        whole = np.clip(whole - 4, 0, 5)
    found = np.unique(whole[is_scored])
    if len(found) > MOST_LEVELS:
        raise DataError(
            f"{by}: {len(found)} whole levels, from {found[0]:g} to {found[-1]:g}. A rating has at "
            f"most {MOST_LEVELS}, such as 0 to 5; this looks like a score without levels. Name a "
            "rating, or rank by the score itself with `top`."
        )
    return whole, is_scored
