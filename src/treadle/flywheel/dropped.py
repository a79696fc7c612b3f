"""What a selection keeps and drops, trait by trait: lengths, formats, people, sources, languages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import polars as pl

from treadle.data.pool import Pool
from treadle.data.row import column, texts
from treadle.data.selection import Selection
from treadle.data.shift import shift
from treadle.data.traits import Flags, fifths, is_usable, text_traits, value_traits

LENGTHS = ("shortest fifth", "short", "middle", "long", "longest fifth")
MOST_COLUMNS, MOST_VALUES = 5, 40


def shift_of(pool: Pool, selection: Selection, features: pl.DataFrame) -> dict[str, object]:
    """Compare the rows that a selection kept with those that it could have kept and did not.

    Args:
        pool: holds all rows of `features`.
        features: of every row that could be chosen.
    """
    features = features.sort("id")
    frame = pool.keep(features["id"]).frame.sort("id")
    groups: dict[str, dict[str, Flags]] = {"length": fifths(features["length"], LENGTHS)}
    groups |= text_traits(texts(frame))
    if "language" in features.columns and features["language"].dtype == pl.String:
        groups["language"] = value_traits(features["language"])
    for values in columns(frame):
        groups[values.name] = value_traits(values, most=MOST_VALUES)
    kept = features["id"].is_in(selection.ids).to_numpy()
    return shift({name: traits for name, traits in groups.items() if is_usable(traits)}, kept)


def columns(frame: pl.DataFrame) -> Iterator[pl.Series]:
    """Yield the files that rows came from, and the user's columns that hold a few texts."""
    origins = frame["origins"].list.first()
    yield origins.struct.field("file").alias("file")
    names: Counter[str] = Counter()
    for extra in origins.struct.field("extra").unique().drop_nulls().sort().head(1000):
        names.update(json.loads(extra))
    found = 0
    for name in sorted(names):
        values = column(frame, name)
        is_category = values is not None and values.dtype == pl.String
        if values is not None and is_category and 2 <= values.n_unique() <= MOST_VALUES:
            yield values
            found += 1
        if found == MOST_COLUMNS:
            return
