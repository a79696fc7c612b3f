"""What a round ends with: per-item results go in, a verdict comes out.

Results are one row per arm, training seed and evaluation item (RESULT_SCHEMA). Arms: `selected` (the
tested one), its controls (`random`, `longest`), the reference `full`, and `before` (the untrained
student). `score` is oriented so that higher is better; `value` is the figure to show (`nll` in nats
a token, lower is better; `exact_match` 0 or 1). `source` is the cluster that an item belongs to.
`item` is the name of the evaluation set, a colon, and the id of the row.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import polars as pl

Decision = Literal["accept", "hold", "roll_back"]
ArmRole = Literal["tested", "control", "reference", "incumbent"]

RESULT_SCHEMA: dict[str, type[pl.DataType]] = {
    "arm": pl.String,
    "seed": pl.Int64,
    "item": pl.String,
    "source": pl.String,
    "score": pl.Float64,
    "value": pl.Float64,
}


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm: its mean value over items and seeds, with an interval, and one mean a seed.

    `low` and `high` are two-sided at 1 - 2 * alpha; those of an arm with one seed cover the luck of
    items only.
    """

    name: str
    role: ArmRole
    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The tested arm against another, paired by item and seed.

    `effect` is the mean difference of `score` (positive: the tested arm is better), `low` and `high`
    its two-sided interval at 1 - 2 * alpha. `p_better` and `p_worse` are one-sided, and `low > 0`
    and `p_better <= alpha` agree, as do `high < 0` and `p_worse <= alpha`: where an exact test has
    to agree as well, the larger p-value counts and the interval is widened to match. `sd_items` is the standard error from the choice of items alone;
    `sd_seeds` that from training seeds and from single answers (0 with one seed: it cannot be seen).
    `clusters` is the number of independent groups of items; if it is 1, all items come from one
    source and are counted as if each stood alone.
    """

    against: str
    role: ArmRole
    effect: float
    low: float
    high: float
    p_better: float
    p_worse: float
    items: int
    clusters: int
    seeds: int
    sd_items: float
    sd_seeds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's decision, the sentence a person would say, and the evidence."""

    decision: Decision
    sentence: str
    metric: str
    alpha: float
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return plain data for `verdict.json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SetResult:
    """The same figures for the items of one evaluation set. They decide nothing."""

    items: int
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]


def by_set(results: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Part results by evaluation set, in the order of the sets' names."""
    names = results.with_columns(pl.col("item").str.replace(":[^:]*$", "").alias("_set"))
    parts = names.partition_by("_set", as_dict=True, include_key=False)
    return {str(name): parts[(name,)] for (name,) in sorted(parts)}
