"""Where does a reply lie among all replies? A sentence vector, for audits that look at meaning."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.row import Row, from_frame
from treadle.models.vectors import text_vectors
from treadle.op import measure


@measure(
    reference="arXiv:1908.10084",
    cost="1 encoder pass a row, over its reply",
    models=("embedder",),
)
def reply_embedding() -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure a unit vector of the row's reply: the last turn that carries loss.

    Of a preference row it reads the chosen reply and then the rejected one. Encoders read only the
    beginning of long texts (MiniLM 256 word pieces), so long replies that open alike look alike,
    and one word that turns the sense of a sentence hardly moves its vector. A row without a reply
    has no vector.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        found = [_said(row) for row in from_frame(batch)]
        column = text_vectors(found, context.model("embedder"), context.tick)
        return pl.DataFrame({"reply_embedding": column})

    return run


def _said(row: Row) -> str:
    return row.reply if row.rejected is None else f"{row.reply}\n{row.rejected}"
