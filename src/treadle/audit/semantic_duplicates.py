"""Semantic duplicates: rows that ask the same and answer the same in other words.

`near_duplicates` compares words, so a copy in which every seventh word is another passes. Here
sentence vectors are compared instead: those of the prompts and those of the replies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import compress
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.randomness import derived_rng
from treadle.data.row import Row, from_frame
from treadle.data.sealed_index import numbers_hash, question
from treadle.data.selection import FINDING_SCHEMA, Findings, vectors
from treadle.geometry.alike import Alike, Sides, drop_alike
from treadle.geometry.clusters import spherical_k_means
from treadle.geometry.cosine import directions
from treadle.op import audit
from treadle.text.names import Names

SIDES = ("prompt_embedding", "reply_embedding")
SHARD_ROWS = 8_192


@audit(
    reference="SemDeDup, arXiv:2303.09540, with prompts and replies apart and the longer row kept",
    cost="an encoder pass over prompts and one over replies; then O(rows * cluster_rows * width)",
    needs=SIDES,
)
def semantic_duplicates(
    *,
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.85,
    same_numbers: bool = True,
    same_names: bool = True,
    cluster_rows: Annotated[int, Field(ge=1)] = 20_000,
) -> Callable[[Pool, Context], Findings]:
    """Find rows whose prompts and whose replies both have a cosine of at least `threshold`.

    Rows that ask nearly the same and answer otherwise are no duplicates, nor are rows that answer
    alike to different questions. Longest text first and by id among equals, a row is kept unless it
    is like a row kept before it, as in `near_duplicates`. `other` is the most similar of the rows
    kept before, `figure` the smaller of the two cosines.

    Encoders hardly see numbers, and problems of one template differ in little else. So rows that
    name different numbers are not duplicates, unless `same_numbers` is off. Nor are rows that ask
    about different names: each prompt has a word with a capital, not at the beginning of a sentence,
    that is nowhere in the other, unless `same_names` is off. Rows of different kinds, or under
    different system turns, never are.

    Of rows with the same numbers, up to `cluster_rows` are compared pair by pair. More are first
    cut into clusters of about that size by the directions of their prompts, and duplicates that
    fall into two clusters are missed. A row without a prompt or without a reply is not compared;
    the figure `rows_not_compared` counts them.

    Known failures: one exchanged word or a negation hardly moves a vector, so rows that differ in one
    telling word without a capital are taken for one, as are questions of which one names nothing;
    look at the findings. A rewording that puts one name for another (the UK, Britain) is missed. Copies in which many words were replaced at random are not found: they no longer mean
    the same. Encoders read only the beginning of long texts (MiniLM 256 word pieces), so rows that
    differ after it are alike. Translations take an encoder of several languages.

    Args:
        threshold: what a cosine means depends on the encoder; the default was chosen for MiniLM.
        same_numbers: whether duplicates must name the same numbers, in digits.
        same_names: whether prompts that each name what the other does not are no duplicates.
        cluster_rows: with how many rows each row is compared, about. Time grows with it.
    """

    def find(pool: Pool, context: Context) -> Findings:
        about = _about(pool, same_numbers, context.tick)
        features = context.features_of_rows.select("id", *SIDES)
        rows = pool.frame.select("id").join(features, on="id", how="left", maintain_order="left")
        found = [vectors(rows, name) for name in SIDES]
        is_known = np.logical_and.reduce([known & points.any(axis=1) for points, known in found])
        about = about.filter(pl.Series(is_known))
        sides = Sides(*(directions(points[is_known]) for points, _ in found))
        order = about.with_row_index("place").sort("chars", "id", descending=[True, False])
        apart = None
        if same_names:
            asked = (
                question(row) for shard in pool.shards(SHARD_ROWS) for row in from_frame(shard)
            )
            apart = Names.of(compress(asked, is_known), context.tick).apart
        alike = [
            drop_alike(sides, group, threshold, apart=apart, tick=context.tick)
            for group in _groups(sides, order, cluster_rows)
        ]
        dropped = _named(about["id"], alike)
        largest = dropped.group_by("other").len()["len"].max() if dropped.height else 0
        figures = {
            "rows": len(pool),
            "dropped": dropped.height,
            "most_dropped_for_one_row": largest,
            "rows_not_compared": len(pool) - about.height,
            "groups_compared": len(alike),
        }
        return Findings(dropped, figures)

    return find


def _about(pool: Pool, same_numbers: bool, tick: Callable[[], None]) -> pl.DataFrame:
    """What must be equal in duplicates (`same`, a hash), and how long each row is."""
    chars: list[int] = []
    same: list[str] = []
    for shard in pool.shards(SHARD_ROWS):
        tick()
        for row in from_frame(shard):
            chars.append(len(row.text))
            same.append(repr((row.kind, _system(row), numbers_hash(row) if same_numbers else 0)))
    schema = {"id": pl.String, "chars": pl.Int64, "same": pl.String}
    return pl.DataFrame({"id": pool.frame["id"], "chars": chars, "same": same}, schema=schema)


def _system(row: Row) -> list[str]:
    return [turn.content for turn in row.prompt if turn.role == "system"]


def _groups(sides: Sides, order: pl.DataFrame, cluster_rows: int) -> Iterator[NDArray[np.int64]]:
    """Yield the places of rows that are compared with each other, each group in the order given."""
    for group in order.partition_by("same", maintain_order=True):
        places = group["place"].cast(pl.Int64).to_numpy()
        count = -(-len(places) // cluster_rows)
        if len(places) < 2:
            continue
        if count == 1:
            yield places
            continue
        # Clusters start from rows in the order of ids, and never from the run's seed: that must not
        # decide which rows an audit drops.
        by_id = np.sort(places)
        rng = derived_rng(0, "audit.semantic_duplicates")
        labels = spherical_k_means(sides.one[by_id], count, rng).labels
        label = labels[np.searchsorted(by_id, places)]
        yield from (places[label == number] for number in range(count))


def _named(ids: pl.Series, alike: list[Alike]) -> pl.DataFrame:
    frames = [pl.DataFrame(schema=FINDING_SCHEMA)]
    for one in alike:
        names = {"id": ids.gather(one.dropped), "other": ids.gather(one.kept)}
        found = pl.DataFrame(names).with_columns(
            reason=pl.lit("semantic_duplicate"),
            figure=pl.Series(np.minimum(one.nearness, 1.0)),
            detail=pl.lit("the smaller cosine, of prompts or of replies"),
        )
        frames.append(found.select(FINDING_SCHEMA.keys()))
    return pl.concat(frames).sort("id")
