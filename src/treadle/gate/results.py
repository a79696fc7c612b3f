"""Per-item results as matrices: for each arm, one row a seed and one column an item.

Items, seeds and clusters are numbered in sorted order, so the order of the results changes nothing.
An item without a score is NaN, never 0; one whose score is infinite counts as unscored too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.data.verdict import RESULT_SCHEMA
from treadle.errors import DataError, nearest

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """One arm's `score` and `value`, seed by item (NaN: unscored)."""

    scores: Floats
    values: Floats

    @property
    def seeds(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Results:
    """All arms on the same items, and the number of each item's cluster."""

    arms: dict[str, Scores]
    items: tuple[str, ...]
    clusters: NDArray[np.int64]

    def arm(self, name: str) -> Scores:
        """Return one arm.

        Raises:
            DataError: the results do not hold it.
        """
        if name not in self.arms:
            raise DataError(
                f"gate.paired: the results hold no arm {name!r}, so there is nothing to compare "
                f"with.{nearest(name, self.arms)}"
            )
        return self.arms[name]


def read_results(frame: pl.DataFrame) -> Results:
    """Turn results (RESULT_SCHEMA) into matrices.

    Raises:
        DataError: a column is missing, an arm, seed or item is unnamed, or a result is there twice.
    """
    for name in RESULT_SCHEMA:
        if name not in frame.columns:
            raise DataError(f"gate.paired: the results have no column {name!r}.")
    keys = frame.select("arm", "seed", "item")
    if sum(keys.null_count().row(0)):
        raise DataError("gate.paired: a result does not name its arm, seed and item.")
    twice = keys.filter(keys.is_duplicated())
    if twice.height:
        arm, seed, item = twice.row(0)
        raise DataError(f"gate.paired: arm {arm!r}, seed {seed}, item {item!r} is there twice.")
    items, clusters = _clusters(frame)
    place = {item: i for i, item in enumerate(items)}
    columns = np.array([place[item] for item in frame["item"]], dtype=np.int64)
    frame = frame.with_columns(pl.Series("_item", columns, dtype=pl.Int64))
    parts = sorted(frame.partition_by("arm"), key=lambda part: str(part["arm"][0]))
    arms = {str(part["arm"][0]): _scores(part, len(items)) for part in parts}
    return Results(arms, items, clusters)


def _clusters(frame: pl.DataFrame) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Number the clusters of the sorted items; an item without a source stands alone."""
    sources = frame.group_by("item").agg(pl.col("source").min()).sort("item")
    own = pl.concat_str(pl.lit("item "), "item")
    names = sources.select(pl.coalesce(pl.concat_str(pl.lit("source "), "source"), own))
    codes = names.to_series().rank("dense").cast(pl.Int64).to_numpy()
    return tuple(sources["item"].to_list()), codes


def _scores(part: pl.DataFrame, items: int) -> Scores:
    seeds = part["seed"].unique().sort().to_list()
    rows = np.array([seeds.index(seed) for seed in part["seed"]], dtype=np.int64)
    columns = part["_item"].to_numpy()
    found = []
    for name in ("score", "value"):
        matrix = np.full((len(seeds), items), np.nan)
        matrix[rows, columns] = part[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        found.append(matrix)
    return Scores(found[0], found[1])
