"""Where does the student see a row? Its own hidden states, pooled to one vector."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from treadle.context import Context
from treadle.data.row import from_frame
from treadle.data.template import tokenise
from treadle.models.protocol import Student
from treadle.op import measure


@measure(
    reference="arXiv:2503.01807 (the representation of RDS+)",
    cost="1 pass over each row, without the head",
    models=("student",),
)
def hidden_state(*, max_tokens: int = 1024) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure a unit vector: the student's last hidden states over the whole row, prompt included.

    The state of token i (from 0) weighs i + 1, because late tokens have read more of the row. Rows
    that ask the student for like abilities are near each other, which a sentence encoder, reading
    topics, need not see; the price is a pass of the student. Hidden states of language models lie in
    a narrow cone, so cosines are high throughout and only their order says something. A row without
    text has no vector. The published script weighs padding too and is right at batch size 1 only;
    it reads 2048 tokens of a row.

    Args:
        max_tokens: rows are cut here, as in training.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        student: Student = context.model("student")
        limit = min(max_tokens, student.max_tokens)
        rows = from_frame(batch)
        tokens = tokenise(rows, student.tokenizer, max_tokens=limit)
        found = student.hidden([t.ids for t in tokens], tick=context.tick).astype(np.float64)
        norms = np.sqrt((found * found).sum(axis=1, keepdims=True))
        vectors = (found / np.where(norms > 0, norms, 1)).astype(np.float32)
        column = pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))
        is_known = [
            bool(row.text.strip()) and bool(norm > 0)
            for row, norm in zip(rows, norms[:, 0], strict=True)
        ]
        frame = pl.DataFrame({"hidden_state": column})
        return frame.select(
            pl.when(pl.Series(is_known, dtype=pl.Boolean))
            .then("hidden_state")
            .alias("hidden_state")
        )

    return run
