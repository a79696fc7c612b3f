"""Random numbers that follow from names: the same on any machine, in any order of work."""

from __future__ import annotations

import hashlib

import numpy as np


def derived_rng(*names: object) -> np.random.Generator:
    """Return a generator derived from these names (a run's seed, an op, a row id, a text)."""
    text = "/".join(str(name) for name in names)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
