"""Profile: what a pool is like, in figures, before anything is done to it.

Most surprises of data selection are visible here first: replies of one length, a template that
opens half of the rows, prompts without a reply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Row, from_frame
from treadle.data.sealed_index import question
from treadle.data.selection import Findings
from treadle.op import audit
from treadle.text.words import words, words_hash

SHARD_ROWS = 8_192
OPENING_WORDS = 4
TOP = 10
EXCERPT_CHARS = 120
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SCHEMA = {
    "kind": pl.String,
    "turns": pl.Int64,
    "prompt_words": pl.Int64,
    "reply_words": pl.Int64,
    "is_reply_empty": pl.Boolean,
    "prompt": pl.UInt64,
    "prompt_opening": pl.UInt64,
    "reply_opening": pl.UInt64,
}


@audit(reference="descriptive statistics", cost="one pass over the text")
def profile() -> Callable[[Pool, Context], Findings]:
    """Describe a pool and find nothing.

    Figures: rows, kinds, turns a row, lengths of prompts and replies in words (quantiles, and a
    histogram whose bins double in width), the share of empty replies, the most common first four
    words of prompts and of replies with their share of all rows, and prompts that several rows
    have in common. Prompts are taken without system turns.

    Words are those of `text.words`: a reply of symbols has length 0 and is not empty. Openings show
    fixed templates only and miss one that begins with a name. Languages are not told apart.
    """

    def describe(pool: Pool, context: Context) -> Findings:
        parts = [pl.DataFrame(schema=SCHEMA)]
        for shard in pool.shards(SHARD_ROWS):
            context.tick()
            parts.append(_measured(from_frame(shard)))
        table = pl.concat(parts)
        shared = [one for one in _top(pool, table, "prompt", question) if one["rows"] != 1]
        return Findings(
            figures={
                "rows": table.height,
                "kinds": _counts(table["kind"]),
                "turns": _counts(table["turns"]),
                "prompt_words": _lengths(table["prompt_words"]),
                "reply_words": _lengths(table["reply_words"]),
                "empty_reply_share": table["is_reply_empty"].mean() or 0.0,
                "prompt_openings": _top(pool, table, "prompt_opening", _prompt_opening),
                "reply_openings": _top(pool, table, "reply_opening", _reply_opening),
                "frequent_prompts": shared,
            }
        )

    return describe


def _measured(rows: Sequence[Row]) -> pl.DataFrame:
    records = []
    for row in rows:
        asked, said = words(question(row)), words(row.reply)
        records.append(
            (
                row.kind,
                len(row.conversation),
                len(asked),
                len(said),
                not row.reply.strip(),
                words_hash(asked) if asked else None,
                _opening_hash(asked),
                _opening_hash(said),
            )
        )
    return pl.DataFrame(records, schema=SCHEMA, orient="row")


def _opening_hash(found: Sequence[str]) -> int | None:
    return words_hash(found[:OPENING_WORDS]) if len(found) >= OPENING_WORDS else None


def _opening(found: Sequence[str]) -> str:
    return " ".join(found[:OPENING_WORDS])


def _prompt_opening(row: Row) -> str:
    return _opening(words(question(row)))


def _reply_opening(row: Row) -> str:
    return _opening(words(row.reply))


def _top(
    pool: Pool, table: pl.DataFrame, name: str, text_of: Callable[[Row], str]
) -> list[dict[str, object]]:
    """The most common values of a hashed column, each shown by the text of its first row."""
    counted = table.with_row_index("first").drop_nulls(name).group_by(name)
    most = counted.agg(pl.len().alias("rows"), pl.col("first").min())
    most = most.sort("rows", "first", descending=[True, False]).head(TOP)
    examples = from_frame(pool.frame[most["first"]])
    return [
        {
            "text": text_of(row)[:EXCERPT_CHARS],
            "rows": count,
            "share": count / table.height,
        }
        for row, count in zip(examples, most["rows"].to_list(), strict=True)
    ]


def _counts(values: pl.Series) -> dict[str, int]:
    found = values.value_counts().sort(values.name)
    return {str(value): count for value, count in found.iter_rows()}


def _lengths(values: pl.Series) -> dict[str, object]:
    """Quantiles by name and a histogram: bin i holds lengths from edges[i] to below edges[i + 1]."""
    if values.is_empty():
        return {"mean": None, "quantiles": {}, "edges": [], "counts": []}
    array = values.to_numpy()
    edges = [0, 1]
    while edges[-1] <= array.max():
        edges.append(edges[-1] * 2)
    quantiles = np.quantile(array, QUANTILES).tolist()
    return {
        "mean": float(array.mean()),
        "quantiles": {f"{q:g}": value for q, value in zip(QUANTILES, quantiles, strict=True)},
        "edges": edges,
        "counts": np.histogram(array, bins=edges)[0].tolist(),
    }
