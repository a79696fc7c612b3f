"""Tag cover: rows with many tags, each of which brings a tag not yet seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from treadle.context import Context
from treadle.data.selection import (
    UNSCORED,
    Budget,
    Selection,
    column_of,
    has_length,
    labels,
    tokens_of,
)
from treadle.data.tags import tag_lists
from treadle.op import select

NO_TAGS = "no_tags"


@select(
    reference="arXiv:2308.07074",
    cost="one sort and one look at each tag of each row, beyond the tags themselves",
    needs=lambda options: (options["by"],),
)
def tag_cover(*, by: str) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Walk rows by falling number of tags and take those that bring an unseen tag, in passes.

    InsTag's sampler: the number of tags stands for complexity, their coverage for diversity. When a
    pass ends with budget left, all tags count as unseen again and the rows left are walked once
    more. It is as good as its tags: spellings that differ (`math`, `maths`) count as two tags and
    are sought out, and a tagger that says more about long rows makes this a selector of long rows.

    Args:
        by: a column of tags: lists, or texts that are cut at commas, semicolons, bars and line
            ends. Case does not count.

    Raises:
        DataError: the column holds neither lists of texts nor single values.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        tags, may = _tags(rows, by), has_length(rows).tolist()
        left = {i: UNSCORED for i, found in enumerate(tags) if found is None or not may[i]}
        left |= {i: NO_TAGS for i, found in enumerate(tags) if found == [] and may[i]}
        known = {i: found for i, found in enumerate(tags) if found and may[i]}
        walk = sorted(known, key=lambda i: (-len(known[i]), i))
        passes = dict(zip(walk, _passes([known[i] for i in walk]), strict=True))
        order = sorted(walk, key=lambda i: passes[i])
        chosen = budget.take(order, tokens_of(rows))
        why = [f"tag count {len(known[i])}, pass {passes[i] + 1}" for i in chosen]
        return Selection.of(rows, chosen, why, left=left)

    return choose


def _tags(rows: pl.DataFrame, by: str) -> list[list[str] | None]:
    """Return the distinct tags of each row; None where the value is missing."""
    values = column_of(rows, by)
    is_list = isinstance(values.dtype, pl.List)
    found: list[list[str] | None] = tag_lists(values if is_list else labels(rows, by)).to_list()
    return found


def _passes(tags: Sequence[Sequence[str]]) -> list[int]:
    """Return the pass (from 0) in which each row of a walk is taken.

    A row is taken in the first pass in which one of its tags was brought by no row before it. What
    a pass has seen when it reaches a row follows from the rows before it alone, so one walk tells
    all passes; walking again and again would take the square of the rows when all share one tag.
    A tag's passes have no gap: a row that could fill one would have been taken there.
    """
    first_unseen: dict[str, int] = {}
    passes = []
    for row in tags:
        taken = min(first_unseen.get(tag, 0) for tag in row)
        passes.append(taken)
        for tag in row:
            first_unseen[tag] = max(first_unseen.get(tag, 0), taken + 1)
    return passes
