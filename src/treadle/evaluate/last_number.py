"""Last number: for worked problems whose answer is the last number written."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

import polars as pl

from treadle.context import Context
from treadle.evaluate.generation import answered
from treadle.models.protocol import Student
from treadle.op import evaluate

NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


@evaluate(reference="arXiv:2110.14168 (GSM8K answer format)", cost="1 greedy generation an item")
def last_number(
    *, max_new_tokens: int = 256
) -> Callable[[Student, pl.DataFrame, Context], pl.DataFrame]:
    """Score 1 when the last number of the reply equals the last number of the answer.

    Fails where the reply goes on after its answer and mentions another number. An item whose answer
    holds no number stays unscored; a reply without one scores 0, and reports count it apart.
    """

    def check(reply: str, gold: str) -> bool | None:
        wanted = _last(gold)
        return None if wanted is None else _last(reply) == wanted

    return answered(check, max_new_tokens, lambda reply: _last(reply) is not None)


def _last(text: str) -> Decimal | None:
    found = NUMBER.findall(text)
    try:
        return Decimal(found[-1].replace(",", "")) if found else None
    except InvalidOperation:
        return None
