"""Token log-probabilities of the replies, from one cached pass; all likelihood scores derive from it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from treadle.context import Context
from treadle.data.row import from_frame
from treadle.data.template import Tokens, tokenise
from treadle.models.protocol import Scorable, Student, TokenScores
from treadle.op import measure

FLOATS = pl.List(pl.Float32)


@measure(
    reference="arXiv:2308.12032 (the two passes of IFD)",
    cost="1 pass over each row and 1 over its reply alone, in one batch",
    models=("student",),
)
def token_logprobs(*, max_tokens: int = 1024) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure the log-probability of every token that carries loss, with and without the prompt.

    Columns: `token_logprobs`, all trained tokens given everything before them (nats);
    `token_logprobs_entropy`, the entropy of each prediction; `token_logprobs_direct`, the tokens of
    the last reply given only the header that opens a reply, without prompt and system text;
    `token_logprobs_last`, how many trained tokens belong to the last reply. The reply's token ids are
    the same in both, so the two are aligned token by token, which the published scripts are not.
    Rows are cut at `max_tokens`; a row without a trained token stays unscored. Values of one row may
    differ in their last bits with the rows that it is batched with.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        student: Student = context.model("student")
        limit = min(max_tokens, student.max_tokens)
        rows = tokenise(from_frame(batch), student.tokenizer, max_tokens=limit)
        scored = _score(rows, student, context)
        return pl.DataFrame(
            {
                "token_logprobs": [_list(s and s[0].logprobs) for s in scored],
                "token_logprobs_entropy": [_list(s and s[0].entropies) for s in scored],
                "token_logprobs_direct": [_list(s and s[1].logprobs) for s in scored],
                "token_logprobs_last": [len(t.reply) or None for t in rows],
                "token_logprobs_is_truncated": [t.is_truncated for t in rows],
            },
            schema={
                "token_logprobs": FLOATS,
                "token_logprobs_entropy": FLOATS,
                "token_logprobs_direct": FLOATS,
                "token_logprobs_last": pl.Int32,
                "token_logprobs_is_truncated": pl.Boolean,
            },
        )

    return run


def _score(
    rows: list[Tokens], student: Student, context: Context
) -> list[tuple[TokenScores, TokenScores] | None]:
    """Score every row and every distinct reply once, in one call."""
    wanted = [i for i, row in enumerate(rows) if row.trains.any()]
    whole = [Scorable(rows[i].ids, rows[i].trains) for i in wanted]
    alone = [Scorable.reply_alone(rows[i]) for i in wanted]
    # Keys hold the header too: the same ids may divide into header and reply in two ways.
    keys = [
        (len(rows[i].header), text.ids.tobytes()) for i, text in zip(wanted, alone, strict=True)
    ]
    distinct = dict(zip(keys, alone, strict=True))
    scores = student.score([*whole, *distinct.values()], tick=context.tick)
    direct = dict(zip(distinct, scores[len(whole) :], strict=True))
    found: list[tuple[TokenScores, TokenScores] | None] = [None] * len(rows)
    for i, key, score in zip(wanted, keys, scores, strict=False):
        found[i] = (score, direct[key])
    return found


def _list(values: NDArray[np.float32] | None) -> list[float | None] | None:
    """A token without a prediction (nothing stands before it) is missing, not NaN."""
    if values is None:
        return None
    return [None if np.isnan(value) else float(value) for value in values]
