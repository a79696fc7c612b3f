"""Greedy k-center against the usual NumPy loops, in the same run.

    python benchmarks/k_center.py [--quick]

`one product a step` is the loop that most code uses (float32 matrix-vector product and a running
minimum); `differences` computes each distance from the difference of two rows, as first written
down. Both break near-ties by rounding noise; ours breaks them by position, and gives the same rows
with any BLAS and any number of threads. Peak memory is what a call allocates beyond its input.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from treadle.geometry.k_center import greedy_k_center

Points = NDArray[np.float32]
WIDTH = 384


def clouds(total: int) -> dict[str, Points]:
    """Return unit vectors of three shapes: noise, fifty clusters, and a decaying spectrum."""
    rng = np.random.default_rng(7)
    noise = rng.standard_normal((total, WIDTH), dtype=np.float32)
    centres = 3 * rng.standard_normal((50, WIDTH), dtype=np.float32)
    shapes = {
        "noise": noise,
        "clusters": centres[rng.integers(50, size=total)] + np.float32(0.3) * noise,
        "spectrum": noise * np.arange(1, WIDTH + 1, dtype=np.float32) ** -0.5,
    }
    return {name: x / np.linalg.norm(x, axis=1, keepdims=True) for name, x in shapes.items()}


def ours(points: Points, count: int) -> list[int]:
    return greedy_k_center(points, count=count).order


def one_product_a_step(points: Points, count: int) -> list[int]:
    norms = np.einsum("nd,nd->n", points, points)
    chosen = [int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    while len(chosen) < count:
        last = chosen[-1]
        np.minimum(nearest, norms + norms[last] - 2 * (points @ points[last]), out=nearest)
        nearest[last] = -1
        chosen.append(int(nearest.argmax()))
    return chosen


def differences(points: Points, count: int) -> list[int]:
    chosen = [int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    while len(chosen) < count:
        np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1), out=nearest)
        chosen.append(int(nearest.argmax()))
    return chosen


def timed(run: Callable[[Points, int], list[int]], points: Points, count: int, tries: int) -> float:
    best = float("inf")
    for _ in range(tries):
        began = time.perf_counter()
        run(points, count)
        best = min(best, time.perf_counter() - began)
    return best


def peak_mb(run: Callable[[Points, int], list[int]], points: Points, count: int) -> float:
    tracemalloc.start()
    run(points, count)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 rows only, one try each")
    quick = parser.parse_args().quick
    tries = 1 if quick else 3
    print("| figure | ours | alternative | ratio |\n|---|---|---|---|")
    for name, points in clouds(10_000).items():
        mine = timed(ours, points, 1000, tries)
        loop = timed(one_product_a_step, points, 1000, tries)
        label = f"k-center, 10k x {WIDTH}, k=1000, {name}"
        print(
            f"| {label} | {mine:.2f} s | {loop:.2f} s (one product a step) | {loop / mine:.1f}x |"
        )
        slow = timed(differences, points, 100, 1) * 10
        print(
            f"| {label} | {mine:.2f} s | {slow:.1f} s (differences; 100 steps x 10) | {slow / mine:.0f}x |"
        )
    if quick:
        return
    for name, points in clouds(100_000).items():
        mine = timed(ours, points, 1000, 1)
        loop = timed(one_product_a_step, points, 1000, 1)
        label = f"k-center, 100k x {WIDTH}, k=1000, {name}"
        print(
            f"| {label} | {mine:.2f} s | {loop:.2f} s (one product a step) | {loop / mine:.1f}x |"
        )
    mine, loop = peak_mb(ours, points, 200), peak_mb(one_product_a_step, points, 200)
    label = f"peak memory beyond the input ({points.nbytes / 1e6:.0f} MB), 100k x {WIDTH}"
    print(f"| {label} | {mine:.0f} MB | {loop:.0f} MB (one product a step) | {loop / mine:.1f}x |")


if __name__ == "__main__":
    main()
