"""Count-sketch: a long vector becomes a short one, and inner products stay right on average.

    sketch(len(vector), 1024, seed, "name").of(vector[None])

Each coordinate is added to one place of the short vector, with a sign drawn by lot. Two vectors that
were sketched alike have an inner product that is right on average and off by about
|a||b| / sqrt(width). Nothing is multiplied by a matrix, so a million coordinates cost a millisecond
(a dense random projection to 1,024 places would cost a thousand times as much).

Lots come from names, so a sketch is the same on any machine, and nothing of it needs to be stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treadle.data.randomness import derived_rng


@dataclass(frozen=True, slots=True)
class Sketch:
    """Which coordinate fills each slot, and with which sign; slot i is added to place i mod width.

    As many slots as a multiple of the width: those left over have the sign 0.
    """

    coordinates: NDArray[np.int32]
    signs: NDArray[np.float32]
    width: int

    def of(self, vectors_NP: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the short vectors, shape (N, width)."""
        signed = vectors_NP[:, self.coordinates] * self.signs
        short: NDArray[np.float64] = signed.reshape(len(signed), -1, self.width).sum(axis=1)
        return short


def sketch(size: int, width: int, *names: object) -> Sketch:
    """Draw the slots of `size` coordinates from these names."""
    rng = derived_rng("sketch", *names)
    slots = rng.permutation(-(-size // width) * width)[:size]
    coordinates = np.zeros(-(-size // width) * width, dtype=np.int32)
    signs = np.zeros(len(coordinates), dtype=np.float32)
    coordinates[slots] = np.arange(size, dtype=np.int32)
    signs[slots] = rng.integers(0, 2, size) * 2 - 1
    return Sketch(coordinates, signs, width)
