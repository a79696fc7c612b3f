"""Random numbers that follow from names: the same on any machine, in any order of work."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def derived_rng(*names: object) -> np.random.Generator:
    """Return a generator derived from these names (a run's seed, an op, a row id, a text)."""
    text = "/".join(str(name) for name in names)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def draw(ids: Sequence[str], key: bytes) -> list[int]:
    """Return all positions in an order of chance, by a keyed hash of each id.

    A row keeps its place among the others when rows come or go.
    """
    digests = [hashlib.blake2b(i.encode(), digest_size=16, key=key).digest() for i in ids]
    return sorted(range(len(ids)), key=lambda i: (digests[i], ids[i]))
