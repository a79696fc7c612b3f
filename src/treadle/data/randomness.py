"""Random numbers that follow from names: the same on any machine, in any order of work."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


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


def gumbel_order(
    log_weights: NDArray[np.float64], ids: Sequence[str], key: bytes, *, temperature: float = 1.0
) -> NDArray[np.int64]:
    """Order rows as if drawn one after another, without replacement, by their weights.

    The next row is each time one of those left, with probability proportional to
    exp(log_weight / temperature); at 0 the order is that of the weights. The largest of weights plus
    Gumbel noise are such a draw. A row's noise is a hash of `key` and its id, so it does not depend
    on which other rows there are. Equal sums stay in the order given.
    """
    digests = [hashlib.blake2b(i.encode(), digest_size=8, key=key).digest() for i in ids]
    whole = np.frombuffer(b"".join(digests), dtype="<u8") >> np.uint64(12)
    uniform = (whole.astype(np.float64) + 0.5) / 2.0**52
    return np.argsort(temperature * np.log(-np.log(uniform)) - log_weights, kind="stable")
