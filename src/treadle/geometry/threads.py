"""Work in pieces, on as many threads as the linear algebra behind NumPy may use.

    in_threads(fill_tile, tiles)

A BLAS splits each product over its threads. They spin while they wait for each other, and while NumPy
copies or compares the product on one of them; where another program needs a core, that costs several
times the work itself. So each thread is given whole pieces, and the BLAS meanwhile has none of its own.

The limit is one of the whole process, so only one call at a time may set it and take it back: a second
one, from another thread or from within a piece, does its own pieces one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import TypeVar

from threadpoolctl import ThreadpoolController

MOST = 8
"""Each thread holds a piece, and memory should not grow with the machine."""

Piece = TypeVar("Piece")
_LIMITED = Lock()


def in_threads(work: Callable[[Piece], None], pieces: Iterable[Piece]) -> None:
    """Do all pieces, in any order. What one raises is raised here, and what has not begun is left."""
    if not _LIMITED.acquire(blocking=False):
        for piece in pieces:
            work(piece)
        return
    try:
        blas = _blas()
        allowed = max((library["num_threads"] for library in blas.info()), default=1)
        with blas.limit(limits=1), ThreadPoolExecutor(min(allowed, MOST)) as threads:
            for _ in threads.map(work, pieces):
                pass
    finally:
        _LIMITED.release()


@cache
def _blas() -> ThreadpoolController:
    """Return the BLAS libraries that are loaded by now, NumPy's among them; looking takes a millisecond."""
    return ThreadpoolController().select(user_api="blas")
