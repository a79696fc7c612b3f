"""BM25 (Okapi): how well do the words of rows match those of queries?

    score = sum over the words of the query, each occurrence, of
            idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean length))
    idf   = ln(rows - df + 0.5) - ln(df + 0.5)

tf is how often the row has the word, df how many rows have it. A word of more than half of the rows
would count against them: its idf is EPSILON times the mean over all words instead. These are the
formula and the constants of the package rank-bm25.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

EPSILON = 0.25
BLOCK_ROWS = 4096
BLOCK_CELLS = 2**24

Floats = NDArray[np.float64]


def bm25_scores(
    words: pl.Series, queries: pl.Series, *, k1: float, b: float
) -> Iterator[tuple[slice, Floats]]:
    """Yield the scores of a block of rows (first axis) for all queries, block by block.

    Both series hold lists of words, none missing and none empty.
    """
    if not len(words):
        return
    known = _idf(words).join(queries.explode().unique().to_frame("word"), on="word", how="semi")
    vocabulary = known.sort("word").with_row_index("code")
    weights_QV = _counts(queries, vocabulary).multiply(vocabulary["idf"].to_numpy()[None, :])
    weights_VQ = weights_QV.T.tocsr()
    lengths = words.list.len().to_numpy()
    penalties = k1 * (1 - b + b * lengths / lengths.mean())
    step = max(1, min(BLOCK_ROWS, BLOCK_CELLS // max(1, len(queries))))
    for begin in range(0, len(words), step):
        rows = slice(begin, begin + step)
        counts_BV = _counts(words[rows], vocabulary)
        penalty = np.repeat(penalties[rows], np.diff(counts_BV.indptr))
        counts_BV.data *= (k1 + 1) / (counts_BV.data + penalty)
        yield rows, (counts_BV @ weights_VQ).toarray()


def _idf(words: pl.Series) -> pl.DataFrame:
    """Return every word of the rows with its inverse document frequency."""
    parts = [
        words[begin : begin + BLOCK_ROWS].list.unique().explode().value_counts(name="df")
        for begin in range(0, len(words), BLOCK_ROWS)
    ]
    found = pl.concat([part.rename({words.name: "word"}) for part in parts])
    found = found.group_by("word").agg(pl.col("df").sum()).drop_nulls().sort("word")
    df = found["df"].to_numpy().astype(np.float64)
    idf = np.log(len(words) - df + 0.5) - np.log(df + 0.5)
    idf[idf < 0] = EPSILON * idf.mean()
    return found.select("word", idf=pl.Series(idf))


def _counts(words: pl.Series, vocabulary: pl.DataFrame) -> sparse.csr_matrix:
    """Count the words of each row, those of the vocabulary only; codes rise within a row."""
    frame = pl.DataFrame({"row": np.arange(len(words)), "word": words}).explode("word")
    pairs = frame.join(vocabulary, on="word").group_by("row", "code").len().sort("row", "code")
    cells = (pairs["row"].to_numpy(), pairs["code"].to_numpy())
    shape = (len(words), vocabulary.height)
    return sparse.csr_matrix((pairs["len"].to_numpy().astype(np.float64), cells), shape=shape)
