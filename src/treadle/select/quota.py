"""Quotas: the budget shared over the values of a column, each value filled on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.randomness import draw
from treadle.data.ranking import rank
from treadle.data.selection import (
    UNSCORED,
    Budget,
    Selection,
    has_length,
    labels,
    tokens_of,
)
from treadle.errors import DataError, nearest
from treadle.op import select

NO_SHARE = "no_share"

Shares = Annotated[
    dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)
]


@select(
    reference="Sainte-Laguë's apportionment; source-balanced random as in arXiv:2503.01807",
    cost="two sorts, beyond the feature that orders the rows",
    needs=lambda options: (options["by"], *([options["order"]] if options["order"] else [])),
    draws=lambda options: options["order"] is None,
)
def quota(
    *,
    by: str,
    shares: Literal["equal", "proportional"] | Shares = "equal",
    order: str | None = None,
    ascending: bool = False,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Give each value of a column its share of the budget, and fill each with its best rows.

    `quota(by="source")` is source-balanced random: as many rows of each source, drawn by chance. With
    `order`, each source gives its best rows, so a score that favours one source cannot crowd out the
    others. Shares are of rows, under a token budget of tokens. A value that has no rows left hands
    its share on to the others in proportion to theirs. Equal shares raise rare values far above
    their weight in the pool: a source of ten rows is taken whole, broken rows included.

    Rows are merged one by one, each from the value that is furthest behind its share, so every
    smaller budget holds its shares too, to within about a row for each value.

    Args:
        by: a column whose values are to share the budget; each distinct value counts, so bin
            numbers first.
        shares: `equal`; `proportional` to the rows (or tokens) of each value; or a share for each
            value that may be chosen, in any unit (`{math: 2, chat: 1}`).
        order: a measure, or a numeric column, that orders the rows of a value, highest first;
            without it, chance does.
        ascending: take the lowest first.

    Raises:
        DataError: the column holds lists or the like, not single values; or `shares` names a value
            that no row has.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        groups = labels(rows, by)
        may = has_length(rows) & groups.is_not_null().to_numpy()
        if order is None:
            key = context.rng("select.quota").bytes(32)
            walk = np.array(draw(rows["id"].to_list(), key), dtype=np.int64)
        else:
            walk = rank(rows, order, ascending=ascending).order
            may &= np.isin(np.arange(rows.height), walk)
        left = dict.fromkeys(np.flatnonzero(~may).tolist(), UNSCORED)
        if isinstance(shares, Mapping):
            absent = sorted(set(shares) - set(groups.drop_nulls()))
            if absent and rows.height:
                raise DataError(
                    f"select.quota: shares names {', '.join(map(repr, absent))}, and no row has that "
                    f"value of {by!r}.{nearest(absent[0], groups.drop_nulls().unique())}"
                )
            is_named = groups.is_in(list(shares)).fill_null(False).to_numpy()
            left |= dict.fromkeys(np.flatnonzero(may & ~is_named).tolist(), NO_SHARE)
            may &= is_named
        walk, tokens, sizes = walk[may[walk]], tokens_of(rows), np.ones(rows.height)
        if budget.token_limit is not None:
            walk, sizes = walk[tokens[walk] <= budget.token_limit], tokens.astype(np.float64)
        merged, places = _merge(walk, groups.gather(walk), sizes[walk], shares)
        chosen = budget.take(merged, tokens)
        at = dict(zip(merged.tolist(), places.tolist(), strict=True))
        how = f"by {order}" if order else "by chance"
        why = [f"{by} {groups[i]}, row {at[i] + 1} {how}" for i in chosen]
        return Selection.of(rows, chosen, why, left=left)

    return choose


def _merge(
    walk: NDArray[np.int64],
    groups: pl.Series,
    sizes: NDArray[np.float64],
    shares: Literal["equal", "proportional"] | Mapping[str, float],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Merge the groups of a walk by their shares; return the rows and each one's place in its group.

    A row comes when its group has filled half of it: at (size before it + half its size) / share.
    With rows of size 1 that is Sainte-Laguë's method. Ties go by the group's name.
    """
    frame = pl.DataFrame({"row": walk, "group": groups, "size": sizes})
    before = pl.col("size").cum_sum() - pl.col("size")
    if shares == "proportional":
        share = pl.col("size").sum().over("group")
    elif shares == "equal":
        share = pl.lit(1.0)
    else:
        share = pl.col("group").replace_strict(dict(shares), return_dtype=pl.Float64)
    frame = frame.with_columns(
        place=pl.int_range(pl.len()).over("group"),
        at=(before.over("group") + pl.col("size") / 2) / share,
    )
    frame = frame.sort("at", "group", "place")
    return frame["row"].to_numpy(), frame["place"].to_numpy()
