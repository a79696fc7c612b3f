"""Round-robin over the target rows: each takes the row most like it, in turn (RDS+)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np
import polars as pl

from treadle.context import Context
from treadle.data.ranking import figure
from treadle.data.selection import Budget, Selection, by_id, tokens_of
from treadle.geometry.cosine import Grid, pointed
from treadle.geometry.nearest import cosine_blocks
from treadle.geometry.points import Points
from treadle.geometry.round_robin import offers
from treadle.geometry.targets import Targets, vector_targets
from treadle.op import select

Offer = tuple[int, int, float]


@select(
    reference="arXiv:2503.01807 (RDS+, its selection)",
    cost="O(rows * target rows * width), no model call beyond the vectors",
    needs=lambda options: (options["on"],),
    target=lambda options: tuple(
        filter(None, (options["target_on"] or options["on"], options["group"]))
    ),
)
def round_robin(
    *, on: str = "embedding", target_on: str | None = None, group: str | None = None
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose for each target row in turn, by id, the most similar row (cosine) that is left.

    Taking turns serves every target row alike, where a mean or a maximum over them would serve the
    few that are near many rows. RDS+ does this on `hidden_state`, the student's own view of a row;
    on `gradient` against `gradient_plain` it is LESS with turns in place of its maximum.

    A narrow target collapses the choice: what no target row asks for is lost. Of 939,000 rows chosen
    for Tulu 3, targets from one benchmark gave a mean of 67.3 over tasks, targets from all of them
    76.1, random rows 74.6. Near-copies in the pool are chosen together; remove them before. Of equal
    cosines the lower id wins. A zero vector has no direction and stays unscored.

    Args:
        on: a measure that gives a vector, or such a column of your own.
        target_on: the vector of the target rows to compare with, if it is another.
        group: a column of the target rows (say, `task`): groups take turns in the order of their
            names, whatever their sizes, each by its most similar target row.

    Raises:
        DataError: no target row has a vector, or vectors differ in width from the pool's.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = by_id(rows)
        found = pointed(rows, on)
        wanted = vector_targets(
            context.target_rows, target_on or on, found.vectors.shape[1], each=True, group=group
        )
        tokens = tokens_of(rows)
        limit = np.inf if budget.token_limit is None else budget.token_limit
        may = tokens[found.positions] <= limit
        inside, to = found.positions[may], wanted.grid
        points = Points.of(found.vectors if may.all() else found.vectors[may])
        count = budget.reach(tokens[inside], rows.height)
        turns = islice(offers(points, to, wanted.starts, expected=count), count)
        place = inside.tolist()
        taken = {place[i]: (i, g, cosine) for i, g, cosine in turns}
        chosen = budget.take(list(taken), tokens)
        why = _reasons([taken[i] for i in chosen], points, to, wanted, group)
        return Selection.of(rows, chosen, why, left=found.left)

    return choose


def _reasons(
    taken: list[Offer],
    points: Points,
    to: Grid,
    wanted: Targets,
    group: str | None,
) -> list[str]:
    """Name the target row that each chosen row serves: of a group, the one most like it."""
    if group is None:
        return [f"cosine {figure(c)} to target {wanted.ids[g]}" for _, g, c in taken]
    why = [""] * len(taken)
    served: dict[int, list[int]] = {}
    for place, (_, g, _) in enumerate(taken):
        served.setdefault(g, []).append(place)
    for g, places in served.items():
        name, members = wanted.names[g], wanted.group(g)
        places.sort(key=lambda place: taken[place][0])
        mine = points.directions(np.array([taken[place][0] for place in places]))
        for part, block in cosine_blocks(mine, to[members]):
            for place, nearest in zip(places[part], block.argmax(axis=1), strict=True):
                key = wanted.ids[members.start + int(nearest)]
                cosine = figure(taken[place][2])
                why[place] = f"cosine {cosine} to target {key} of {group} {name}"
    return why
