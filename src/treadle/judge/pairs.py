"""What a judge is shown, what it says, and who it is.

A `Pair` is two answers to one request, of which a judge names the better; an `Item` is one answer,
which it scores. What could not be read is unscored, with its reason: never 0, never a tie.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np

from treadle.judge.figures.verdicts import UNSCORED, Ints, Verdicts
from treadle.models.endpoint.answers import Progress


@dataclass(frozen=True, slots=True)
class Item:
    """One answer to a request. `name` is unique among the items that are judged together."""

    name: str
    request: str
    answer: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one request, and what is known of them.

    `label` is 1 or 2 for the better answer, 0 for a tie, None where nobody knows. `own` numbers the
    answer that the judge's own model wrote (0: neither; None: nobody knows).
    """

    name: str
    request: str
    answer_1: str
    answer_2: str
    label: int | None = None
    own: int | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """What a judge makes of an item: a number, or why there is none (`unscored`).

    `parts` holds the dimensions of a rubric that has several; `confidence`, in [0, 1], how sure the
    judge is by its own log-probabilities, where those were asked for.
    """

    value: float | None
    unscored: str | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What a licence is bound to: a judge is another judge when any of these changes.

    `prompt` hashes the code and the words that a verdict is asked and read with, `rubric_hash` the
    content of the rubric.
    """

    url: str
    model: str
    kind: str
    prompt: str
    rubric: str
    rubric_hash: str

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that name this judge."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def nothing() -> None:
    """Do nothing between calls."""


def unseen(progress: Progress) -> None:
    """Show nobody how far it is."""


def as_verdicts(pairs: Sequence[Pair], said: Sequence[tuple[int | None, int | None]]) -> Verdicts:
    """Put what was said in both orders (1, 2, 0, None for unscored) beside what is known of the pairs.

    A pair without a label has `UNSCORED` there; `own` is there if it is known of every pair.
    """
    owns = [pair.own for pair in pairs]
    return Verdicts(
        tuple(pair.name for pair in pairs),
        _ints([pair.label for pair in pairs]),
        _ints([first for first, _ in said]),
        _ints([second for _, second in said]),
        _ints([len(pair.answer_1) for pair in pairs]),
        _ints([len(pair.answer_2) for pair in pairs]),
        None if None in owns else _ints(owns),
    )


def _ints(values: Sequence[int | None]) -> Ints:
    return np.array([UNSCORED if one is None else one for one in values], dtype=np.int64)


class Compares(Protocol):
    """A judge of pairs."""

    @property
    def identity(self) -> Identity: ...

    def compare(
        self,
        pairs: Sequence[Pair],
        *,
        sample: int = 0,
        tick: Callable[[], None] = nothing,
        on_progress: Callable[[Progress], None] = unseen,
    ) -> Verdicts:
        """Say which answer of each pair is better, each order for itself; one line a pair, in order.

        `sample` asks anew (test-retest). Verdicts carry the labels of the pairs that have one, and
        the lengths of the answers in characters.
        """
        ...


class Scores(Protocol):
    """A judge of single answers."""

    @property
    def identity(self) -> Identity: ...

    def score(
        self,
        items: Sequence[Item],
        *,
        sample: int = 0,
        tick: Callable[[], None] = nothing,
        on_progress: Callable[[Progress], None] = unseen,
    ) -> list[Score]:
        """Score each item, in order."""
        ...
