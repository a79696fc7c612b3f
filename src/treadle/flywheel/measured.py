"""What a round knows of its rows: features, which rows can be used, and how far measures read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.selection import UNSCORED, Selection, has_length
from treadle.errors import RecipeError
from treadle.flywheel.features import Features


@dataclass(frozen=True)
class Measured:
    """Features of all rows, of those on which no measure failed, and a context with the target's.

    `target_flops` says what measuring the target's rows took, by measure.
    """

    features: Features
    rows: pl.DataFrame
    context: Context
    target_flops: Mapping[str, int] = field(default_factory=dict)

    def with_more(self, later: Measured) -> Measured:
        """Add features that a later step measured, on fewer rows."""
        new = [c for c in later.features.frame.columns if c not in self.features.frame.columns]
        frame = self.features.frame.join(
            later.features.frame.select("id", *new), on="id", how="left", maintain_order="left"
        )
        failed = pl.concat([self.features.failed, later.features.failed]).unique("id", keep="first")
        flops = Counter(self.features.flops) + Counter(later.features.flops)
        target_flops = {**later.target_flops, **self.target_flops}
        features = Features(frame, failed.sort("id"), flops)
        return replace(self, features=features, target_flops=target_flops)


def sample(pool: Pool, rows: int | None, seed: int) -> Pool:
    """Return so many random rows; which ones depends on their ids and the seed alone."""
    if rows is None or rows >= len(pool):
        return pool

    def draw(key: str) -> str:
        return hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()

    return pool.keep(sorted(pool.ids, key=draw)[:rows])


def everything(rows: pl.DataFrame) -> Selection:
    """Choose every row that can be trained on."""
    may_train = np.flatnonzero(has_length(rows)).tolist()
    return Selection.of(rows, may_train, "everything", otherwise=UNSCORED)


def cut_at(
    max_tokens: int, options: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """Let every measure read a row as far as the trainer does.

    Else arms of equal tokens by the measure would not be equal in training.

    Raises:
        RecipeError: the recipe says that `length` counts otherwise.
    """
    found = dict(options)
    for op in registry.ops("measure"):
        if "max_tokens" in op.parameters:
            default = op.parameters["max_tokens"].default
            asked = found.get(op.name, {}).get("max_tokens", default)
            if asked != default and asked != max_tokens and op.name == "length":
                raise RecipeError(
                    f"measure.length: max_tokens is {asked}, but training reads {max_tokens} tokens of "
                    "a row, and arms are made equal by this length. Leave it out, or set "
                    "train.max_tokens."
                )
            reach = max_tokens if asked == default else asked
            found[op.name] = {**found.get(op.name, {}), "max_tokens": reach}
    return found
