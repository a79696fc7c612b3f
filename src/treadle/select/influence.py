"""Rows whose training step lowers the target's loss most: first-order influence (LESS, CLUES)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.context import Context
from treadle.data.ranking import rank
from treadle.data.selection import Budget, Selection, tokens_of, vectors
from treadle.geometry.cosine import RADIUS, Floats, Grid, directed, directions
from treadle.geometry.nearest import cosine_blocks
from treadle.geometry.targets import Targets, vector_targets
from treadle.op import select


@select(
    reference="arXiv:2402.04333 (LESS); Ryan0v0/CLUES (NeurIPS 2024)",
    cost="O(rows * groups * width), beyond the gradients",
    needs=lambda options: (options["on"],),
    target=lambda options: tuple(filter(None, (options["target_on"], options["group"]))),
)
def influence(
    *,
    on: str = "gradient",
    target_on: str = "gradient_plain",
    variant: Literal["less", "clues"] = "less",
    group: str | None = None,
    drop_below: float | None = None,
) -> Callable[[pl.DataFrame, Budget, Context], Selection]:
    """Choose the rows whose gradient points most along the target rows' gradients.

    A small step on a row changes a target row's loss by minus the learning rate times the product of
    their gradients. A row's score is made of the means over the target rows of each group. Variants:
    `less` takes the mean cosine and of the groups the largest; `clues` takes the mean product as it
    is and adds the groups up. Without lengths, short replies do not win by their large gradients;
    with them, `clues` may be decided by a few rows. CLUES' lengths need vectors that still have them:
    write `measure: {gradient: {scale: length}}`, or they are all 1.

    Adam's step is mostly memory, which all rows share, so their scores lie close together: `on:
    gradient_plain` compares plain gradients with plain ones, as TracIn does for a training by SGD.

    A mean hides target rows that pull apart, and the largest over groups lets the easiest group take
    all (`round_robin` on the same vectors takes turns). The gradients are of one moment, and the rows
    chosen are not weighed against each other: near-copies all come.

    Args:
        on: vectors of the pool's rows: `gradient`, the step that Adam would take, as LESS and CLUES
            do, or `gradient_plain`.
        target_on: vectors of the target rows: the plain gradient.
        variant: `less` or `clues`.
        group: a column of the target rows (say, `subtask`); without it they are all one group.
        drop_below: leave out rows that score less: CLUES' threshold, which parties that keep their
            rows to themselves can share.

    Raises:
        DataError: no target row has a vector, or vectors differ in width from the pool's.
    """

    def choose(rows: pl.DataFrame, budget: Budget, context: Context) -> Selection:
        rows = rows.sort("id")
        found = directed(rows, on)
        wanted = vector_targets(context.target_rows, target_on, found.grid.shape[1], group=group)
        values, groups = _scores(found.grid, wanted, variant)
        if variant == "clues":
            values *= _lengths(vectors(rows, on)[0][found.positions])
        scores, best = np.full(rows.height, np.nan), np.zeros(rows.height, np.int64)
        scores[found.positions], best[found.positions] = values, groups
        named = rows.with_columns(influence=pl.Series(scores))
        ranking = rank(named, "influence", drop_below=drop_below)
        chosen = budget.take(ranking.order, tokens_of(rows))
        why = ranking.reasons(chosen)
        if group is not None:
            why = [
                f"{told}, on {group} {wanted.names[best[i]]}"
                for told, i in zip(why, chosen, strict=True)
            ]
        return Selection.of(rows, chosen, why, left=ranking.left)

    return choose


def _scores(
    grid: Grid, wanted: Targets, variant: Literal["less", "clues"]
) -> tuple[Floats, NDArray[np.int64]]:
    """Return each row's score, and the group whose mean product with it is the largest.

    A mean of products is the product with the mean: one a group. Rows have length 1; targets keep
    theirs for `clues`.
    """
    targets = wanted.grid / RADIUS if variant == "less" else wanted.points.astype(np.float64)
    sizes = np.diff(np.append(wanted.starts, len(targets)))
    means_GD = np.add.reduceat(targets, wanted.starts, axis=0, dtype=np.float64) / sizes[:, None]
    lengths = _lengths(means_GD)
    scores, best = np.empty(len(grid)), np.empty(len(grid), np.int64)
    for part, block in cosine_blocks(grid, directions(means_GD)):
        products = block * lengths
        best[part] = products.argmax(axis=1)
        scores[part] = products.max(axis=1) if variant == "less" else products.sum(axis=1)
    return scores, best


def _lengths(points: NDArray[np.floating]) -> Floats:
    lengths: Floats = np.linalg.norm(points.astype(np.float64), axis=1)
    return lengths
