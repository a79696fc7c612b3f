"""Rows as a frame, built column by column: the quick half of reading.

`row.to_frame` makes a dictionary of every turn and lets Polars find its way through them, which
costs more than parsing the file did. Here each field goes straight into one flat Arrow column. Equal
rows are neither merged nor sorted: `read` does that once, for all files together.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from treadle.data.row import SCHEMA, Row

TEXT = pa.large_string()
TURN_FIELDS = ("role", "content", "trains")
ORIGIN_FIELDS = ("file", "line", "id", "extra")


def frame_of(rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows as a frame with `row.SCHEMA`, one each, in their order."""
    turns = [turn for row in rows for turn in row.messages]
    origins = [origin for row in rows for origin in row.origins]
    columns = {
        "id": pa.array([row.id for row in rows], TEXT),
        "kind": pa.array([row.kind for row in rows], TEXT),
        "messages": _lists(
            [len(row.messages) for row in rows],
            pa.array([turn.role for turn in turns], TEXT),
            pa.array([turn.content for turn in turns], TEXT),
            pa.array([turn.trains for turn in turns], pa.bool_()),
            names=TURN_FIELDS,
        ),
        "chosen": pa.array([row.chosen for row in rows], TEXT),
        "rejected": pa.array([row.rejected for row in rows], TEXT),
        "answer": pa.array([row.answer for row in rows], TEXT),
        "origins": _lists(
            [len(row.origins) for row in rows],
            pa.array([origin.file for origin in origins], TEXT),
            pa.array([origin.line for origin in origins], pa.int64()),
            pa.array([origin.id for origin in origins], TEXT),
            pa.array([origin.extra for origin in origins], TEXT),
            names=ORIGIN_FIELDS,
        ),
    }
    return pl.DataFrame(pa.table(columns), schema=SCHEMA)


def _lists(lengths: Sequence[int], *values: pa.Array, names: Sequence[str]) -> pa.Array:
    """Cut flat columns into one list of structs for each row."""
    bounds = [0]
    for length in lengths:
        bounds.append(bounds[-1] + length)
    structs = pa.StructArray.from_arrays(list(values), names=list(names))
    return pa.LargeListArray.from_arrays(pa.array(bounds, pa.int64()), structs)
