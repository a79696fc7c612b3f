"""Frames of pool and target rows with made-up features, for selectors that look at target rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.context import Context


def frame_of(
    total: int, *, seed: int = 0, prefix: str = "row", **columns: pl.Series | Sequence[object]
) -> pl.DataFrame:
    """Return rows with ids in rising order, lengths, and the columns given."""
    length = np.random.default_rng(seed).integers(3, 80, size=total)
    return pl.DataFrame(
        {
            "id": pl.Series([f"{prefix}{i:05d}" for i in range(total)], dtype=pl.String),
            "length": pl.Series(length, dtype=pl.Int64),
            "length_total": pl.Series(length + 7, dtype=pl.Int64),
            **columns,
        }
    )


def vector_column(points: NDArray[np.floating] | Sequence[object]) -> pl.Series:
    values = points.tolist() if isinstance(points, np.ndarray) else list(points)
    return pl.Series(values, dtype=pl.List(pl.Float32))


def aimed_at(target: pl.DataFrame, seed: int = 7) -> Context:
    return Context(seed=seed, target=target)
