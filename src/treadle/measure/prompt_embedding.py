"""Where does a prompt lie among all prompts? A sentence vector, for audits that look at meaning."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.row import from_frame
from treadle.data.sealed_index import question
from treadle.models.vectors import text_vectors
from treadle.op import measure


@measure(
    reference="arXiv:1908.10084",
    cost="1 encoder pass a row, over its prompt",
    models=("embedder",),
)
def prompt_embedding() -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure a unit vector of the row's prompt, without system turns.

    Beside `reply_embedding`, it tells rows that ask the same from rows that merely end alike, which
    one vector of the whole row (`embedding`) mixes. Encoders read only the beginning of long texts
    (MiniLM 256 word pieces), so prompts that open with the same long passage look alike whatever
    they ask. A row without a prompt has no vector.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        found = [question(row) for row in from_frame(batch)]
        column = text_vectors(found, context.model("embedder"), context.tick)
        return pl.DataFrame({"prompt_embedding": column})

    return run
