"""DEITA's score: complexity of each turn's request times quality of its reply, summed over turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import polars as pl

from treadle.context import Context
from treadle.data.row import from_frame
from treadle.judge.pairs import Score
from treadle.judge.rows import NO_REPLY, ScoreRubric, score, turns_of
from treadle.op import measure

COLUMNS = {
    "deita_score": pl.Float64,
    "deita_score_turns": pl.Int64,
    "deita_score_unscored": pl.String,
}


@measure(
    reference="arXiv:2312.15685",
    cost="2 calls of the judge a reply that carries loss, and 1 in 10 for canaries",
    models=("judge",), rubrics=("complexity", "quality",),
)  # fmt: skip
def deita_score(
    *,
    complexity: ScoreRubric = "deita_complexity",
    quality: ScoreRubric = "deita_quality",
    over: Literal["sum", "mean"] = "sum",
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure complexity times quality of each reply with the turn before it, summed over the row.

    What DEITA's filter walks down: `score_first_filter` by this. Each turn is shown alone, as there, so
    a turn that leans on earlier ones is judged without them. The sum is the published rule, and ranks
    rows with many turns first by construction; `mean` does not. One turn that cannot be scored leaves
    the row unscored (`deita_score_unscored` says which), for a sum over the rest would be a lower score
    for no reason; the published code gives such a turn 3. Complexity and quality are a judge's, asked in
    our words, where DEITA trained two scorers of 7B. Licensed, under both rubrics, as `judged_quality`.

    Args:
        complexity: a rubric about requests.
        quality: a rubric about answers.
        over: how turns count.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        turns = [turns_of(row) for row in from_frame(batch)]
        items = [item for row in turns for item in row]
        judge = context.model("judge")
        sides = [
            score(judge, rubric, items, tick=context.tick, on_progress=context.asking)
            for rubric in (complexity, quality)
        ]
        pairs = iter(list(zip(*sides, strict=True)))
        records = [_record([next(pairs) for _ in row], over) for row in turns]
        return pl.DataFrame(records, schema=COLUMNS, orient="row")

    return run


def _record(
    turns: Sequence[tuple[Score, Score]], over: Literal["sum", "mean"]
) -> tuple[float | None, int, str | None]:
    """Return a row's score, its turns, and why it has no score."""
    total = 0.0
    for number, (hard, good) in enumerate(turns, start=1):
        if hard.value is None or good.value is None:
            return None, len(turns), f"turn {number}: {hard.unscored or good.unscored}"
        total += hard.value * good.value
    if not turns:
        return None, 0, NO_REPLY
    return (total if over == "sum" else total / len(turns)), len(turns), None
