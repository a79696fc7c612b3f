"""Exact duplicates: rows that say the same but for case, spacing and punctuation.

Loading already merges rows with equal content and keeps every origin. What is left are rows that
only look different: they would count twice in training, and the random control would hold them too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Row, from_frame
from treadle.data.selection import FINDING_SCHEMA, Findings
from treadle.op import audit
from treadle.text.words import normalise

SHARD_ROWS = 8_192


@audit(reference="datatrove exact deduplication, on normalised text", cost="one pass over the text")
def exact_duplicates() -> Callable[[Pool, Context], Findings]:
    """Find rows whose turns are equal after normalisation (case, spacing, punctuation, width).

    Turns are compared one by one, with their roles, so a prompt that merely ends where another
    row's reply begins is no duplicate. Which turns carry loss is not compared. The longest row as
    written is kept, and of equally long ones the least id; the others name it as `other`.

    Known failures: symbols are not compared, so two rows that differ in nothing but an operator
    (`a < b`, `a > b`, with the same reply) are taken for one. A turn without any word is compared
    as it is written.
    """

    def find(pool: Pool, context: Context) -> Findings:
        keys: list[bytes] = []
        chars: list[int] = []
        for shard in pool.shards(SHARD_ROWS):
            context.tick()
            for row in from_frame(shard):
                keys.append(_key(row))
                chars.append(len(row.text))
        table = pl.DataFrame({"id": pool.frame["id"], "key": keys, "chars": chars}, schema=_TABLE)
        table = table.sort("key", "chars", "id", descending=[False, True, False])
        table = table.with_columns(other=pl.col("id").first().over("key"))
        copies = table.filter(pl.col("id") != pl.col("other"))
        rows = copies.select(
            "id",
            "other",
            reason=pl.lit("exact_duplicate"),
            figure=pl.lit(1.0),
            detail=pl.lit("equal after normalisation"),
        )
        origins = pool.frame["origins"].list.len()
        figures = {
            "rows": len(pool),
            "dropped": rows.height,
            "groups": copies["other"].n_unique(),
            "origins": int(origins.sum()),
            "rows_with_several_origins": int((origins > 1).sum()),
        }
        return Findings(rows.select(FINDING_SCHEMA.keys()).sort("id"), figures)

    return find


_TABLE = {"id": pl.String, "key": pl.Binary, "chars": pl.Int64}


def _key(row: Row) -> bytes:
    """Hash what a row says; rows of different kinds are trained on differently and never equal."""
    turns = [[turn.role, _said(turn.content)] for turn in row.messages]
    replies = [
        None if one is None else _said(one) for one in (row.chosen, row.rejected, row.answer)
    ]
    text = json.dumps([row.kind, turns, replies])
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _said(text: str) -> str:
    return normalise(text) or text.strip()
