"""The text of a row, of its prompt or of its reply: what measures of words read."""

from __future__ import annotations

from typing import Literal

import polars as pl

from treadle.data.row import Row, from_frame, texts

Part = Literal["row", "prompt", "reply"]


def part_texts(frame: pl.DataFrame, of: Part) -> list[str | None]:
    """Return one text for each row, None where there is nothing but white space.

    `row` is every turn and the rejected answer, as duplicate checks read it; `prompt` is what stands
    before the last turn that carries loss, system text included; `reply` is that last turn.
    """
    if of == "row":
        found = texts(frame)
    else:
        part = _prompt if of == "prompt" else _reply
        found = [part(row) for row in from_frame(frame)]
    return [text if text.strip() else None for text in found]


def _prompt(row: Row) -> str:
    return "\n".join(turn.content for turn in row.prompt)


def _reply(row: Row) -> str:
    return row.reply
