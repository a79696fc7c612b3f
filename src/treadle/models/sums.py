"""Sums of two two-digit numbers, up to 99: rows and evaluation items for the proxy student.

    proxy_rows(600, seed=1, wrong_share=0.3)   # "38+57" → "95", three in ten of them wrong
    proxy_items(300, seed=1)                   # other pairs of numbers, always right

Which pairs are for evaluation is fixed by a hash of the unordered pair, so no seed, and neither
38+57 nor 57+38, can ever be in both sets. No torch is needed here.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

from treadle.data.row import Message, Origin, Row
from treadle.errors import RecipeError

LOW, HIGH = 10, 99  # of numbers and of their sums
SEALED_ONE_IN = 10
LARGEST_MISTAKE = 19


def proxy_rows(count: int, seed: int, *, wrong_share: float = 0.0) -> list[Row]:
    """Return training rows, `wrong_share` of them with a wrong sum.

    Each row's origin has a `quality` column as a noisy judge would give it: 0.6 to 1 for right
    sums, 0 to 0.7 for wrong ones.

    Raises:
        RecipeError: there are not that many different sums, or the share is not in [0, 1].
    """
    if not 0 <= wrong_share <= 1:
        raise RecipeError(f"proxy_rows: wrong_share must be in [0, 1], got {wrong_share}.")
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    pairs = _draw(training_pairs(), count, rng)
    wrong = set(rng.permutation(count)[: round(count * wrong_share)].tolist())
    rows = []
    for i, (a, b) in enumerate(pairs):
        mistaken = _mistaken(a + b, rng)
        low, high = (0.0, 0.7) if i in wrong else (0.6, 1.0)
        extra = json.dumps({"quality": round(float(rng.uniform(low, high)), 3)})
        total = mistaken if i in wrong else a + b
        rows.append(_row(a, b, total, Origin("sums", i + 1, None, extra)))
    return rows


def proxy_items(count: int, seed: int) -> list[Row]:
    """Return evaluation items, disjoint from every training row.

    Raises:
        RecipeError: there are not that many different sums.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    pairs = _draw([pair for pair in _pairs() if _is_sealed(*pair)], count, rng)
    return [_row(a, b, a + b, Origin("sums-held-out", i + 1)) for i, (a, b) in enumerate(pairs)]


def training_pairs() -> list[tuple[int, int]]:
    """Return every pair of numbers that is not for evaluation."""
    return [pair for pair in _pairs() if not _is_sealed(*pair)]


def _pairs() -> list[tuple[int, int]]:
    return [(a, b) for a in range(LOW, HIGH) for b in range(LOW, HIGH + 1 - a)]


def _is_sealed(a: int, b: int) -> bool:
    digest = hashlib.sha256(f"{min(a, b)}+{max(a, b)}".encode()).digest()
    return int.from_bytes(digest[:4], "little") % SEALED_ONE_IN == 0


def _draw(
    pairs: list[tuple[int, int]], count: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    if not 0 <= count <= len(pairs):
        raise RecipeError(f"proxy sums: there are {len(pairs)} different ones, asked for {count}.")
    return [pairs[i] for i in rng.permutation(len(pairs))[:count].tolist()]


def _row(a: int, b: int, total: int, origin: Origin) -> Row:
    turns = (Message("user", f"{a}+{b}"), Message("assistant", str(total), trains=True))
    return Row("chat", turns, origins=(origin,))


def _mistaken(total: int, rng: np.random.Generator) -> int:
    """Return a wrong sum that looks like a right one: near it, and of two digits."""
    mistake = int(rng.integers(1, LARGEST_MISTAKE + 1)) * int(rng.choice([-1, 1]))
    return total + mistake if LOW <= total + mistake <= HIGH else total - mistake
