"""P3: from easy to hard at the student's own pace, and in each round rows unlike each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.ranking import figure
from treadle.data.selection import UNSCORED, Budget, Selection, scored, tokens_of
from treadle.geometry.cosine import directed
from treadle.geometry.volume import greedy_dpp
from treadle.op import select

BEYOND = "beyond_pace"
EASIEST = 1e-6
"""The least difficulty: a reply that is certain still has a place in the order."""

Floats = NDArray[np.float64]


@select(
    reference="arXiv:2408.05541",
    cost="O(rows * chosen * width); each round but the last a training on all rows chosen so far, "
    "and one pass over all rows after it",
    needs=lambda options: ("nll", options["on"]),
    learns=("nll",),
    trainings=lambda options: tuple(
        (i + 1) / options["rounds"] for i in range(options["rounds"] - 1)
    ),
)
def p3(
    *,
    on: str = "embedding",
    rounds: Annotated[int, Field(ge=2, le=10)] = 3,
    begin: Annotated[float, Field(gt=0, le=1)] = 0.45,
    end: Annotated[float, Field(gt=0, le=1)] = 0.95,
    weight: Annotated[float, Field(ge=0)] = 1.0,
    ridge: Annotated[float, Field(gt=0, le=1)] = 0.01,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose in rounds: of the rows that the student can cope with by now, hard ones that differ.

    A row's difficulty is 1 - exp(-nll), one minus the mean (geometric) chance that the student of
    this round gives a token of the reply: the untrained one at first, then a copy trained on all rows
    chosen so far. The pace is the share of rows, easiest first, that may be chosen: it grows from
    `begin` to `end` in equal steps, so that the hardest rows, among which noise is, come late or
    never. Of these rows each round takes its equal part of the budget by a determinantal point
    process, with the difficulty as quality (`dpp`).

    Variant: the paper trains on a new choice each epoch and forgets the last one; here the rounds
    add up to one choice, and every arm is trained on it from the start, so what it tests is the
    choice and not the curriculum. The paper takes a reply line by line, and its code ends the pace
    a step short of `end`. Rows of one round are weighed against each other, not against those of the
    rounds before.

    Difficulty is surprise: a correct reply in an unusual style is hard, a wrong one in the usual
    style easy. A budget that is larger than the pace allows stays unfilled.

    Args:
        on: a measure that gives a vector, or such a column of your own.
        rounds: parts of the budget; all but the last cost a training.
        begin: share of the rows that the first round may choose from.
        end: that of the last round.
        weight: the power to which the difficulty is raised.
        ridge: how much of each row is its own, whatever the others are.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        found = directed(rows, on)
        nll, is_scored = scored(rows, "nll")
        left = dict.fromkeys(np.flatnonzero(~is_scored).tolist(), UNSCORED) | found.left
        may = is_scored[found.positions]
        grid, members = found.grid[may], found.positions[may]
        ids, tokens = rows["id"].to_list(), tokens_of(rows)
        chosen: list[int] = []
        why: list[str] = []
        paced = np.zeros(0, dtype=np.int64)
        for turn in range(1, rounds + 1):
            hard = difficulty(nll[members])
            paced = eligible(hard, begin + (end - begin) * (turn - 1) / (rounds - 1))
            paced = paced[~np.isin(members[paced], chosen)]
            part = budget.times(turn / rounds).after(rows, chosen)
            if part is not None and len(paced):
                new = greedy_dpp(
                    grid[paced],
                    weight * np.log(np.maximum(hard[paced], EASIEST)),
                    ridge=ridge,
                    count=part.rows_of(rows.height),
                    tokens_N=tokens[members[paced]],
                    token_limit=part.token_limit,
                )
                chosen += members[paced[new.order]].tolist()
                why += [
                    f"round {turn}, difficulty {figure(float(hard[paced[i]]))}, "
                    f"{figure(share / (1 + ridge))} of it new"
                    for i, share in zip(new.order, new.new_parts, strict=True)
                ]
            if turn == rounds or not chosen or budget.after(rows, chosen) is None:
                break
            answer = context.after_training([ids[i] for i in chosen]).sort("id")
            nll = scored(answer, "nll")[0]
        for i in np.setdiff1d(members, members[paced]).tolist():
            left.setdefault(i, BEYOND)
        return Selection.of(rows, chosen, why, left=left)

    return choose


def difficulty(nll: Floats) -> Floats:
    """Return one minus the mean (geometric) chance of a token; NaN where it is not known."""
    hard: Floats = -np.expm1(-nll)
    return hard


def eligible(hard: Floats, share: float) -> NDArray[np.int64]:
    """Return positions, in order, of this share of the known rows, easiest first; equal ones by place."""
    known = np.flatnonzero(np.isfinite(hard))
    order = known[np.argsort(hard[known], kind="stable")]
    return np.sort(order[: math.ceil(share * len(known))])
