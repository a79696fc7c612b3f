"""What a selection keeps and drops: lengths, formats, people, topics, sources, languages."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import polars as pl

from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import column, texts
from treadle.data.selection import Selection
from treadle.data.shift import shift
from treadle.data.traits import Flags, fifths, is_usable, text_traits, value_traits
from treadle.geometry.cosine import Directed, directed
from treadle.geometry.topics import nearest_kept, topic_traits

LENGTHS = ("shortest fifth", "short", "middle", "long", "longest fifth")
MOST_COLUMNS, MOST_VALUES, MOST_FAR = 5, 40, 10


def shift_of(
    pool: Pool, selection: Selection, features: pl.DataFrame, context: Context
) -> dict[str, object]:
    """Compare the rows that a selection kept with those that it could have kept and did not.

    Topics, and the dropped rows that are least like any kept one, need the feature `embedding`.

    Args:
        pool: holds all rows of `features`.
        features: of every row that could be chosen.
    """
    features = features.sort("id")
    frame = pool.keep(features["id"]).frame.sort("id")
    said = texts(frame)
    kept = features["id"].is_in(selection.ids).to_numpy()
    groups: dict[str, dict[str, Flags]] = {"length": fifths(features["length"], LENGTHS)}
    groups |= text_traits(said)
    farthest: list[dict[str, object]] = []
    if "embedding" in features.columns:
        seen = directed(features, "embedding")
        rng = context.rng("shift.topics")
        groups["topic"] = topic_traits(seen.grid, seen.positions, said, rng)
        farthest = _farthest(seen, features["id"].to_list(), kept)
    if "language" in features.columns and features["language"].dtype == pl.String:
        groups["language"] = value_traits(features["language"])
    for values in columns(frame):
        groups[values.name] = value_traits(values, most=MOST_VALUES)
    usable = {name: traits for name, traits in groups.items() if is_usable(traits)}
    return {**shift(usable, kept), "farthest": farthest}


def _farthest(seen: Directed, ids: list[str], kept: Flags) -> list[dict[str, object]]:
    """Name the dropped rows whose nearest kept row is the least like them."""
    if not kept[seen.positions].any():
        return []
    nearest, cosine = nearest_kept(seen.grid, kept[seen.positions])
    order = np.argsort(cosine, kind="stable")[:MOST_FAR]
    return [
        {"id": ids[seen.positions[i]], "nearest": ids[seen.positions[nearest[i]]],
         "cosine": float(cosine[i])}
        for i in order.tolist() if not kept[seen.positions[i]]
    ]  # fmt: skip


def columns(frame: pl.DataFrame) -> Iterator[pl.Series]:
    """Yield the files that rows came from, and the user's columns that hold a few texts."""
    extras = frame["origins"].list.first().struct.field("extra")
    names = {"file"}
    for extra in extras.unique().drop_nulls().sort().head(1000):
        names |= json.loads(extra).keys()
    found = 0
    for name in sorted(names):
        values = column(frame, name)
        is_category = values is not None and values.dtype == pl.String
        if values is not None and is_category and 2 <= values.n_unique() <= MOST_VALUES:
            yield values
            found += 1
        if found == MOST_COLUMNS:
            return
