"""What comes back from an endpoint: an answer, or a failure that belongs to one request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Reason = Literal["refused", "filtered", "malformed", "wrong_schema", "no_answer"]
"""`refused`: the server rejects this request (HTTP 400 and the like). `filtered`: its content filter
stopped the reply. `malformed`: replies that are none (cut JSON, HTML, no choices). `wrong_schema`: a
reply that does not fit what was asked for, after one repair. `no_answer`: faults, as often as tried."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply that could be read.

    `value` is the validated object where a schema was asked for, the vectors of an embedding call,
    and None otherwise; `logprobs` holds (token, log-probability, {alternative: log-probability}) a
    token where asked for; `tries` counts the sends that this answer took, in this session and before.
    """

    text: str
    finish: str
    prompt_tokens: int
    reply_tokens: int
    tries: int
    is_from_book: bool
    value: Any = None
    logprobs: tuple[tuple[str, float, dict[str, float]], ...] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that got no usable reply. Its row belongs in quarantine; it is no score of 0."""

    reason: Reason
    detail: str
    tries: int
    raw: bytes | None = None
