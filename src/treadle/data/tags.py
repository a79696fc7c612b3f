"""Tags that came with the data, as lists in one spelling: `"Math, code ; MATH"` -> `[math, code]`.

For selectors that count or cover tags (InsTag). No measure can do this: measures never see the
user's columns, for equal content must give equal features. A selector names the column in `needs`
and calls this.
"""

from __future__ import annotations

import polars as pl

from treadle.errors import DataError

SEPARATORS = "[,;|\n]"


def tag_lists(values: pl.Series) -> pl.Series:
    """Return each row's tags: lower-cased, runs of white space made one space, each tag once.

    A string is cut at commas, semicolons, bars and line ends. Order is kept, blank tags vanish,
    nothing is stemmed. A missing value and a blank string stay missing; an empty list is a row that
    was tagged with nothing.

    Raises:
        DataError: the column holds neither strings nor lists of strings.
    """
    if values.dtype == pl.String:
        written = values.set(values.str.strip_chars() == "", None)
        values = written.str.replace_all(SEPARATORS, "\n").str.split("\n")
    if values.dtype == pl.List(pl.Null):
        values = values.cast(pl.List(pl.String))
    if values.dtype != pl.List(pl.String):
        raise DataError(
            f"{values.name}: tags are strings or lists of strings, and this column holds "
            f"{values.dtype}. Name a column of tags."
        )
    tag = pl.element().str.to_lowercase().str.strip_chars().str.replace_all(r"\s+", " ")
    tidy = pl.col(values.name).list.eval(tag.filter(tag != "")).list.unique(maintain_order=True)
    return values.to_frame().select(tidy).to_series()
