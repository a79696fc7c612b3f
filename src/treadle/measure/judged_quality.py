"""How good is the reply, in a judge's eyes? A score by a rubric."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.row import from_frame
from treadle.judge.rows import ScoreRubric, items_of, score
from treadle.op import measure

COLUMNS = {
    "judged_quality": pl.Float64,
    "judged_quality_confidence": pl.Float64,
    "judged_quality_unscored": pl.String,
}


@measure(
    reference="arXiv:2307.08701 (AlpaGasus); arXiv:2312.15685 (DEITA's quality, by `deita_quality`)",
    cost="1 call of the judge a row, and 1 in 10 for canaries; each asked and paid for once",
    models=("judge",), rubrics=("rubric",),
)  # fmt: skip
def judged_quality(
    *, rubric: ScoreRubric = "alpagasus"
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure a judge's score of the last reply.

    AlpaGasus asks for one number from 0 to 5 and keeps rows from 4.5 on: `top` by this with
    `drop_below: 4.5`. A rubric with `reading: expectation` (`deita_quality`, 1 to 6) gives the mean
    over the judge's own probabilities, and their largest as `judged_quality_confidence`; it needs an
    endpoint with log-probabilities. Ours say in our words what the published prompts ask for, so
    scores are not comparable with published ones.

    The judge must hold the licence to filter by this rubric, or nothing is asked. Rows are data to it:
    each stands in a fence, and known good and bad answers are mixed in (a judge that falls for them
    ends the step). What cannot be read is unscored, with the reason in `judged_quality_unscored`,
    and so is a row without request or reply; a reply that is a mere shell (blank, "Answer:") gets the
    lowest score unasked. Most judges give most rows one of two numbers, so a ranking is mostly ties:
    `ds2` breaks them by rareness, and repairs slips. They also like long replies; look at what the
    selection prefers.

    Args:
        rubric: `alpagasus`, `deita_quality`, or a YAML file of your own.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        items = items_of(from_frame(batch))
        found = score(
            context.model("judge"), rubric, items, tick=context.tick, on_progress=context.asking
        )
        records = [(one.value, one.confidence, one.unscored) for one in found]
        return pl.DataFrame(records, schema=COLUMNS, orient="row")

    return run
