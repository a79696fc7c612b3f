"""Contamination: training rows that hold items of the evaluation sets.

A row that contains an evaluation item makes the evaluation measure memory. Rows are checked against
the sealed index (`data.sealed_index`): this file never sees an item, only hashes of it, and names
items by set and number.

Rephrased or translated items are found by neither check. The audit `paraphrase_contamination` looks
for the former, by sentence vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import from_frame
from treadle.data.sealed_index import SealedIndex, row_hashes
from treadle.data.selection import FINDING_SCHEMA, Findings
from treadle.errors import RecipeError
from treadle.op import audit
from treadle.text.words import ngrams

SHARD_ROWS = 8_192
BEST_FIRST = ["row", "share", "shared", "set", "item"]


@audit(
    reference="13-grams as in Brown et al., arXiv:2005.14165, appendix C",
    cost="one pass over the words and a binary search for each n-gram",
)
def contamination(
    *,
    ngram: Annotated[int, Field(ge=1)] = 13,
    min_share: Annotated[float, Field(ge=0, le=1)] = 0.0,
    template_items: Annotated[int, Field(ge=1)] = 10,
) -> Callable[[Pool, Context], Findings]:
    """Find rows that share text with evaluation items.

    `contaminated_exact`: the row's whole text, its prompt (without system turns) or its reply
    equals any of the same three of an item, after normalisation. A reply counts from 8 words on. A
    prompt of fewer words must agree sign by sign (but for case and spacing), or together with the
    reply: "What is 12 + 4?" and "What is 12 - 4?" have the same words.
    `contaminated_ngram`: otherwise, the row and an item share a run of `ngram` words; `figure` is
    the share of the item's distinct n-grams that the row holds. Each row is named once, for its
    strongest hit; `other` is `set:item`. Without evaluation sets nothing is found.

    A single common n-gram is enough by default, because 13 words in a row are rarely chance; raise
    `min_share` where quotations are normal. In scripts without spaces, 13 characters are a much
    weaker sign than 13 words.

    Prompts, replies and n-grams that more than `template_items` items have in common are taken for
    the template of a set ("Summarise the text.", "Answer with one of the following letters: …", a
    refusal) and ignored. So an item that consists of nothing else is found by its whole text only,
    and a set of few items with a long template needs a smaller number. Items with fewer than
    `ngram` words are found by equality only; the figures count both.

    Known failures: symbols are not words, so a prompt of 8 words or more that differs from an
    item's in an operator only is taken for it.

    Raises:
        RecipeError: the index was built for another n.
    """

    def find(pool: Pool, context: Context) -> Findings:
        index = context.sealed
        if index is None or not index.sets:
            return Findings(figures={"rows": len(pool), "note": "no evaluation sets"})
        if index.ngram != ngram:
            raise RecipeError(
                f"contamination: the evaluation sets are indexed by {index.ngram}-grams, and ngram "
                f"is {ngram}. Set both to the same number."
            )
        telling = index.without_templates(template_items)
        exact, grams = _hits(pool, context, telling)
        grams = grams.filter(pl.col("share") >= min_share)
        rows = pl.concat([_exact(exact), _grams(grams, index)])
        # Both kinds may hit one row: equality is the stronger reason, and it comes first.
        rows = rows.unique("row", keep="first", maintain_order=True)
        rows = rows.with_columns(id=pool.frame["id"].gather(rows["row"]))
        figures = _figures(pool, index, rows, pl.concat([exact, grams.select(exact.columns)]))
        figures["template_items"] = index.items_with_grams - telling.items_with_grams
        return Findings(rows.select(FINDING_SCHEMA.keys()).sort("id"), figures)

    return find


def _hits(pool: Pool, context: Context, index: SealedIndex) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Look every row up, a shard at a time; `row` becomes the position in the pool."""
    nothing = row_hashes([])
    exact = [index.exact_hits(nothing)]
    grams = [index.gram_hits(nothing.words)]
    first = 0
    for shard in pool.shards(SHARD_ROWS):
        context.tick()
        hashed = row_hashes(from_frame(shard))
        place = pl.col("row") + first
        exact.append(index.exact_hits(hashed).with_columns(place))
        runs = ngrams(hashed.words, index.ngram)
        grams.append(index.gram_hits(runs).with_columns(place))
        first += shard.height
    return pl.concat(exact), pl.concat(grams)


def _exact(hits: pl.DataFrame) -> pl.DataFrame:
    """One finding a row: the first item by set and number."""
    best = hits.sort("row", "set", "item")
    return best.unique("row", keep="first", maintain_order=True).select(
        "row",
        reason=pl.lit("contaminated_exact"),
        other=pl.format("{}:{}", "set", "item"),
        figure=pl.lit(1.0),
        detail=pl.lit("equal after normalisation"),
    )


def _grams(hits: pl.DataFrame, index: SealedIndex) -> pl.DataFrame:
    """One finding a row: the item of which it holds the largest share."""
    best = hits.with_columns(items=pl.len().over("row")).sort(
        BEST_FIRST, descending=[False, True, True, False, False]
    )
    what = pl.format(
        "{}-grams in common: {}; items hit: {}", pl.lit(index.ngram), "shared", "items"
    )
    return best.unique("row", keep="first", maintain_order=True).select(
        "row",
        reason=pl.lit("contaminated_ngram"),
        other=pl.format("{}:{}", "set", "item"),
        figure="share",
        detail=what,
    )


def _figures(
    pool: Pool, index: SealedIndex, rows: pl.DataFrame, hits: pl.DataFrame
) -> dict[str, object]:
    """Summary for the report; `items_hit` counts items that some row holds, whole or in part."""
    sets = {}
    for one in index.sets:
        of_set = hits.filter(pl.col("set") == one.name)
        sets[one.name] = {
            "items": one.items,
            "short_items": one.short_items,
            "items_hit": of_set["item"].n_unique(),
            "rows": of_set["row"].n_unique(),
        }
    return {
        "rows": len(pool),
        "dropped": rows.height,
        "contaminated_exact": rows.filter(reason="contaminated_exact").height,
        "contaminated_ngram": rows.filter(reason="contaminated_ngram").height,
        "items": index.items,
        "short_items": index.short_items,
        "short_share": index.short_items / index.items if index.items else 0.0,
        "sets": sets,
    }
