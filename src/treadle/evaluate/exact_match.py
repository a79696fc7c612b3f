"""Exact match: did the student say just this?"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from treadle.context import Context
from treadle.evaluate.generation import answered
from treadle.models.protocol import Student
from treadle.op import evaluate


@evaluate(reference="exact match", cost="1 greedy generation an item")
def exact_match(
    *, max_new_tokens: int = 64, ignore_case: bool = True
) -> Callable[[Student, pl.DataFrame, Context], pl.DataFrame]:
    """Score 1 when the greedy reply equals the answer, white space at the ends and runs apart.

    Strict by design: a right answer in other words counts 0. Use it where answers are short.
    """

    def tidy(text: str) -> str:
        joined = " ".join(text.split())
        return joined.casefold() if ignore_case else joined

    def check(reply: str, gold: str) -> bool | None:
        return tidy(reply) == tidy(gold) if gold.strip() else None

    return answered(check, max_new_tokens)
