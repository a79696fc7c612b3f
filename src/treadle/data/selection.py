"""What audits and selectors answer: findings, budgets and selections.

Counts always add up: a selection names every row that it was given, as chosen or as left with a
reason, and it refuses to be built otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.errors import DataError, RecipeError, nearest

UNSCORED = "unscored"
UNKNOWN_LENGTH = 2**62
LEAST_LOOK_AHEAD = 8
_AMOUNT = re.compile(r"([0-9]+(?:_[0-9]+)*|[0-9]{1,3}(?:,[0-9]{3})+|[0-9]*\.[0-9]+|[0-9]+\.[0-9]*)")
_BUDGET = re.compile(_AMOUNT.pattern + r"\s*(%|rows?|tokens?)?")
_FLOPS = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e\+?[0-9]+)?)\s*flops?")

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

    `suspicions` (the same schema) names rows that a person should look at and nobody drops. `other` is the row or evaluation item that a finding points at, `figure` its strength (for
    example the exact Jaccard similarity). `figures` holds summary numbers for the report.
    """

    rows: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FINDING_SCHEMA))
    figures: Mapping[str, object] = field(default_factory=dict)
    suspicions: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FINDING_SCHEMA))


@dataclass(frozen=True, slots=True)
class Budget:
    """How much to select: a number of rows, a number of tokens, or a share of the rows.

    Or so many FLOPs, for choosing and training together; what they leave for training is known once
    the measures are taken (`flywheel.flops`), and no selector is ever handed such a budget.
    """

    unit: Literal["rows", "tokens", "share", "flops"]
    amount: float

    @classmethod
    def parse(
        cls, value: str | float | int, *, where: str = "select.keep", flops: bool = False
    ) -> Budget:
        """Read `30%`, `0.3`, `300`, `300 rows` or `20000 tokens`; with `flops` also `2e15 FLOPs`.

        A bare number below 1, or written `1.0`, is a share; any other is a number of rows. Commas
        and underscores may part thousands, so `1,5%` is refused instead of being read as 15%.

        Raises:
            RecipeError: anything else.
        """
        text = str(value).strip().lower()
        if flops and (found := _FLOPS.fullmatch(text)) and float(found[1]) > 0:
            return cls("flops", float(found[1]))
        match = _BUDGET.fullmatch(text)
        if match is None:
            raise RecipeError(
                f"{where}: {value!r} is not a budget. Write 30%, 300 rows or 20000 tokens."
            )
        number = match[1].replace("_", "").replace(",", "")
        amount, unit = float(number), (match[2] or "").rstrip("s")
        if unit == "%":
            amount, unit = amount / 100, "share"
        elif not unit:
            unit = "share" if amount < 1 or text == "1.0" else "row"
        if amount <= 0 or (unit == "share" and amount > 1):
            raise RecipeError(
                f"{where}: {value!r} is out of range: a share lies in (0%, 100%], rows and tokens "
                "start at 1."
            )
        if unit != "share" and amount != int(amount):
            hint = f" Did you mean {amount:g}%?" if not match[2] and amount <= 100 else ""
            raise RecipeError(f"{where}: {value!r} is not a whole number of {unit}s.{hint}")
        return cls("share" if unit == "share" else "rows" if unit == "row" else "tokens", amount)

    @property
    def token_limit(self) -> int | None:
        """The most tokens that this budget allows (None: tokens are not limited)."""
        return int(self.amount) if self.unit == "tokens" else None

    def times(self, factor: float) -> Budget:
        """Return this budget enlarged by a factor (a share stays within the whole)."""
        amount = self.amount * factor
        if self.unit == "share":
            return Budget(self.unit, min(1.0, amount))
        return Budget(self.unit, max(1, round(amount)))

    def after(self, rows: pl.DataFrame, taken: Sequence[int]) -> Budget | None:
        """Return what this budget leaves of itself once these positions are taken; None if nothing."""
        if self.unit == "tokens":
            left = int(self.amount) - int(tokens_of(rows)[list(taken)].sum())
            return Budget("tokens", left) if left > 0 else None
        left = self.rows_of(rows.height) - len(taken)
        return Budget("rows", left) if left > 0 else None

    def rows_of(self, total: int) -> int:
        """The most rows that this budget allows out of `total` (tokens do not limit rows)."""
        assert self.unit != "flops", "FLOPs are turned into tokens before anything is chosen"
        if self.unit == "tokens":
            return total
        amount = self.amount if self.unit == "rows" else round(self.amount * total)
        return min(total, max(1 if total else 0, int(amount)))

    def reach(self, tokens: NDArray[np.int64], total: int) -> int:
        """How many places of an order of `tokens` are enough to fill this budget out of `total` rows.

        Whichever rows come first: who builds an order step by step need not go on past it.
        """
        if self.unit != "tokens":
            return min(len(tokens), self.rows_of(total))
        fits = int(np.searchsorted(np.cumsum(np.sort(tokens)), self.amount, side="right"))
        return min(len(tokens), fits + 1 + max(LEAST_LOOK_AHEAD, fits // 10))

    def take(
        self, order: Sequence[int] | NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> list[int]:
        """Walk positions in order and return those that fit.

        `tokens` holds the length of every row. Under a token budget the walk ends at the first row
        that does not fit any more, but for one last row: the first that does among the next tenth
        of the order. A walk to the end would come closer to the budget, but with the worst rows of
        a ranking, and with the shortest of a random draw. A row longer than the whole budget is
        passed over.
        """
        if self.unit != "tokens":
            return [int(i) for i in order[: self.rows_of(len(tokens))]]
        walk = np.asarray(order, dtype=np.int64)
        walk = walk[tokens[walk] <= self.amount]
        spent = np.cumsum(tokens[walk])
        count = int(np.searchsorted(spent, self.amount, side="right"))
        left = self.amount - (int(spent[count - 1]) if count else 0)
        after = walk[count + 1 :][: max(LEAST_LOOK_AHEAD, len(walk) // 10)]
        return [*walk[:count].tolist(), *after[tokens[after] <= left][:1].tolist()]


@dataclass(frozen=True, slots=True)
class Selection:
    """Chosen rows in order (`id`, `rank` from 0, `reason`) and rows left out (`id`, `reason`).

    Raises:
        ValueError: a row is named twice, so the counts would not add up.
    """

    chosen: pl.DataFrame
    left: pl.DataFrame

    def __post_init__(self) -> None:
        named = pl.concat([self.chosen["id"], self.left["id"]])
        if named.n_unique() < len(named):
            twice = named.filter(named.is_duplicated())
            raise ValueError(f"a selection names row {twice[0]} twice")

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
        ids, picked = rows["id"], np.fromiter(map(index, chosen), np.int64)
        is_left = np.ones(len(ids), dtype=np.bool_)
        is_inside = (picked >= 0) & (picked < len(ids))
        is_left[picked[is_inside]] = False
        if np.count_nonzero(~is_left) < len(picked):
            raise ValueError("a selector chose a row twice, or one that it was not given")
        left = left or {}
        if left and not 0 <= min(left) <= max(left) < len(ids):
            raise ValueError("a selector left out a row that it was not given")
        reasons = [otherwise] * len(ids)
        for i, reason in left.items():
            reasons[i] = reason
        taken = {
            "id": ids.gather(picked),
            "rank": np.arange(len(picked)),
            "reason": [why] * len(picked) if isinstance(why, str) else list(why),
        }
        rest = {"id": ids, "reason": reasons}
        return cls(
            pl.DataFrame(taken, schema={"id": pl.String, "rank": pl.Int64, "reason": pl.String}),
            pl.DataFrame(rest, schema={"id": pl.String, "reason": pl.String}).filter(is_left),
        )

    @property
    def ids(self) -> list[str]:
        return self.chosen["id"].to_list()


def matched_budget(selection: Selection, rows: pl.DataFrame) -> Budget:
    """Return the token budget at which a control arm is as large as `selection`.

    Equal tokens, not equal rows: a selector that likes long rows would otherwise train on more text
    than its control, and win for that alone.

    Raises:
        DataError: nothing was chosen, or a chosen row is missing or has no length.
    """
    chosen = rows.filter(pl.col("id").is_in(selection.ids))
    known = chosen.filter(pl.Series(has_length(chosen)))
    if known.height != selection.chosen.height or not known.height:
        raise DataError(
            f"select: {known.height} of {selection.chosen.height} chosen rows have a length in "
            "tokens (`length_total`): no control of equal size can be drawn."
        )
    return Budget("tokens", max(1, int(tokens_of(known).sum())))


def scored(rows: pl.DataFrame, feature: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a feature's values and which of them are scored (finite and not null).

    Raises:
        DataError: there is no such column, or it holds no numbers.
    """
    series = column_of(rows, feature)
    if not (series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null)):
        raise DataError(f"select: column {feature!r} holds {series.dtype}, not numbers.")
    values = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return values, np.isfinite(values)


def by_id(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in the order of their ids; they mostly come so, and then nothing is copied."""
    return rows if rows["id"].is_sorted() else rows.sort("id")


def vectors(rows: pl.DataFrame, feature: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a vector feature as a matrix (zeros where missing) and which rows are scored.

    A vector that is empty, holds a missing or infinite number, or has another width than most is
    not scored.

    Raises:
        DataError: there is no such column, or it holds no vectors.
    """
    series = column_of(rows, feature)
    if isinstance(series.dtype, pl.Array):
        if series.dtype.inner == pl.Float32 and series.dtype.size and not series.has_nulls():
            whole: NDArray[np.float32] = series.to_numpy()
            if np.isfinite(whole).all():
                return whole, np.ones(len(whole), np.bool_)
        series = series.arr.to_list()
    if series.dtype == pl.Null:
        return np.zeros((rows.height, 0), np.float32), np.zeros(rows.height, np.bool_)
    if not (isinstance(series.dtype, pl.List) and _is_number(series.dtype.inner)):
        raise DataError(f"select: column {feature!r} holds {series.dtype}, not vectors.")
    widths = series.list.len().fill_null(0)
    usual = widths.filter(widths > 0).mode()
    width = int(usual.min()) if len(usual) else 0  # type: ignore[arg-type]
    is_scored = ((widths == width) & (widths > 0)).to_numpy().copy()
    flat = series.filter(pl.Series(is_scored)).explode().cast(pl.Float32).to_numpy()
    found = flat.reshape(-1, width) if width else np.zeros((0, 0), np.float32)
    finite = np.isfinite(found).all(axis=1)
    is_scored[is_scored] = finite
    matrix = np.zeros((rows.height, width), dtype=np.float32)
    matrix[is_scored] = found[finite]
    return matrix, is_scored


def _is_number(dtype: object) -> bool:
    return isinstance(dtype, pl.DataType) and (dtype.is_numeric() or dtype == pl.Null)


def labels(rows: pl.DataFrame, feature: str) -> pl.Series:
    """Return the single values of a column as texts, null where missing.

    Raises:
        DataError: there is no such column, or it holds lists or the like.
    """
    series = column_of(rows, feature)
    if series.dtype.is_nested() or series.dtype in (pl.Object, pl.Binary):
        raise DataError(f"select: column {feature!r} holds {series.dtype}, not single values.")
    if series.dtype.is_float():
        series = series.fill_nan(None)
    return series.cast(pl.String)


def column_of(rows: pl.DataFrame, name: str) -> pl.Series:
    """Return a column.

    Raises:
        DataError: there is none of that name; the message names the nearest one.
    """
    if name not in rows.columns:
        raise DataError(f"select: the rows have no column {name!r}.{nearest(name, rows.columns)}")
    return rows[name]


def tokens_of(rows: pl.DataFrame) -> NDArray[np.int64]:
    """Return the training length of each row in tokens (column `length_total`).

    A row of unknown length counts as one that fits no budget: missing is not zero.
    """
    known = pl.Series(has_length(rows))
    lengths = rows["length_total"].cast(pl.Int64, strict=False)
    return lengths.zip_with(known, pl.Series([UNKNOWN_LENGTH])).to_numpy()


def has_length(rows: pl.DataFrame) -> NDArray[np.bool_]:
    """Return which rows have a known training length; a row without one is unscored."""
    return scored(rows, "length_total")[1]


def ids_of(frames: Iterable[pl.DataFrame]) -> set[str]:
    """Return the ids named by any of the frames."""
    return {key for frame in frames for key in frame["id"].to_list()}
