"""A row: one training example, and where it came from.

    Row(kind="chat", messages=(Message("user", "2+2?"), Message("assistant", "4", trains=True)))

A row's id is the hash of its content alone, so equal content from two files is one row with two
origins. User ids and extra columns belong to the origin, not to the content.

Not here: reading files (`read`), chat templates and token masks (`template`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl
import pyarrow as pa

from treadle.errors import DataError

Kind = Literal["chat", "preference", "answer"]
ROLES = ("system", "user", "assistant", "tool")

MESSAGE = pl.Struct({"role": pl.String, "content": pl.String, "trains": pl.Boolean})
ORIGIN = pl.Struct({"file": pl.String, "line": pl.Int64, "id": pl.String, "extra": pl.String})
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "kind": pl.String,
    "messages": pl.List(MESSAGE),
    "chosen": pl.String,
    "rejected": pl.String,
    "answer": pl.String,
    "origins": pl.List(ORIGIN),
}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `trains` says whether this turn carries loss."""

    role: str
    content: str
    trains: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row was read: file label, line (1-based), the user's id, extra columns as JSON."""

    file: str
    line: int
    id: str | None = None
    extra: str = "{}"


@dataclass(frozen=True, slots=True)
class Row:
    """One training example.

    `chat`: `messages` is the whole conversation. `preference`: `messages` is the prompt, followed
    by `chosen` or `rejected`. `answer`: `messages` is the prompt, `answer` its verifiable answer.
    """

    kind: Kind
    messages: tuple[Message, ...]
    chosen: str | None = None
    rejected: str | None = None
    answer: str | None = None
    origins: tuple[Origin, ...] = field(default=(), compare=False)

    @property
    def id(self) -> str:
        """Content hash: 32 hexadecimal digits of SHA-256 over canonical JSON."""
        turns = [[m.role, m.content, m.trains] for m in self.messages]
        content = [self.kind, turns, self.chosen, self.rejected, self.answer]
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The conversation to train on: the prompt followed by the good answer."""
        reply = self.chosen if self.kind == "preference" else self.answer
        if self.kind == "chat" or reply is None:
            return self.messages
        return (*self.messages, Message("assistant", reply, trains=True))

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the last turn that carries loss."""
        turns = self.conversation
        last = max((i for i, m in enumerate(turns) if m.trains), default=len(turns))
        return turns[:last]

    @property
    def reply(self) -> str:
        """The last turn that carries loss ('' when there is none)."""
        return next((m.content for m in reversed(self.conversation) if m.trains), "")

    @property
    def text(self) -> str:
        """All words of the row, one turn a line: what duplicate and contamination checks read."""
        parts = [m.content for m in self.conversation]
        if self.rejected is not None:
            parts.append(self.rejected)
        return "\n".join(parts)


def to_frame(rows: Iterable[Row]) -> pl.DataFrame:
    """Return rows as a frame with `SCHEMA`, merging equal content, sorted by id.

    Every origin survives the merge, so exact duplicates are counted and never lost.
    """
    merged: dict[str, Row] = {}
    origins: dict[str, list[Origin]] = {}
    for row in rows:
        key = row.id
        merged.setdefault(key, row)
        origins.setdefault(key, []).extend(row.origins)
    return frame_of(
        [
            replace(merged[key], origins=tuple(sorted(set(origins[key]), key=_place)))
            for key in sorted(merged)
        ]
    )


def _place(origin: Origin) -> tuple[str, int, str, str]:
    return origin.file, origin.line, origin.id or "", origin.extra


def frame_of(rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows as a frame with `SCHEMA`, one each, in their order, neither merged nor sorted.

    Built column by column: a dictionary for every turn would cost more than parsing a file does.
    """
    turns = [turn for row in rows for turn in row.messages]
    places = [origin for row in rows for origin in row.origins]
    columns = {
        "id": _column([row.id for row in rows], pl.String),
        "kind": _column([row.kind for row in rows], pl.String),
        "messages": _lists(
            [len(row.messages) for row in rows],
            role=_column([turn.role for turn in turns], pl.String),
            content=_column([turn.content for turn in turns], pl.String),
            trains=_column([turn.trains for turn in turns], pl.Boolean),
        ),
        "chosen": _column([row.chosen for row in rows], pl.String),
        "rejected": _column([row.rejected for row in rows], pl.String),
        "answer": _column([row.answer for row in rows], pl.String),
        "origins": _lists(
            [len(row.origins) for row in rows],
            file=_column([place.file for place in places], pl.String),
            line=_column([place.line for place in places], pl.Int64),
            id=_column([place.id for place in places], pl.String),
            extra=_column([place.extra for place in places], pl.String),
        ),
    }
    return pl.DataFrame(pa.table(columns), schema=SCHEMA)


def _lists(lengths: Sequence[int], **values: pa.Array) -> pa.Array:
    """Cut flat columns into one list of structs for each row."""
    bounds = list(itertools.accumulate(lengths, initial=0))
    structs = pa.StructArray.from_arrays(list(values.values()), names=list(values))
    return pa.LargeListArray.from_arrays(_column(bounds, pl.Int64), structs)


def _column(values: Sequence[object], kind: type[pl.DataType]) -> pa.Array:
    """Return values as Arrow by way of Polars: `pa.array` would import pandas where there is one."""
    return pl.Series(values, dtype=kind).to_arrow()


def from_frame(frame: pl.DataFrame) -> list[Row]:
    """Return the rows of a frame, in its order."""
    return [_row(record) for record in frame.select(SCHEMA.keys()).iter_rows(named=True)]


def _row(record: dict[str, object]) -> Row:
    messages, origins = record["messages"], record["origins"]
    if not isinstance(messages, list) or not isinstance(origins, list):
        raise DataError(f"row {record['id']}: the frame does not follow the row schema.")
    return Row(
        kind=record["kind"],  # type: ignore[arg-type]
        messages=tuple(Message(**m) for m in messages),
        chosen=record["chosen"],  # type: ignore[arg-type]
        rejected=record["rejected"],  # type: ignore[arg-type]
        answer=record["answer"],  # type: ignore[arg-type]
        origins=tuple(Origin(**o) for o in origins),
    )


def texts(frame: pl.DataFrame) -> list[str]:
    """Return `Row.text` for each row of a frame, without building rows one at a time."""
    tail = pl.concat_list(
        pl.when(pl.col(name).is_null())
        .then(pl.lit([], dtype=pl.List(pl.String)))
        .otherwise(pl.concat_list(pl.col(name)))
        for name in ("chosen", "answer", "rejected")
    )
    turns = pl.col("messages").list.eval(pl.element().struct.field("content"))
    return frame.select(pl.concat_list(turns, tail).list.join("\n")).to_series().to_list()


def column(frame: pl.DataFrame, name: str) -> pl.Series | None:
    """Return the user's extra column `name` (from the first origin that has it), or None.

    Where the user has none called `file`, that is the file that a row came from.
    """
    if frame.is_empty():
        return None
    extras = frame["origins"].list.eval(pl.element().struct.field("extra")).to_list()
    values = [_first(row, name) for row in extras]
    if all(value is None for value in values):
        return _files(frame) if name == "file" else None
    return pl.Series(name, values, strict=False)


def _files(frame: pl.DataFrame) -> pl.Series:
    return frame["origins"].list.first().struct.field("file").alias("file")


def _first(extras: Sequence[str], name: str) -> object:
    for text in extras:
        value: object = json.loads(text).get(name)
        if value is not None:
            return value
    return None
