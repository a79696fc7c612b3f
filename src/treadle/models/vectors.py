"""Sentence vectors as a column: one unit vector a text, null where there is no text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from treadle.models.protocol import Embedder


def text_vectors(texts: Sequence[str], embedder: Embedder, tick: Callable[[], None]) -> pl.Series:
    """Embed texts; white space alone is no text, and no text is not a vector of zeros."""
    kind = pl.Array(pl.Float32, embedder.width)
    column = pl.DataFrame({"vector": pl.Series(embedder.embed(texts, tick=tick), dtype=kind)})
    has_text = pl.Series([bool(text.strip()) for text in texts], dtype=pl.Boolean)
    return column.select(pl.when(has_text).then("vector")).to_series()
