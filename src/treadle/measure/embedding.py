"""Where does a row lie among all texts? A sentence vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import polars as pl

from treadle.context import Context
from treadle.data.row import from_frame
from treadle.models.vectors import text_vectors
from treadle.op import measure


@measure(
    reference="arXiv:1908.10084", cost="1 encoder pass a row", models=("embedder",)
)  # fmt: skip
def embedding(
    *, of: Literal["row", "prompt"] = "row"
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure a unit vector of the row's text, or of its prompt alone.

    Close vectors mean texts about the same thing, in the encoder's eyes. Encoders read only the
    beginning of long texts (MiniLM 256 word pieces), so long rows that begin alike look alike.
    A row without text has no vector.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        rows = from_frame(batch)
        if of == "row":
            found = [row.text for row in rows]
        else:
            found = ["\n".join(turn.content for turn in row.prompt) for row in rows]
        column = text_vectors(found, context.model("embedder"), context.tick)
        return pl.DataFrame({"embedding": column})

    return run
