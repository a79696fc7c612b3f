"""How much does the student's likelihood of a reply depend on the exact words of its prompt?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.randomness import derived_rng
from treadle.data.row import Message, Row, from_frame
from treadle.data.template import Tokens, tokenise
from treadle.models.protocol import Scorable, Student
from treadle.op import measure

WORD = re.compile(r"\S+\s*")


@measure(
    reference="arXiv:2311.00288 (Active Instruction Tuning)",
    cost="1 + samples passes over each row",
    models=("student",),
    passes=lambda options: 1 + options["samples"],
)
def prompt_uncertainty(
    *,
    samples: Annotated[int, Field(ge=1)] = 10,
    drop: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    max_tokens: int = 1024,
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure the mean of |p(reply | prompt) - p(reply | prompt with words left out)|.

    p is exp(-mean loss over the reply's tokens), so both lie in [0, 1]. Each word of the user's turns
    is left out with probability `drop`, and at least one is; the last reply counts. High: the
    student half knows the task, and its answer hangs on the wording. Low: it knows the task in any
    wording, or not at all; `prompt_uncertainty_likelihood`, which is p(reply | prompt), tells which
    (the published map of easy, ambiguous and difficult tasks). A surprising reply has a small p and
    so a small difference. The published method averages over the rows of a task, and where there is
    no answer takes the student's own.

    Which words are left out follows from the row's content, so a row's value depends on nothing
    else. A prompt without words, or one that leaves no room for a reply, is unscored.

    Args:
        samples: how many prompts with words left out.
        drop: the chance of a word to be left out.
        max_tokens: rows are cut here, all versions of a reply to equal length.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        student: Student = context.model("student")
        limit = min(max_tokens, student.max_tokens)
        rows = from_frame(batch)
        versions = [_versions(row, samples, drop) for row in rows]
        flat = [version for group in versions for version in group]
        tokens = iter(tokenise(flat, student.tokenizer, max_tokens=limit))
        records = [
            _differences([next(tokens) for _ in group], student, context.tick) for group in versions
        ]
        columns = ("prompt_uncertainty", "prompt_uncertainty_likelihood")
        return pl.DataFrame(records, schema=dict.fromkeys(columns, pl.Float64), orient="row")

    return run


def _versions(row: Row, samples: int, drop: float) -> list[Row]:
    """Return the row with its last reply trained alone, and then its versions; or nothing."""
    turns = row.prompt
    words = [WORD.findall(turn.content) if turn.role == "user" else [] for turn in turns]
    total = sum(len(found) for found in words)
    if not total or not row.reply:
        return []
    rng = derived_rng("prompt_uncertainty", row.id)
    versions = [_with_reply(turns, row)]
    for _ in range(samples):
        kept = iter(_kept(total, drop, rng).tolist())
        thinned = [
            replace(turn, content="".join(word for word in found if next(kept)))
            if turn.role == "user"
            else turn
            for turn, found in zip(turns, words, strict=True)
        ]
        versions.append(_with_reply(thinned, row))
    return versions


def _kept(total: int, drop: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw which words stay; one is left out in any case, or short prompts would seldom change."""
    kept: NDArray[np.bool_] = rng.random(total) >= drop
    unlucky = int(rng.integers(total))
    if kept.all():
        kept[unlucky] = False
    return kept


def _with_reply(turns: Sequence[Message], row: Row) -> Row:
    silent = [replace(turn, trains=False) for turn in turns]
    return Row("chat", (*silent, Message("assistant", row.reply, trains=True)))


def _differences(
    versions: Sequence[Tokens], student: Student, tick: Callable[[], None]
) -> tuple[float | None, float | None]:
    """Score the versions of one row as a batch of their own: no other row can move its bits."""
    most = min((len(version.reply) for version in versions), default=0)
    if not most:
        return None, None
    asked = [Scorable.reply(version, most=most) for version in versions]
    scores = student.score(asked, tick=tick)
    chances = np.exp([score.logprobs.astype(np.float64).mean() for score in scores])
    if np.isnan(chances).any():  # nothing stood before a reply: its first token has no prediction
        return None, None
    return float(np.abs(chances[1:] - chances[0]).mean()), float(chances[0])
