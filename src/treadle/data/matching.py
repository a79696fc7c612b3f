"""Random rows that look like chosen rows in one respect: how long they are.

A method that likes long replies may win for their length alone. Against a random draw with the same
histogram of lengths, whatever it wins by is something else.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.data.selection import Selection, has_length

BINS = 20


def length_matched(
    chosen: Selection, rows: pl.DataFrame, rng: np.random.Generator, *, bins: int = BINS
) -> Selection:
    """Draw as many random rows as were chosen, from the same bins of reply length.

    Bins hold equal numbers of the pool's rows, by `length`. A bin from which nearly everything was
    chosen can only give the same rows again: where the two draws overlap much, length alone made the
    choice.

    Returns:
        The drawn rows in random order; all others are left as `over_budget` or `unscored`.
    """
    rows = rows.sort("id")
    may = has_length(rows) & rows["length"].is_not_null().to_numpy()
    bin_N = _bins(rows["length"].cast(pl.Float64).fill_null(0.0).to_numpy(), may, bins)
    inside = rows["id"].is_in(chosen.ids).to_numpy() & may
    wanted = np.bincount(bin_N[inside], minlength=bins)
    mixed = rng.permutation(np.flatnonzero(may))
    drawn = [mixed[bin_N[mixed] == b][:count] for b, count in enumerate(wanted)]
    picked = rng.permutation(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)
    left = dict.fromkeys(np.flatnonzero(~may).tolist(), "unscored")
    return Selection.of(rows, picked.tolist(), "random, of the same length", left=left)


def _bins(values_N: NDArray[np.float64], may_N: NDArray[np.bool_], bins: int) -> NDArray[np.int64]:
    """Number each row's bin: quantiles of the rows that may be drawn."""
    if not may_N.any():
        return np.zeros(len(values_N), dtype=np.int64)
    edges = np.quantile(values_N[may_N], np.arange(1, bins) / bins)
    return np.searchsorted(edges, values_N, side="right")
