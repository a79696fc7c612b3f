"""What audits and selectors answer: findings, budgets and selections.

Counts always add up: a selection names every row that it was given, as chosen or as left with a
reason, and it refuses to be built otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.errors import RecipeError

FINDING_SCHEMA: dict[str, type[pl.DataType]] = {
    "id": pl.String,
    "reason": pl.String,
    "other": pl.String,
    "figure": pl.Float64,
    "detail": pl.String,
}


@dataclass(frozen=True, slots=True)
class Findings:
    """What an audit found. `rows` (FINDING_SCHEMA) names rows that should be dropped and why.

    `other` is the row or evaluation item that a finding points at, `figure` its strength (for
    example the exact Jaccard similarity). `figures` holds summary numbers for the report.
    """

    rows: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FINDING_SCHEMA))
    figures: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much to select: a number of rows, a number of tokens, or a share of the rows."""

    unit: Literal["rows", "tokens", "share"]
    amount: float

    @classmethod
    def parse(cls, value: str | float | int, *, where: str = "select.keep") -> Budget:
        """Read `30%`, `0.3`, `300`, `300 rows` or `20000 tokens`.

        Raises:
            RecipeError: anything else.
        """
        text = str(value).strip().lower().replace("_", "").replace(",", "")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%|rows?|tokens?)?", text)
        if match is None:
            raise RecipeError(
                f"{where}: {value!r} is not a budget. Write 30%, 300 rows or 20000 tokens."
            )
        amount, unit = float(match[1]), (match[2] or "").rstrip("s")
        if unit == "%":
            amount, unit = amount / 100, "share"
        elif not unit:
            unit = "share" if amount < 1 or text == "1.0" else "row"
        if amount <= 0 or (unit == "share" and amount > 1):
            raise RecipeError(f"{where}: {value!r} is out of range: a share lies in (0%, 100%].")
        if unit == "row" and amount != int(amount):
            hint = f" Did you mean {amount:g}%?" if amount <= 100 else ""
            raise RecipeError(f"{where}: {value!r} rows is not a whole number.{hint}")
        return cls("share" if unit == "share" else "rows" if unit == "row" else "tokens", amount)

    def rows_of(self, total: int) -> int:
        """The most rows that this budget allows out of `total` (tokens do not limit rows)."""
        if self.unit == "tokens":
            return total
        amount = self.amount if self.unit == "rows" else round(self.amount * total)
        return min(total, max(1 if total else 0, int(amount)))

    def take(
        self, order: Sequence[int] | NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> list[int]:
        """Walk positions in order and return those that fit.

        `tokens` holds the length of every row. Under a token budget a row that does not fit is
        passed over and the walk goes on, so that the total comes close to the budget.
        """
        if self.unit != "tokens":
            return [int(i) for i in order[: self.rows_of(len(tokens))]]
        left, taken = int(self.amount), []
        smallest = int(tokens.min()) if len(tokens) else 0
        for i in order:
            if left < smallest:
                break
            if tokens[i] <= left:
                taken.append(int(i))
                left -= int(tokens[i])
        return taken


@dataclass(frozen=True, slots=True)
class Selection:
    """Chosen rows in order (`id`, `rank`, `reason`) and rows left out (`id`, `reason`)."""

    chosen: pl.DataFrame
    left: pl.DataFrame

    @classmethod
    def of(
        cls,
        rows: pl.DataFrame,
        chosen: Sequence[int],
        why: str | Sequence[str],
        *,
        left: Mapping[int, str] | None = None,
        otherwise: str = "over_budget",
    ) -> Selection:
        """Build a selection from positions in `rows`.

        Args:
            chosen: positions, in the order chosen.
            why: one reason for all, or one for each chosen row.
            left: reasons of particular rows that were left out; all others get `otherwise`.
        """
        ids = rows["id"].to_list()
        reasons = [why] * len(chosen) if isinstance(why, str) else list(why)
        picked = {
            "id": [ids[i] for i in chosen],
            "rank": list(range(len(chosen))),
            "reason": reasons,
        }
        inside, named = set(chosen), left or {}
        if len(inside) != len(chosen):
            raise ValueError("a selector chose a row twice")
        rest = [i for i in range(len(ids)) if i not in inside]
        dropped = {"id": [ids[i] for i in rest], "reason": [named.get(i, otherwise) for i in rest]}
        return cls(
            pl.DataFrame(picked, schema={"id": pl.String, "rank": pl.Int64, "reason": pl.String}),
            pl.DataFrame(dropped, schema={"id": pl.String, "reason": pl.String}),
        )

    @property
    def ids(self) -> list[str]:
        return self.chosen["id"].to_list()


def scored(rows: pl.DataFrame, feature: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a feature's values and which of them are scored (finite and not null)."""
    values = rows[feature].cast(pl.Float64).to_numpy()
    return values, np.isfinite(values)


def vectors(rows: pl.DataFrame, feature: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a vector feature as a matrix (zeros where missing) and which rows are scored."""
    series = rows[feature]
    has = series.is_not_null().to_numpy()
    width = series.dtype.size if isinstance(series.dtype, pl.Array) else 0
    if not width:
        width = max(series.list.len().fill_null(0).to_list(), default=0)
    matrix = np.zeros((rows.height, width), dtype=np.float32)
    if has.any() and width:
        matrix[has] = np.stack(series.drop_nulls().to_list()).astype(np.float32)
    return matrix, has & np.isfinite(matrix).all(axis=1)


def tokens_of(rows: pl.DataFrame) -> NDArray[np.int64]:
    """Return the training length of each row in tokens (column `length_total`)."""
    return rows["length_total"].fill_null(0).cast(pl.Int64).to_numpy()


def ids_of(frames: Iterable[pl.DataFrame]) -> set[str]:
    """Return the ids named by any of the frames."""
    return {key for frame in frames for key in frame["id"].to_list()}
