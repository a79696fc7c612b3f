"""Topics of a pool: clusters of directions, each named after the words that set it apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.data.traits import Flags
from treadle.geometry.clusters import spherical_k_means
from treadle.geometry.cosine import BLOCK_ROWS, Grid, cosines
from treadle.text.words import words

ROWS_A_TOPIC, MOST_TOPICS = 25, 40
SHORTEST_WORD, WORDS = 4, 3


def topic_traits(
    grid_ND: Grid, positions: NDArray[np.int64], texts: Sequence[str], rng: np.random.Generator
) -> dict[str, Flags]:
    """Return which rows belong to each topic, by its three most distinctive words.

    Args:
        grid_ND: directions (`cosine.directions`) of the rows at `positions`; others have no topic.
        texts: of all rows.
    """
    count = min(MOST_TOPICS, len(grid_ND) // ROWS_A_TOPIC)
    if count < 2:
        return {}
    labels = spherical_k_means(grid_ND, count, rng).labels
    named = _names(labels, [texts[i] for i in positions])
    found: dict[str, Flags] = {}
    for topic in np.unique(labels).tolist():
        flags = np.zeros(len(texts), dtype=np.bool_)
        flags[positions[labels == topic]] = True
        name = named.get(topic, "(no words)")
        found[name if name not in found else f"{name} ({topic})"] = flags
    return found


def _names(labels: NDArray[np.int64], texts: Sequence[str]) -> dict[int, str]:
    """Name topics: words in many rows of the topic and in few of all (TF-IDF over topics)."""
    said = [sorted({w for w in words(t) if len(w) >= SHORTEST_WORD}) for t in texts]
    frame = pl.DataFrame({"topic": labels, "word": said}).explode("word").drop_nulls()
    inside = frame.group_by("topic", "word").len("inside")
    overall = frame.group_by("word").len("overall")
    weight = pl.col("inside") * (len(texts) / pl.col("overall")).log()
    ranked = inside.join(overall, on="word").with_columns(weight=weight)
    ranked = ranked.sort(["weight", "word"], descending=[True, False])
    best = ranked.group_by("topic", maintain_order=True).head(WORDS)
    return dict(best.group_by("topic").agg(pl.col("word").str.join(", ")).iter_rows())


def nearest_kept(grid_ND: Grid, kept_N: Flags) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return, for each row, the most similar kept row and their cosine; a kept row is its own."""
    kept = np.flatnonzero(kept_N)
    nearest = np.empty(len(grid_ND), dtype=np.int64)
    cosine = np.full(len(grid_ND), -1.0)
    for begin in range(0, len(grid_ND), BLOCK_ROWS):
        rows = slice(begin, begin + BLOCK_ROWS)
        for start in range(0, len(kept), BLOCK_ROWS):
            some = kept[start : start + BLOCK_ROWS]
            near = cosines(grid_ND[rows], grid_ND[some])
            best, value = some[near.argmax(axis=1)], near.max(axis=1)
            is_better = value > cosine[rows]
            nearest[rows] = np.where(is_better, best, nearest[rows])
            cosine[rows] = np.where(is_better, value, cosine[rows])
    return nearest, cosine
