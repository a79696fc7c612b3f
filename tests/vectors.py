"""Frames with vectors for the tests of selectors, and the slow cosine that they compare with."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.geometry.cosine import directions


def clustered(total: int, width: int = 8, centres: int = 12, seed: int = 0) -> NDArray[np.float32]:
    """Return points around a few centres: some pairs are near-copies, some are far apart."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(centres, width))
    points = middle[rng.integers(centres, size=total)] + 0.3 * rng.normal(size=(total, width))
    return points.astype(np.float32)


def frame(points: NDArray[np.float32], seed: int = 0, **columns: object) -> pl.DataFrame:
    """Return rows with these vectors, ids in rising order, lengths and a score without ties."""
    rng = np.random.default_rng(seed)
    total = len(points)
    known = {
        "id": pl.Series([f"{i:06x}" for i in range(total)], dtype=pl.String),
        "length_total": pl.Series(rng.integers(8, 90, size=total), dtype=pl.Int64),
        "score": pl.Series(rng.permutation(total) / max(1, total), dtype=pl.Float64),
        "embedding": pl.Series(points.tolist(), dtype=pl.List(pl.Float32)),
    }
    return pl.DataFrame(known | {"length": known["length_total"] // 2} | columns)


def cosine(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of every pair, the plain way."""
    unit = points.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found: NDArray[np.float64] = unit @ unit.T
    return found


def exact_cosine(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of every pair on the grid of the code, summed in whole numbers."""
    grid = directions(points).astype(np.int64)
    return (grid @ grid.T) / 2.0**46


def places(rows: pl.DataFrame, ids: list[str]) -> list[int]:
    """Return the positions of ids in rows that are sorted by id."""
    at = {key: i for i, key in enumerate(rows["id"])}
    return [at[key] for key in ids]
