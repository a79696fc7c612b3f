"""A request with one right answer, and wrong ones that look as good.

A family draws a `Draft`; what it proposes as wrong is held against the same code that accepts the
right answer, so a mutation that happens to be right is never called wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

WRONG = 3
"""Wrong answers a task: with the right one, four."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a family draws. `neighbour` answers a request that looks like this one, and is wrong here."""

    request: str
    right: str
    mutations: tuple[str, ...]
    neighbour: str
    is_right: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Task:
    """A draft that holds what it promises: the wrong answers are wrong, distinct, and as long."""

    family: str
    request: str
    right: str
    wrong: tuple[str, ...]
    neighbour: str
    is_right: Callable[[str], bool]


Family = Callable[[random.Random], Draft]


def task(name: str, family: Family, rng: random.Random) -> Task:
    """Draw until a draft has enough wrong answers that are as long as the right one.

    Raises:
        ValueError: the family calls its own right answer wrong, or never finds wrong ones.
    """
    for _ in range(1_000):
        draft = family(rng)
        if not draft.is_right(draft.right):
            raise ValueError(f"{name}: its right answer {draft.right!r} fails its own check.")
        wrong = [
            one
            for one in dict.fromkeys(draft.mutations)
            if not draft.is_right(one) and is_as_long(one, draft.right)
        ]
        if len(wrong) >= WRONG and not draft.is_right(draft.neighbour):
            chosen = tuple(rng.sample(wrong, WRONG))
            return Task(name, draft.request, draft.right, chosen, draft.neighbour, draft.is_right)
    raise ValueError(f"{name}: no draft had {WRONG} wrong answers as long as the right one.")


def is_as_long(one: str, other: str) -> bool:
    """Whether two answers differ by one character or a tenth of their length at most."""
    return abs(len(one) - len(other)) <= max(1, len(other) // 10)


def nearby(answer: int, rng: random.Random, *also: int) -> tuple[str, ...]:
    """Slips around a whole number: off by one, a digit, two digits swapped, and what else is given."""
    digits = list(str(abs(answer)))
    slips = [*also, answer + 1, answer - 1, answer + 10, answer - 10, answer + 2]
    if len(digits) > 1:
        place = rng.randrange(len(digits) - 1)
        digits[place], digits[place + 1] = digits[place + 1], digits[place]
        slips.append(int("".join(digits)) * (1 if answer >= 0 else -1))
    return tuple(str(slip) for slip in slips if slip > 0 or answer <= 0)


def is_number(wanted: float, *, within: float = 0.0) -> Callable[[str], bool]:
    """Accept a number, written with or without separators."""

    def is_right(text: str) -> bool:
        try:
            return abs(float(text.replace(",", "")) - wanted) <= within
        except ValueError:
            return False

    return is_right


def is_list(wanted: list[str]) -> Callable[[str], bool]:
    """Accept a list in this order, separated by commas."""
    return lambda text: [part.strip() for part in text.split(",")] == wanted
