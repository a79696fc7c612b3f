"""MoDS: good rows that cover the pool, then those that a student trained on these still lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.ranking import figure, rank
from treadle.data.selection import UNSCORED, Budget, Selection, tokens_of, vectors
from treadle.geometry.k_center import Centres, greedy_k_center
from treadle.op import select

ASKED = {"likelihood": "nll", "answer": "judged_answer"}
"""What a trained student is asked, by the sense of necessity."""


@select(
    reference="arXiv:2311.15653",
    cost="O(rows * seed * width); one training on the seed, and after it one pass over all rows, or (by "
    "`answer`) an answer and a call of the judge for each",
    needs=lambda options: (options["by"], options["on"]),
    learns=lambda options: (ASKED[options["necessity"]],),
    trainings=lambda options: (options["seed_share"],),
)
def mods(
    *,
    by: str,
    drop_below: float | None = None,
    on: str = "embedding",
    seed_share: Annotated[float, Field(gt=0, lt=1)] = 0.5,
    necessity: Literal["likelihood", "answer"] = "likelihood",
    necessary_above: float | None = None,
    necessary_below: float | None = None,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose a seed of good rows that covers the pool, then what a student trained on it lacks.

    Quality: rows below `drop_below` are left. Coverage: greedy k-center among the rest chooses the
    seed. Necessity: a copy of the student is trained on the seed, and the rows that it still lacks fill
    the budget. It is the only question here that asks what this student still needs once the obvious
    has been learnt.

    Two senses of what it lacks. `answer` is the publication's: the trained student answers each prompt,
    a judge scores the answers (`judged_answer`, whose options hold), and the lowest are necessary; it
    needs a judge with a licence. `likelihood` needs none: the rows whose own replies the trained student
    finds least likely. That confuses what it lacks with what is merely surprising: wrong and garbled
    replies come first, and the quality threshold is what holds them back, so choose one that does. The
    paper scores quality and answers with one reward model and takes 0 on its scale for both
    thresholds; by a judge, `by: judged_quality` and its scale.

    Args:
        by: the quality: a measure, or a numeric column of your own.
        drop_below: the least quality; without it all rows with a quality are good.
        on: a measure that gives a vector, or such a column of your own: what the seed has to cover.
        seed_share: of the budget, for the seed.
        necessity: what the trained student is asked.
        necessary_above: by likelihood, in nats a token: a row that it finds likelier is not necessary,
            even if the budget stays unfilled.
        necessary_below: by answer, on the judge's scale: a row whose prompt it answers better is not.
    """

    wanted = ASKED[necessity]
    lacked_by = f"{wanted}_after_seed"

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        good = rank(rows, by, drop_below=drop_below)
        points, has_vector = vectors(rows, on)
        left = good.left | dict.fromkeys(np.flatnonzero(~has_vector).tolist(), UNSCORED)
        inside = np.sort(good.order[has_vector[good.order]])
        tokens, part = tokens_of(rows), budget.times(seed_share)
        found = greedy_k_center(
            points[inside],
            count=part.rows_of(rows.height),
            tokens_N=tokens[inside],
            token_limit=part.token_limit,
        )
        seed, why = inside[found.order].tolist(), _seed_reasons(found)
        outside, rest = np.setdiff1d(inside, seed), budget.after(rows, seed)
        if not seed or not len(outside) or rest is None:
            return Selection.of(rows, seed, why, left=left)
        answer = context.after_training(rows["id"][seed].to_list()).sort("id")
        is_asked = pl.Series(np.isin(np.arange(rows.height), outside))
        asked = rows.with_columns(pl.when(is_asked).then(answer[wanted]).alias(lacked_by))
        if necessity == "likelihood":
            lacked = rank(asked, lacked_by, drop_below=necessary_above)
        else:
            lacked = rank(asked, lacked_by, ascending=True, drop_above=necessary_below)
        needed = rest.take(lacked.order, tokens)
        reasons = [*why, *lacked.reasons(needed)]
        return Selection.of(rows, [*seed, *needed], reasons, left=lacked.left | left)

    return choose


def _seed_reasons(found: Centres) -> list[str]:
    why = [f"seed: distance {figure(d)} to the chosen rows" for d in found.distances]
    why[:1] = ["seed: nearest to the mean of all good rows"] * len(why[:1])
    return why
