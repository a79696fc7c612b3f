"""The words of a row: what term matching such as BM25 reads."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.parts import Part, part_texts
from treadle.op import measure
from treadle.text import words as text


@measure(
    reference="Unicode NFKC and case folding (UAX #15)", cost="splitting the text, no model pass"
)
def words(*, of: Part = "row") -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure the list of words of the row, of its prompt or of its last reply, in order.

    The tokeniser is `treadle.text.words.words`, the one of the duplicate and contamination checks:
    NFKC and case folding, then runs of letters, marks and numbers of any script; in scripts written
    without spaces each character is a word. Symbols separate words and are gone: `don't` is two
    words, `C++` is `c`, and `5 + 3` reads like `5 - 3`. Nothing is stemmed and no word is left out
    as too common. A part without a word is missing, not an empty list. The column is about as large
    as the text.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        found = [(part and text.words(part)) or None for part in part_texts(batch, of)]
        return pl.DataFrame({"words": found}, schema={"words": pl.List(pl.String)})

    return run
