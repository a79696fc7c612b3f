"""Mean negative log-likelihood of each item's answer: the evaluation that needs no parsing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from treadle.context import Context
from treadle.data.row import from_frame
from treadle.data.template import tokenise
from treadle.models.protocol import Scorable, Student
from treadle.op import evaluate


@evaluate(reference="teacher-forced likelihood", cost="1 forward pass an item")
def nll(*, max_tokens: int = 1024) -> Callable[[Student, pl.DataFrame, Context], pl.DataFrame]:
    """Score the mean NLL per answer token (nats, stop token included); lower is better.

    It sees every token, so it finds small differences with few items. It does not see whether the
    student would produce such an answer: a fluent student that ignores the question can do well.
    Items are cut at `max_tokens` (and the window); an item without any answer token stays unscored.
    """

    def run(student: Student, items: pl.DataFrame, context: Context) -> pl.DataFrame:
        limit = min(max_tokens, student.max_tokens)
        tokens = tokenise(from_frame(items), student.tokenizer, max_tokens=limit)
        scores = student.score([Scorable(t.ids, t.trains) for t in tokens], tick=context.tick)
        means = [_mean(s.logprobs) for s in scores]
        value = pl.Series("value", [None if m is None else -m for m in means], dtype=pl.Float64)
        read = pl.Series("tokens", [len(t.ids) for t in tokens], dtype=pl.Int64)
        return pl.DataFrame([items["item"], value, (-value).alias("score"), read])

    return run


def _mean(logprobs: np.ndarray) -> float | None:
    finite = logprobs[np.isfinite(logprobs)]
    return float(finite.astype(np.float64).mean()) if finite.size else None
