"""The embedder that always works: hashed counts of character n-grams, without torch or weights.

It sees spelling, not meaning: texts that share words and phrases are near, paraphrases are not.
Good enough for tests, for the scripted student, and as the cheap end of a comparison.

Everything up to the last division is integer arithmetic, so vectors are equal on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from treadle.machinery.code import code_hash

WIDTH = 256
SIZES = (2, 3, 4)
MIX = np.uint64(0x9E3779B97F4A7C15)
TEXTS_A_TICK = 1024


class HashedEmbedder:
    """`protocol.Embedder` over signed, hashed character n-grams."""

    name = "hashed"
    width = WIDTH
    parameters = 0

    @property
    def fingerprint(self) -> str:
        """Hash of this file: there are no weights."""
        return code_hash(__name__)

    def tokens(self, texts: Sequence[str]) -> int:
        """Return 0: it reads letters, and no model does."""
        return 0

    def embed(
        self, texts: Sequence[str], *, tick: Callable[[], None] = lambda: None
    ) -> NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), width)."""
        vectors = np.zeros((len(texts), WIDTH), dtype=np.float32)
        for i, text in enumerate(texts):
            if i % TEXTS_A_TICK == 0:
                tick()
            counts = _counts(text)
            vectors[i] = counts / np.sqrt((counts * counts).sum())
        return vectors


def load() -> HashedEmbedder:
    """Return the embedder."""
    return HashedEmbedder()


def _counts(text: str) -> NDArray[np.float64]:
    """Signed counts: collisions of unrelated n-grams cancel on average instead of adding up."""
    words = " " + " ".join(text.lower().split()) + " "
    letters = np.frombuffer(words.encode("utf-8", "replace"), dtype=np.uint8).astype(np.uint64)
    counts = np.zeros(WIDTH, dtype=np.float64)
    for size in SIZES:
        grams = np.full(max(len(letters) - size + 1, 0), size, dtype=np.uint64)
        for offset in range(size):
            grams = grams << np.uint64(8) | letters[offset : offset + len(grams)]
        mixed = grams * MIX
        signs = np.where(mixed >> np.uint64(32) & np.uint64(1), 1.0, -1.0)
        buckets = (mixed >> np.uint64(56)).astype(np.int64)
        counts += np.bincount(buckets, weights=signs, minlength=WIDTH)
    if not counts.any():
        counts[0] = 1.0  # an empty text, or one whose few n-grams cancelled
    return counts
