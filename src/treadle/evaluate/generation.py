"""Let the student answer and check each answer with a function.

A user's own evaluation is one op around `answered`:

    @evaluate(reference="ours", cost="1 generation an item")
    def polite(*, max_new_tokens: int = 64):
        \"\"\"Score 1 if the reply says please.\"\"\"
        return answered(lambda reply, gold: "please" in reply.lower(), max_new_tokens)
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.row import from_frame
from treadle.models.protocol import Student

Check = Callable[[str, str], bool | None]
HasAnswer = Callable[[str], bool]


def _says_something(reply: str) -> bool:
    return bool(reply.strip())


def answered(
    check: Check, max_new_tokens: int, has_answer: HasAnswer = _says_something
) -> Callable[[Student, pl.DataFrame, Context], pl.DataFrame]:
    """Return an evaluation: greedy replies, checked by `check(reply, gold)`.

    `check` returns True, False, or None for *cannot tell*, which leaves the item unscored.
    `has_answer` says whether a reply holds anything that could be an answer, right or wrong: one that
    does not scores as `check` says and is counted as a failure of form besides.
    """

    def run(student: Student, items: pl.DataFrame, context: Context) -> pl.DataFrame:
        rows = from_frame(items)
        replies = student.generate(
            [row.prompt for row in rows], max_new_tokens=max_new_tokens, tick=context.tick
        )
        checked = [check(r.text, row.reply) for r, row in zip(replies, rows, strict=True)]
        value = [None if passed is None else float(passed) for passed in checked]
        return pl.DataFrame(
            {
                "item": items["item"],
                "value": pl.Series(value, dtype=pl.Float64),
                "score": pl.Series(value, dtype=pl.Float64),
                "reply": [r.text for r in replies],
                "has_stopped": [r.has_stopped for r in replies],
                "has_answer": [has_answer(r.text) for r in replies],
                "tokens": [r.prompt_tokens + r.tokens for r in replies],
            }
        )

    return run
