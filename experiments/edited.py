"""Copies of clean rows and leaked items with ever more words changed: where do audits lose sight?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from planting import CLEAN, COPY, LEAK, LEAST_WORDS, Planted, asked, ordered, pair, replaced
from treadle import Row
from treadle.data.pool import Pool

RATES = {"one word": 0.0, "5% of words": 0.05, "15% of words": 0.15, "30% of words": 0.3}
COPIES_A_RATE, LEAKS_A_RATE = 75, 25


@dataclass(frozen=True)
class Edited:
    """The pool, the rows planted by kind and way, and what each copy repeats."""

    pool: Pool
    groups: Mapping[tuple[str, str], list[str]]
    copies: Mapping[str, str]


def edited_pool(planted: Planted, seed: int) -> Edited:
    """Plant copies and leaks into the clean rows; each row and item is used once at the most."""
    clean = [row for row in planted.pool.rows() if planted.kinds[row.id] == CLEAN]
    words = sorted({word for row in clean for word in re.findall(r"[a-z]{3,}", row.text)})
    long = [row for row in ordered(clean, seed, "edited") if len(row.text.split()) >= LEAST_WORDS]
    items = ordered(planted.items.rows(), seed, "edited leaks")
    groups: dict[tuple[str, str], list[str]] = {}
    copies: dict[str, str] = {}
    made: list[Row] = []
    for n, (way, rate) in enumerate(RATES.items()):
        for row in long[n :: len(RATES)][:COPIES_A_RATE]:
            copy = pair(asked(row), replaced(row.reply, rate, words, seed))
            copies[copy.id] = row.id
            groups.setdefault((COPY, way), []).append(copy.id)
            made.append(copy)
    for n, (way, rate) in enumerate(RATES.items()):
        for row in items[n :: len(RATES)][:LEAKS_A_RATE]:
            leak = pair(*(replaced(text, rate, words, seed) for text in (asked(row), row.reply)))
            groups.setdefault((LEAK, way), []).append(leak.id)
            made.append(leak)
    return Edited(Pool.of([*clean, *made]), groups, copies)
