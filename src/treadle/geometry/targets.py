"""Target rows as a selector reads them: those that are scored, in the order of group and id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.data.selection import labels, vectors
from treadle.errors import DataError
from treadle.geometry.cosine import Grid, directions

NO_GROUP = "(none)"


@dataclass(frozen=True, slots=True)
class Targets:
    """Ids and vectors of the target rows; group g starts at `starts[g]` and is called `names[g]`."""

    ids: list[str]
    points: NDArray[np.float32]
    starts: NDArray[np.int64]
    names: list[str]

    @property
    def grid(self) -> Grid:
        """Their directions."""
        return directions(self.points)

    def group(self, g: int) -> slice:
        """Return where the target rows of a group are."""
        return slice(int(self.starts[g]), int(np.append(self.starts, len(self.ids))[g + 1]))


def scored_targets(target: pl.DataFrame, is_scored: NDArray[np.bool_], name: str) -> pl.DataFrame:
    """Return the target rows that have a feature.

    Raises:
        DataError: none has.
    """
    if not is_scored.any():
        raise DataError(
            f"select: none of the {target.height} target rows has a {name!r}, so no row can be like "
            "them. Check the file of target rows."
        )
    return target.filter(pl.Series(is_scored))


def vector_targets(
    target: pl.DataFrame, on: str, width: int, *, each: bool = False, group: str | None = None
) -> Targets:
    """Read the target rows' vectors, in groups.

    Args:
        width: that of the pool's vectors (0: the pool has none).
        each: without `group`, whether each target row is a group of its own, or all are one.
        group: a column of the target rows; rows without a value form a group of their own.

    Raises:
        DataError: no target row has a vector, they are of another width than the pool's, or `group`
            holds lists.
    """
    points, is_scored = vectors(target, on)
    is_scored &= points.any(axis=1)
    target = scored_targets(target, is_scored, on)
    points = points[is_scored]
    if width not in (0, points.shape[1]):
        raise DataError(
            f"select: {on!r} of the target rows has width {points.shape[1]}, that of the pool "
            f"{width}. Measure both with the same model and settings."
        )
    groups = _group_labels(target, group)
    order = pl.DataFrame([groups, target["id"]]).with_row_index().sort("group", "id")
    ids, names = order["id"].to_list(), order["group"].to_list()
    changes = [i for i in range(len(ids)) if i == 0 or names[i] != names[i - 1]]
    starts = list(range(len(ids))) if each and group is None else changes
    return Targets(
        ids, points[order["index"].to_numpy()], np.array(starts), [names[i] for i in starts]
    )


def _group_labels(target: pl.DataFrame, group: str | None) -> pl.Series:
    if group is None:
        return pl.Series("group", [""] * target.height)
    return labels(target, group).fill_null(NO_GROUP).alias("group")
