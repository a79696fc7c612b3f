"""Lint checks that read the loss mask: does every reply train, whole, up to its stop token?

A model whose stop token is outside the mask trains with a falling loss and then never stops, so the
mask itself is read here, token by token, as training will see it. The template's promises are not.

A row that cannot be tokenised is recorded with its reason and the other rows go on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.data.row import Row, from_frame
from treadle.data.template import Tokenizer, Tokens, safe_turns, tokenise

NO_LIMIT = 2**31 - 1
BATCH_ROWS = 512

Failing = Literal["template_fails", "cannot_encode", "mask_impossible"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that has no tokens, the step at which it failed, and what was said."""

    id: str
    check: Failing
    message: str


MASK_SCHEMA: dict[str, type[pl.DataType]] = {
    "id": pl.String,
    "tokens": pl.Int64,  # whole length
    "trained": pl.Int64,  # tokens that carry loss, before the cut
    "reply": pl.Int64,  # tokens of the last reply, before the cut
    "trained_kept": pl.Int64,  # tokens that carry loss and lie inside the limit
    "stops": pl.Boolean,  # every reply, uncut, ends in a stop token that carries loss
    "stops_kept": pl.Boolean,  # the same for what is left after the cut
    "reply_cut": pl.Boolean,  # the last reply loses its end
    "reply_lost": pl.Boolean,  # the last reply lies wholly beyond the limit
}


@dataclass(frozen=True, slots=True)
class Masks:
    """What the loss masks say: one row a tokenised row (MASK_SCHEMA), and the failures."""

    rows: pl.DataFrame
    failures: tuple[Failure, ...]


def read_masks(frame: pl.DataFrame, tokenizer: Tokenizer, *, max_tokens: int) -> Masks:
    """Tokenise every row of a frame, whole, and read its mask with and without the cut."""
    stops = tokenizer.stop_ids
    records: list[tuple[object, ...]] = []
    failures: list[Failure] = []
    for part in frame.iter_slices(BATCH_ROWS):
        rows = from_frame(part)
        for key, row, tokens in zip(part["id"], rows, _tokens(rows, tokenizer), strict=True):
            if tokens is None:
                failures.append(_why(key, row, tokenizer))
            else:
                records.append((key, *_read(tokens, stops, max_tokens)))
    return Masks(pl.DataFrame(records, schema=MASK_SCHEMA, orient="row"), tuple(failures))


def _tokens(rows: Sequence[Row], tokenizer: Tokenizer) -> list[Tokens | None]:
    """Tokenise a batch; if that fails, halve it until the rows that fail stand alone."""
    try:
        return list(tokenise(rows, tokenizer, max_tokens=NO_LIMIT))
    except Exception:  # row boundary: templates and tokenizers may fail in any way on any row
        if len(rows) == 1:
            return [None]
        middle = len(rows) // 2
        return _tokens(rows[:middle], tokenizer) + _tokens(rows[middle:], tokenizer)


def _why(key: str, row: Row, tokenizer: Tokenizer) -> Failure:
    """Repeat the steps of a row that failed, one by one: the first that fails names the check."""
    check: Failing = "template_fails"
    try:
        text = tokenizer.render(safe_turns(row.conversation, tokenizer), open_reply=False)
        check = "cannot_encode"
        tokenizer.encode([text])
        check = "mask_impossible"
        tokenise([row], tokenizer, max_tokens=NO_LIMIT)
    except Exception as error:  # row boundary, as above
        text = re.sub(rf"^row {key}: ", "", str(error).strip()) or type(error).__name__
        return Failure(key, check, text.split("\n", 1)[0][:200])
    return Failure(key, check, "failed in company with other rows and not alone")


def _read(tokens: Tokens, stops: frozenset[int], max_tokens: int) -> tuple[object, ...]:
    """Return the figures of MASK_SCHEMA after `id`."""
    trains, length = tokens.trains, len(tokens.ids)
    trained = int(trains.sum())
    kept = trained if length <= max_tokens else int(trains[:max_tokens].sum())
    stops_whole = trained > 0 and tokens.has_stop and _ends_in(tokens.ids, trains, stops)
    stops_kept = stops_whole
    if kept < trained:
        ids, mask = tokens.ids[:max_tokens], trains[:max_tokens]
        stops_kept = kept > 0 and _ends_in(ids, mask, stops)
    reply_lost = kept < trained and tokens.reply_from >= max_tokens
    reply_cut = kept < trained and not reply_lost
    reply = int(trains[tokens.reply_from :].sum())
    return length, trained, reply, kept, stops_whole, stops_kept, reply_cut, reply_lost


def _ends_in(ids: NDArray[np.int32], trains: NDArray[np.bool_], stops: frozenset[int]) -> bool:
    """Does every run of trained tokens end in a stop token?"""
    is_last = trains.copy()
    is_last[:-1] &= ~trains[1:]
    return all(int(token) in stops for token in ids[is_last])
