"""How demanding is what a row asks for, in a judge's eyes? A score of the prompt alone."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.row import from_frame
from treadle.judge.rows import ScoreRubric, items_of, score
from treadle.op import measure

COLUMNS = {
    "judged_complexity": pl.Float64,
    "judged_complexity_confidence": pl.Float64,
    "judged_complexity_unscored": pl.String,
}


@measure(
    reference="arXiv:2312.15685 (DEITA)",
    cost="1 call of the judge a row, over its prompt, and 1 in 10 for canaries",
    models=("judge",), rubrics=("rubric",),
)  # fmt: skip
def judged_complexity(
    *, rubric: ScoreRubric = "deita_complexity"
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure how complex the request is: the mean over 1 to 6 under the judge's own probabilities.

    DEITA trained a scorer for this; here a judge is asked, in our words, so values are not comparable
    with published ones. It says nothing of the reply: a demanding request with a wrong answer scores
    high, which is why DEITA multiplies it with quality (`deita_score`). Long prompts look complex to
    most judges. Unscored with a reason, and licensed, as `judged_quality`.

    Args:
        rubric: `deita_complexity`, or a YAML file of your own that is about requests.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        items = items_of(from_frame(batch))
        found = score(
            context.model("judge"), rubric, items, tick=context.tick, on_progress=context.asking
        )
        records = [(one.value, one.confidence, one.unscored) for one in found]
        return pl.DataFrame(records, schema=COLUMNS, orient="row")

    return run
