"""Near duplicates: rows whose word pairs overlap almost wholly.

A model trained on near copies memorises them, and a selector that merely avoids copies looks
clever. So they are found before anything is selected, and every row named here names in turn the
kept row that it copies, with the exact similarity: a person can check each one.

Rephrasings and translations are out of reach: they share meaning, not words. The audit
`semantic_duplicates` looks for rephrasings.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.audit.similar_pairs import EDGES, Settings, SimilarPairs, similar_pairs
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.selection import FINDING_SCHEMA, Findings
from treadle.machinery.code import code_hash
from treadle.machinery.engine import Engine, LocalEngine
from treadle.machinery.ledger import Ledger
from treadle.machinery.store import Store
from treadle.op import audit
from treadle.text.minhash import plan


@audit(
    reference="Broder 1997; Lee et al., arXiv:2107.06499",
    cost="one pass over the words, then exact checks of candidate pairs: linear in rows",
)
def near_duplicates(
    *,
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8,
    shingle: Annotated[int, Field(ge=1, le=64)] = 2,
    permutations: Annotated[int, Field(ge=1, le=1024)] = 128,
    leaders: Annotated[int, Field(ge=1, le=4096)] = 8,
) -> Callable[[Pool, Context], Findings]:
    """Find rows whose sets of word n-grams have a Jaccard similarity of at least `threshold`.

    MinHash bands propose pairs (more than 99% of those at the threshold, nearly all above it) and
    the exact similarity of each proposed pair decides. Then, longest text first and by id among
    equals, a row is kept unless it is like a row kept before it, so in a chain A~B~C with A the
    longest, B goes and C stays. `other` is the most similar of the rows kept before, `figure` the
    exact similarity.

    Shingles are pairs of words. Web pages are usually cut into 5-grams, but training rows are
    short: one changed word in a row of 30 touches 2 of 29 pairs and 5 of 26 5-grams. Single words
    would ignore order: among GSM8K problems they mistake a problem for its reverse. Pairs also
    come nearest to a published ladder of thresholds (GPTeacher).

    A row with fewer words than a shingle has one shingle, of all its words, so it is like equal
    rows only. A row without words is like nothing. Rows of different kinds are never alike, and
    the words of a rejected reply are other than the same words elsewhere.

    Known failures: rows that share a long passage and differ in a short question look alike (use
    a larger shingle or threshold). Symbols are not words: code that differs in operators only is
    alike. Where more than `leaders` different rows share a band, as in a pool written from one
    template, some pairs are not compared; the figure `pairs_not_compared_at_most` bounds their
    number.

    Args:
        permutations: hash functions to spend. More make fewer candidates fail, at more cost.
        leaders: with how many rows of a crowded bucket each other row is compared. More find more
            in pools of one template; pairs and time grow with it.
    """
    settings = Settings(threshold, shingle, leaders, plan(threshold, permutations))

    def find(pool: Pool, context: Context) -> Findings:
        with _engine_of(context) as engine:
            code = code_hash(__name__)
            pairs = similar_pairs(engine, pool, settings, code, context.tick)
        rows = _named(pool, _greedy(pairs))
        return Findings(rows, _figures(rows, pairs, settings))

    return find


@contextlib.contextmanager
def _engine_of(context: Context) -> Iterator[Engine]:
    """The context's engine, or one on a temporary folder: the same stages in either case."""
    if context.engine is not None:
        yield context.engine
        return
    with tempfile.TemporaryDirectory(prefix="treadle-") as name:
        ledger = Ledger(Path(name) / "ledger.sqlite")
        try:
            yield LocalEngine(Store(Path(name) / "store"), ledger)
        finally:
            ledger.close()


def _greedy(pairs: SimilarPairs) -> pl.DataFrame:
    """Walk rows in order and drop each that is like one kept before it.

    Returns one line a dropped row: `second` is its position, `first` the most similar kept row's.
    Rows with equal sets are linked only to the earliest of them and share its fate, because they
    are exactly as similar to every other row.
    """
    order = np.lexsort((np.arange(len(pairs.chars)), -pairs.chars))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    edges = pairs.edges.with_columns(
        earlier=rank[pairs.edges["first"].to_numpy()],
        later=rank[pairs.edges["second"].to_numpy()],
        similarity=pl.col("shared") / pl.col("union"),
    )
    is_twin = pl.col("shared") == pl.col("union")
    twins, likes = edges.filter(is_twin), edges.filter(~is_twin).sort("later", "earlier")
    is_kept = _walk(likes["earlier"].to_numpy(), likes["later"].to_numpy(), len(order))
    likes = likes.filter(is_kept[likes["earlier"].to_numpy()])
    likes = likes.sort("later", "similarity", "earlier", descending=[False, True, False])
    likes = likes.unique("later", keep="first", maintain_order=True).select(EDGES.keys())
    # A copy of a dropped row is a copy of what that row was dropped for.
    passed_on = twins.select(pl.col("first").alias("copied"), "second").join(
        likes.rename({"second": "copied"}), on="copied"
    )
    stayed = twins.filter(is_kept[twins["earlier"].to_numpy()])
    return pl.concat([likes, stayed.select(EDGES.keys()), passed_on.select(EDGES.keys())])


def _walk(earlier: NDArray[np.int64], later: NDArray[np.int64], rows: int) -> NDArray[np.bool_]:
    """Which rows stay, by rank; `later` is sorted."""
    is_kept = np.ones(rows, dtype=bool)
    starts = np.flatnonzero(np.diff(later, prepend=-1))
    for start, end in itertools.pairwise([*starts.tolist(), len(later)]):
        if is_kept[earlier[start:end]].any():
            is_kept[later[start]] = False
    return is_kept


def _named(pool: Pool, dropped: pl.DataFrame) -> pl.DataFrame:
    ids = pool.frame["id"]
    shared, union = pl.col("shared"), pl.col("union")
    named = dropped.select(
        id=ids.gather(dropped["second"]),
        reason=pl.lit("near_duplicate"),
        other=ids.gather(dropped["first"]),
        figure=shared / union,
        detail=pl.format("{} of {} shingles", shared, union),
    )
    return named.cast(FINDING_SCHEMA).sort("id")  # type: ignore[arg-type]


def _figures(rows: pl.DataFrame, pairs: SimilarPairs, settings: Settings) -> dict[str, object]:
    largest = rows.group_by("other").len()["len"].max() if rows.height else 0
    return {
        "rows": len(pairs.words),
        "dropped": rows.height,
        "most_dropped_for_one_row": largest,
        "candidate_pairs": pairs.candidates,
        "similar_pairs": pairs.edges.height,
        "bands": settings.banding.bands,
        "rows_a_band": settings.banding.rows,
        "recall_at_threshold": round(settings.banding.recall(settings.threshold), 4),
        "rows_without_words": int((pairs.words == 0).sum()),
        "rows_shorter_than_a_shingle": int((pairs.words < settings.shingle).sum()),
        "capped_buckets": pairs.capped_buckets,
        "pairs_not_compared_at_most": pairs.most_not_compared,
    }
