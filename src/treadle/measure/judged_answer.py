"""How good is the student's own answer to what a row asks, in a judge's eyes?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.row import from_frame
from treadle.judge.pairs import Item
from treadle.judge.rows import NO_REQUEST, ScoreRubric, said, score
from treadle.models.protocol import Student
from treadle.op import measure

COLUMNS = {"judged_answer": pl.Float64, "judged_answer_unscored": pl.String}


@measure(
    reference="arXiv:2311.15653 (MoDS: necessity)",
    cost="1 answer of the student and 1 call of the judge a row, and 1 in 10 for canaries",
    models=("student", "judge"),
    rubrics=("rubric",),
    passes=2.0,  # the answer is written anew, and is about as long as the row's own
)
def judged_answer(
    *, rubric: ScoreRubric = "alpagasus", max_new_tokens: Annotated[int, Field(ge=1)] = 256
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure a judge's score of what the student itself answers, greedily, to the row's prompt.

    Low: the student still needs to learn this. The row's own reply is not looked at. An answer that is
    cut at `max_new_tokens` is judged as it stands, and an empty one gets the lowest score. A weak
    student fails on nearly all rows, and then this says which are failed most plainly, not which would
    help. Unscored with a reason, and licensed, as `judged_quality`.

    Args:
        rubric: a rubric about answers.
        max_new_tokens: of the student's answer.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        student: Student = context.model("student")
        rows = from_frame(batch)
        asked = [i for i, row in enumerate(rows) if said(row.prompt).strip()]
        replies = student.generate(
            [rows[i].prompt for i in asked], max_new_tokens=max_new_tokens, tick=context.tick
        )
        items = [
            # An empty answer is a poor one and not a missing one: the rule for shells scores the dots.
            Item(rows[i].id, said(rows[i].prompt), reply.text if reply.text.strip() else "…")
            for i, reply in zip(asked, replies, strict=True)
        ]
        found = score(
            context.model("judge"), rubric, items, tick=context.tick, on_progress=context.asking
        )
        by_row = dict(zip(asked, found, strict=True))
        records = [
            (by_row[i].value, by_row[i].unscored) if i in by_row else (None, NO_REQUEST)
            for i in range(len(rows))
        ]
        return pl.DataFrame(records, schema=COLUMNS, orient="row")

    return run
