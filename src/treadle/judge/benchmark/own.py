"""Pairs of which the judge's own model wrote one answer: does it prefer its own where it is wrong?

The model answers fresh requests itself, and the code that made them says whether it is right. Its right
answers then meet a wrong one, its wrong ones the right one. A model that makes no mistakes here shows
no harmful self-preference here either: then the figure stays unmeasured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from treadle.judge.benchmark.fresh import Drawn
from treadle.judge.pairs import Pair
from treadle.models.endpoint.answers import Answer, Progress
from treadle.models.endpoint.client import Endpoint
from treadle.models.endpoint.wire import Chat

LONGEST_REPLY_TOKENS = 96
ONLY = "Give only the answer itself, without any other word."


def questions(drawn: Sequence[Drawn]) -> list[str]:
    """What the model is asked, one text a task."""
    return [f"{one.task.request}\n\n{ONLY}" for one in drawn]


def own_pairs(drawn: Sequence[Drawn], replies: Sequence[str | None]) -> list[Pair]:
    """Pair each reply with an answer of ours.

    A wrong reply counts if it looks like an answer to this request: about as long as the right one, and
    not the right one with words around it. Refusals and explanations are left out.
    """
    found = []
    for one, reply in zip(drawn, replies, strict=True):
        text = (reply or "").strip().rstrip(".")
        gap = abs(len(text) - len(one.task.right))
        looks_alike = gap <= max(2, len(one.task.right) // 4)
        if one.task.is_right(text):
            pair, own = one.pair(text, one.task.wrong[0]), one.label
        elif text and looks_alike and one.task.right.lower() not in text.lower():
            pair, own = one.pair(one.task.right, text), 3 - one.label
        else:
            continue
        found.append(replace(pair, own=own))
    return found


def written(
    endpoint: Endpoint, drawn: Sequence[Drawn], *, on_progress: Callable[[Progress], None]
) -> list[str | None]:
    """Let the judge's own model answer, at temperature 1: without variety there are no mistakes to prefer."""
    calls = [
        Chat.of(text, max_tokens=LONGEST_REPLY_TOKENS, temperature=1.0) for text in questions(drawn)
    ]
    replies = endpoint.ask(calls, on_progress=on_progress)
    return [
        one.text.rpartition("</think>")[2] if isinstance(one, Answer) else None for one in replies
    ]
