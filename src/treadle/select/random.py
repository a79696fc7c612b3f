"""Random rows: the control that every selector must beat, and often does not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.context import Context
from treadle.data.randomness import draw
from treadle.data.selection import UNSCORED, Budget, Selection, has_length, scored, tokens_of
from treadle.errors import DataError
from treadle.op import select

BINS = 10


@select(
    reference="arXiv:2410.15225",
    cost="one hash a row",
    needs=lambda options: (options["like"],) if options["like"] else (),
    draws=True,
)
def random(*, like: str | None = None) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose rows by chance, each with the same chance.

    A row's place in the draw is a hash of the run's seed and its id: it depends neither on the
    order of the rows nor on which other rows there are, so a pool that grows keeps most of its
    draw. One draw is one sample of luck: compare with at least three seeds.

    Args:
        like: a column in which the choice must look like the whole pool, at any size: each text
            value (or tenth of the numbers) gets its share. Lowers the luck, changes no chance.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        may = has_length(rows)
        groups = np.zeros(rows.height, dtype=np.int64)
        if like is not None:
            groups, is_known = _groups(rows, like)
            may &= is_known
        left = dict.fromkeys(np.flatnonzero(~may).tolist(), UNSCORED)
        key = context.rng("select.random").bytes(32)
        drawn = [i for i in draw(rows["id"].to_list(), key) if may[i]]
        if like is not None:
            drawn = _interleave(drawn, groups, key)
        chosen = budget.take(drawn, tokens_of(rows))
        places = {i: place for place, i in enumerate(drawn)}
        return Selection.of(
            rows, chosen, [f"random draw {places[i] + 1}" for i in chosen], left=left
        )

    return choose


def _groups(rows: pl.DataFrame, like: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Number the values of a column: each text its own group, numbers in ten bins of equal size."""
    if like in rows.columns and rows[like].dtype == pl.String:
        known = rows[like].is_not_null().to_numpy()
        return rows[like].fill_null("").rank("dense").cast(pl.Int64).to_numpy(), known
    try:
        values, known = scored(rows, like)
    except DataError as error:
        raise DataError(f"select.random: like: {error}") from error
    if not known.any():
        return np.zeros(rows.height, dtype=np.int64), known
    edges = np.quantile(values[known], np.arange(1, BINS) / BINS)
    return np.searchsorted(edges, np.where(known, values, 0.0), side="right"), known


def _interleave(drawn: list[int], groups: NDArray[np.int64], key: bytes) -> list[int]:
    """Reorder a draw so that each group is spread evenly over it: member m of n goes to (m + u) / n.

    The offset u is drawn for each group, so that small groups do not all wait for the middle.
    """
    seen: dict[int, int] = {}
    sizes = np.bincount(groups[drawn], minlength=1) if drawn else np.zeros(1, dtype=np.int64)
    at: dict[int, float] = {}
    for i in drawn:
        group = int(groups[i])
        digest = hashlib.blake2b(str(group).encode(), digest_size=8, key=key).digest()
        offset = int.from_bytes(digest, "big") / 2**64
        at[i] = (seen.get(group, 0) + offset) / int(sizes[group])
        seen[group] = seen.get(group, 0) + 1
    return sorted(drawn, key=lambda i: at[i])
