"""What a judge said about pairs of answers, in both orders, beside what is known of them.

Answers are numbered 1 and 2 as the pair has them, whatever order the judge saw; 0 is a tie, and
missing is a verdict that could not be read. `first` is the verdict when answer 1 was shown first,
`second` the one when answer 2 was.

    pair      label  first  second  length_1  length_2
    natural:0     1      1       1       120        80      right in both orders
    natural:1     2      1       2       200        90      took what it saw first
    natural:2     1      2    null        10        50      wrong, and unscored
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.errors import DataError

REQUIRED = ("pair", "label", "first", "second")
SCHEMA = {
    "pair": pl.String,
    "label": pl.Int64,
    "first": pl.Int64,
    "second": pl.Int64,
    "length_1": pl.Int64,
    "length_2": pl.Int64,
    "own": pl.Int64,
    "confidence": pl.Float64,
}
UNSCORED = -1
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One line a pair; `UNSCORED` where a verdict is missing. Optional columns are None or complete.

    `own` numbers the answer that the judge's own model wrote (0: neither). `confidence`, in [0, 1], is
    how sure the judge was of what it said, the mean of both orders; NaN where it did not tell.
    """

    pair: tuple[str, ...]
    label: Ints
    first: Ints
    second: Ints
    length_1: Ints | None = None
    length_2: Ints | None = None
    own: Ints | None = None
    confidence: Floats | None = None

    def __len__(self) -> int:
        return len(self.pair)

    @property
    def is_scored(self) -> Flags:
        """Whether both orders were scored."""
        scored: Flags = (self.first != UNSCORED) & (self.second != UNSCORED)
        return scored

    @property
    def settled(self) -> Ints:
        """The verdict that counts: what both orders say; a tie where they disagree."""
        agreed = np.where(self.first == self.second, self.first, 0)
        return np.where(self.is_scored, agreed, UNSCORED)

    def where(self, wanted: Flags) -> Verdicts:
        """Return the pairs that are wanted."""
        kept = np.flatnonzero(wanted)
        columns = (self.label, self.first, self.second, self.length_1, self.length_2, self.own)
        ints = [None if column is None else column[kept] for column in columns]
        label, first, second, length_1, length_2, own = ints
        assert label is not None
        assert first is not None
        assert second is not None
        pairs = tuple(self.pair[i] for i in kept)
        sure = None if self.confidence is None else self.confidence[kept]
        return Verdicts(pairs, label, first, second, length_1, length_2, own, sure)


def read_verdicts(frame: pl.DataFrame, *, where: str = "verdicts") -> Verdicts:
    """Read a frame with the columns of `SCHEMA`, of which `REQUIRED` must be there.

    Raises:
        DataError: a column is missing or of a wrong type, a number is none of 0, 1, 2, or a pair
            comes twice.
    """
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise DataError(f"{where}: no column {', '.join(missing)}. Needed: {', '.join(REQUIRED)}.")
    try:
        known = frame.select(pl.col(n).cast(t) for n, t in SCHEMA.items() if n in frame.columns)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{where}: {error}") from error
    twice = known["pair"].filter(known["pair"].is_duplicated())
    if len(twice):
        raise DataError(f"{where}: the pair {twice[0]!r} comes more than once.")
    for name in ("label", "first", "second", "own"):
        if name in known.columns:
            wrong = known.filter(~pl.col(name).is_in([0, 1, 2]) & pl.col(name).is_not_null())
            if len(wrong):
                line = wrong.row(0, named=True)
                raise DataError(
                    f"{where}: pair {line['pair']!r} has {name} {line[name]}; it must be 1, 2 or 0 (a tie)."
                )
    if known["label"].null_count() or known["pair"].null_count():
        raise DataError(f"{where}: a pair without a name or label says nothing about a judge.")

    def ints(name: str) -> Ints | None:
        if name not in known.columns or known[name].null_count() == len(known):
            return None
        return known[name].fill_null(UNSCORED).to_numpy().astype(np.int64)

    sure = known["confidence"] if "confidence" in known.columns else None
    if sure is not None and not sure.drop_nulls().is_between(0, 1).all():
        raise DataError(f"{where}: a confidence lies outside of [0, 1].")
    label, first, second = (ints(name) for name in ("label", "first", "second"))
    nobody = np.full(len(known), UNSCORED, dtype=np.int64)
    return Verdicts(
        tuple(known["pair"]), label if label is not None else nobody,
        first if first is not None else nobody, second if second is not None else nobody,
        ints("length_1"), ints("length_2"), ints("own"),
        None if sure is None else sure.cast(pl.Float64).fill_null(math.nan).to_numpy(),
    )  # fmt: skip
