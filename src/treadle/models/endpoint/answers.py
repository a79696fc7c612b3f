"""What comes back from an endpoint: an answer, or a failure that belongs to one request; and how far it is."""

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


@dataclass(slots=True)
class Progress:
    """Live figures of an `ask`: for progress bars and forecasts."""

    calls: int = 0
    done: int = 0
    failed: int = 0
    from_book: int = 0
    in_flight: int = 0
    tries: int = 0
    tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0

    @property
    def forecast_usd(self) -> float:
        """What all calls will have cost at the end, if the rest is like those so far."""
        asked = self.done - self.from_book
        left = self.calls - self.done
        return self.usd + (self.usd / asked * left if asked else 0.0)
