"""Paraphrase contamination: training rows that ask what an evaluation item asks, in other words.

`contamination` compares words and misses a rephrased item. Here sentence vectors are compared with
those that the evaluation side publishes of its items; no item is read. A vector is a weaker sign
than 13 words in a row, so most of what is found is shown to a person and nothing is done about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import from_frame
from treadle.data.sealed_index import numbers_hash, question
from treadle.data.selection import Findings, vectors
from treadle.geometry.cosine import Floats, Grid, cosines, directions
from treadle.op import audit

SIDES = ("prompt_embedding", "reply_embedding")
ROWS_AT_ONCE = 1024
ITEMS_AT_ONCE = 4096
SHARD_ROWS = 8_192
SHOWN = 10
EXCERPT_CHARS = 120


@audit(
    reference="Yang et al., arXiv:2311.04850 (its first step: nearest items by embedding)",
    cost="an encoder pass over prompts and one over replies, of rows and of items; then O(rows * "
    "items * width)",
    needs=SIDES,
    items=SIDES,
)
def paraphrase_contamination(
    *,
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = 0.85,
    suspect: Annotated[float, Field(gt=0, lt=1)] = 0.85,
    template_items: Annotated[int, Field(ge=1)] = 10,
) -> Callable[[Pool, Context], Findings]:
    """Find rows that ask nearly what an evaluation item asks, by sentence vectors.

    `contaminated_paraphrase`: the prompts and the replies of a row and an item both have a cosine of
    at least `threshold`, and both name the same numbers, which is what `semantic_duplicates` calls
    one row twice; the row should be dropped, and `figure` is the smaller cosine. Any other row whose
    prompt alone comes as near as `suspect` to an item's is a suspicion (`asks_like_an_item`), which
    is listed and shown and stays in the pool; `figure` is the cosine of the prompts. With
    `threshold: null` the audit drops nothing. `other` is the item, `set:number`, as in
    `contamination`. Without evaluation sets nothing is found.

    A prompt that is near more than `template_items` items asks what a set's template asks, and is no
    suspicion. A row without a prompt is not compared, and one without a reply is suspected at most.

    Known failures: problems of one template with other numbers are near, which is why they are no
    more than suspicions; one exchanged name hardly moves a vector; encoders read only the beginning
    of long texts (MiniLM 256 word pieces), so questions after one long passage look alike.
    Translations take an encoder of several languages. The published method asks a model about each
    pair that is near; here a person is to.

    Args:
        threshold: of both cosines. What it means depends on the encoder; chosen for MiniLM.
        suspect: of the cosine of prompts.
    """

    def find(pool: Pool, context: Context) -> Findings:
        items = context.items
        if items is None or not items.height:
            return Findings(figures={"rows": len(pool), "note": "no evaluation sets"})
        features = context.features_of_rows.select("id", *SIDES)
        rows = pool.frame.select("id").join(features, on="id", how="left", maintain_order="left")
        best = _compared(
            _side(rows, _row_numbers(pool, context.tick)),
            _side(items, items["numbers"].to_numpy()),
            suspect,
            context.tick,
        )
        table = pl.DataFrame(
            {
                "id": pool.frame["id"],
                "same_item": _names(items, best.same_item),
                "same": best.same,
                "like_item": _names(items, best.like_item),
                "like": best.like,
                "near_items": best.near_items,
            }
        )
        is_same = pl.col("same") >= (2.0 if threshold is None else threshold)
        is_like = (pl.col("like") >= suspect) & (pl.col("near_items") <= template_items)
        found = _findings(table.filter(is_same), "contaminated_paraphrase", "same")
        suspected = _findings(table.filter(is_like & ~is_same), "asks_like_an_item", "like")
        templates = (pl.col("near_items") > template_items) & ~is_same
        figures = {
            "rows": len(pool),
            "items": items.height,
            "dropped": found.height,
            "suspected": suspected.height,
            "rows_that_ask_like_a_template": table.filter(templates).height,
            "rows_not_compared": int((~best.is_known).sum()),
            "most_suspicious": _shown(pool, suspected),
        }
        return Findings(found, figures, suspected)

    return find


@dataclass(frozen=True, slots=True)
class Side:
    """Directions of prompts and of replies, which of them are known, and hashes of the numbers."""

    prompts: Grid
    replies: Grid
    has_prompt: NDArray[np.bool_]
    has_reply: NDArray[np.bool_]
    numbers: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Best:
    """For each row: the item nearest on both sides, and by prompts alone, and how near they are.

    `near_items` counts items whose prompts come as near as a suspicion. Rows that are near nothing
    have a nearness of -1 (no cosine of texts that agree on something).
    """

    same: Floats
    same_item: NDArray[np.int64]
    like: Floats
    like_item: NDArray[np.int64]
    near_items: NDArray[np.int64]
    is_known: NDArray[np.bool_]


def _side(frame: pl.DataFrame, numbers: NDArray[np.uint64]) -> Side:
    (prompts, asks), (replies, says) = (vectors(frame, name) for name in SIDES)
    has_prompt, has_reply = asks & prompts.any(axis=1), says & replies.any(axis=1)
    return Side(directions(prompts), directions(replies), has_prompt, has_reply, numbers)


def _row_numbers(pool: Pool, tick: Callable[[], None]) -> NDArray[np.uint64]:
    found: list[int] = []
    for shard in pool.shards(SHARD_ROWS):
        tick()
        found += [numbers_hash(row) for row in from_frame(shard)]
    return np.array(found, dtype=np.uint64)


def _compared(rows: Side, items: Side, suspect: float, tick: Callable[[], None]) -> Best:
    """Compare every row with every item, a block at a time."""
    total = len(rows.prompts)
    same, like = np.full(total, -1.0), np.full(total, -1.0)
    same_item, like_item = np.zeros(total, np.int64), np.zeros(total, np.int64)
    near_items = np.zeros(total, np.int64)
    known = np.flatnonzero(rows.has_prompt)
    asked = np.flatnonzero(items.has_prompt)
    for begin in range(0, len(known), ROWS_AT_ONCE):
        some = known[begin : begin + ROWS_AT_ONCE]
        for start in range(0, len(asked), ITEMS_AT_ONCE):
            tick()
            others = asked[start : start + ITEMS_AT_ONCE]
            near = cosines(rows.prompts[some], items.prompts[others])
            near_items[some] += (near >= suspect).sum(axis=1)
            _keep_best(near, some, others, like, like_item)
            may = rows.has_reply[some][:, None] & items.has_reply[others]
            may &= rows.numbers[some][:, None] == items.numbers[others]
            both = np.minimum(near, cosines(rows.replies[some], items.replies[others]))
            _keep_best(np.where(may, both, -1.0), some, others, same, same_item)
    return Best(same, same_item, like, like_item, near_items, rows.has_prompt)


def _keep_best(
    near: Floats,
    some: NDArray[np.int64],
    others: NDArray[np.int64],
    best: Floats,
    best_item: NDArray[np.int64],
) -> None:
    """Note, in place, the nearest item of each row where it is nearer than those before."""
    top = near.argmax(axis=1)
    value = near[np.arange(len(some)), top]
    is_nearer = value > best[some]
    best[some[is_nearer]] = value[is_nearer]
    best_item[some[is_nearer]] = others[top[is_nearer]]


def _names(items: pl.DataFrame, which: NDArray[np.int64]) -> pl.Series:
    return items.select(name=pl.format("{}:{}", "set", "item"))["name"].gather(which)


def _findings(table: pl.DataFrame, reason: str, kind: str) -> pl.DataFrame:
    what = {
        "same": "the smaller cosine, of prompts or of replies",
        "like": "cosine of the prompts",
    }
    return table.select(
        "id",
        reason=pl.lit(reason),
        other=f"{kind}_item",
        figure=pl.min_horizontal(kind, 1.0),
        detail=pl.lit(what[kind]),
    ).sort("id")


def _shown(pool: Pool, suspected: pl.DataFrame) -> list[dict[str, object]]:
    """The strongest suspicions with the beginning of their prompts, for a person to judge."""
    most = suspected.sort("figure", "id", descending=[True, False]).head(SHOWN)
    asked = {row.id: question(row) for row in pool.keep(most["id"]).rows()}
    return [
        {
            "row": one["id"],
            "item": one["other"],
            "cosine": one["figure"],
            "prompt": asked[one["id"]][:EXCERPT_CHARS],
        }
        for one in most.iter_rows(named=True)
    ]
