"""What does a row ask for? Tags in a judge's own words, not yet made comparable."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.data.row import from_frame
from treadle.judge.rows import TagRubric, items_of, tag
from treadle.op import measure

COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "judged_tags": pl.List(pl.String),
    "judged_tags_unscored": pl.String,
}


@measure(
    reference="arXiv:2308.07074 (InsTag)",
    cost="1 call of the judge a row, over its prompt",
    models=("judge",), rubrics=("rubric",),
)  # fmt: skip
def judged_tags(*, rubric: TagRubric = "tags") -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure the tags that a judge gives to a row's request, as it says them, in lower case.

    The first half of InsTag; `merged_tags` is the second, and the one to select by: a judge that is
    asked row by row says "maths" here and "mathematics" there, and every spelling counts as new.
    Kept apart so that another way of merging asks nobody. Naming takes no licence, since none
    measures it: look at the tags before you trust them. A reply that is no list of tags leaves the row
    unscored, with the reason in `judged_tags_unscored`; a request that says nothing has no tags.

    Args:
        rubric: `tags`, or a YAML file of your own of kind `tags`.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        items = items_of(from_frame(batch))
        found = tag(
            context.model("judge"), rubric, items, tick=context.tick, on_progress=context.asking
        )
        records = [(None if one.tags is None else list(one.tags), one.unscored) for one in found]
        return pl.DataFrame(records, schema=COLUMNS, orient="row")

    return run
