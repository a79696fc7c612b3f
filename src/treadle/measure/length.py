"""How long is a row? The feature behind budgets, and the confounder behind many others."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.row import from_frame
from treadle.data.template import tokenise
from treadle.models.protocol import Student
from treadle.op import measure


@measure(
    reference="arXiv:2402.04833 (long is more)", cost="tokenising, no model pass",
    models=("student",),
)  # fmt: skip
def length(*, max_tokens: int = 1024) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure lengths in the student's tokens, rows cut at `max_tokens` as in training.

    Columns: `length`, tokens of the last reply with its stop token; `length_total`, all tokens of the
    row as trained, which is what token budgets count (none where no trained token is left after the
    cut: such a row cannot be trained, so no selector may choose it); `length_words`, words of the
    reply between white space. Tokens, words and characters order rows differently: say which you
    mean. In a run, `max_tokens` is the trainer's, so that arms of equal tokens are.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        student: Student = context.model("student")
        limit = min(max_tokens, student.max_tokens)
        rows = from_frame(batch)
        tokens = tokenise(rows, student.tokenizer, max_tokens=limit)
        return pl.DataFrame(
            {
                "length": [len(t.reply) or None for t in tokens],
                "length_total": [len(t.ids) if t.trains[1:].any() else None for t in tokens],
                "length_words": [
                    len(row.reply.split()) if any(m.trains for m in row.conversation) else None
                    for row in rows
                ],
            },
            schema={"length": pl.Int64, "length_total": pl.Int64, "length_words": pl.Int64},
        )

    return run
