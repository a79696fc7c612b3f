"""Does a row help as an example? One-shot against zero-shot, on a few rows that stand for the pool."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import Field

from treadle.context import Context
from treadle.data.row import Message, Row, from_frame
from treadle.data.selection import has_length, vectors
from treadle.data.template import Tokens, tokenise
from treadle.geometry.k_center import representatives
from treadle.models.protocol import Scorable, Student
from treadle.op import measure


@dataclass(frozen=True, slots=True)
class Anchor:
    """A row that examples are tried on: turns as (role, text), the answer last.

    `tokens` is how many tokens of the answer count, `alone` their mean log-probability without an
    example.
    """

    id: str
    turns: Sequence[Sequence[str]]
    tokens: int
    alone: float


def choose_anchors(rows: pl.DataFrame, options: Mapping[str, Any], context: Context) -> bytes:
    """Choose rows that stand for the regions of the pool, and score their answers by themselves."""
    student: Student = context.model("student")
    rows = rows.sort("id")
    points, has_point = vectors(rows, "embedding")
    able = np.flatnonzero(has_point & has_length(rows))
    chosen = able[representatives(points[able], count=options["anchors"])]
    found = [row for row in from_frame(rows[chosen.tolist()]) if len(_turns(row)) > 1 and row.reply]
    limit = min(options["window"], student.max_tokens) // 2
    asked = [Scorable.reply(t) for t in _tokens([_turns(r) for r in found], student, limit)]
    anchors = []
    for row, score in zip(found, student.score(asked, tick=context.tick), strict=True):
        alone = score.logprobs.astype(np.float64).mean() if len(score.logprobs) else np.nan
        if np.isfinite(alone):
            turns = [(turn.role, turn.content) for turn in _turns(row)]
            anchors.append(Anchor(row.id, turns, len(score.logprobs), float(alone)))
    return json.dumps([asdict(anchor) for anchor in anchors]).encode()


@measure(
    reference="arXiv:2312.10302 (NUGGETS)",
    cost="anchors passes over each row with an anchor's prompt and answer after it; the row itself is "
    "read once",
    needs=("embedding", "length"),
    models=("student",),
    fit=choose_anchors,
    passes=lambda options: 1 + options["anchors"],
)
def one_shot_gain(
    *, anchors: Annotated[int, Field(ge=1)] = 10, window: int = 2048
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure the share of anchors whose answers the student finds likelier after this row.

    The row stands before the anchor's prompt as an earlier exchange. This is the published golden
    score: with few anchors it has few levels and most rows tie, so `one_shot_gain_mean`, the mean
    gain in log-probability a token (nats), is there to rank by. Anchors are rows of the pool, one for
    each region of its embedding (the publication takes 100 from k-means). A row is not tried on
    itself.

    A gain need not be of content: a row shows the format and the length of answers too. System
    turns are left out, of rows and of anchors. An anchor takes up half the window at the most, its
    answer cut if need be; a row that does not fit before each of them is unscored, as is one
    without a reply.

    Args:
        anchors: how many, at the most.
        window: the longest sequence to read, in tokens.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        assert context.fitted is not None
        student: Student = context.model("student")
        limit = min(window, student.max_tokens)
        known = [Anchor(**anchor) for anchor in json.loads(context.fitted)]
        rows = from_frame(batch)
        tried = [[a for a in known if a.id != row.id] if row.reply else [] for row in rows]
        shots = [_turns(row) for row in rows]
        pairs = [
            [*shot, *(Message(role, text) for role, text in anchor.turns)]
            for shot, group in zip(shots, tried, strict=True)
            for anchor in group
        ]
        tokens = iter(_tokens(pairs, student, limit))
        records = [
            _gain([next(tokens) for _ in group], group, student, context.tick) for group in tried
        ]
        columns = ("one_shot_gain", "one_shot_gain_mean")
        return pl.DataFrame(records, schema=dict.fromkeys(columns, pl.Float64), orient="row")

    return run


def _turns(row: Row) -> list[Message]:
    """The row up to its last reply, system turns left out."""
    turns = [turn for turn in row.prompt if turn.role != "system"]
    return [*turns, Message("assistant", row.reply)]


def _tokens(chats: Sequence[Sequence[Message]], student: Student, limit: int) -> list[Tokens]:
    """Tokenise conversations whose last turn alone is scored."""
    rows = [
        Row(
            "chat",
            (
                *(Message(turn.role, turn.content) for turn in chat[:-1]),
                Message(chat[-1].role, chat[-1].content, trains=True),
            ),
        )
        for chat in chats
    ]
    return tokenise(rows, student.tokenizer, max_tokens=limit)


def _gain(
    pairs: Sequence[Tokens],
    anchors: Sequence[Anchor],
    student: Student,
    tick: Callable[[], None],
) -> tuple[float | None, float | None]:
    """Return the share of anchors that gain, and the mean gain.

    The anchors of one row are a batch of their own: what they share, the row, is then computed once.
    """
    fits = [len(t.reply) >= a.tokens for t, a in zip(pairs, anchors, strict=True)]
    if not anchors or not all(fits):
        return None, None
    asked = [Scorable.reply(t, most=a.tokens) for t, a in zip(pairs, anchors, strict=True)]
    scores = student.score(asked, tick=tick)
    shown = np.array([score.logprobs.astype(np.float64).mean() for score in scores])
    gains = shown - np.array([anchor.alone for anchor in anchors])
    return float((gains > 0).mean()), float(gains.mean())
