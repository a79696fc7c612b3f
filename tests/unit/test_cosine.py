"""Directions on a grid: exact, near the true cosine, and blind to scale and place."""

import tracemalloc

import numpy as np
import pytest

from treadle.geometry.cosine import RADIUS, cosines, directions, near_copies
from vectors import clustered, cosine


@pytest.mark.parametrize("width", [1, 2, 384, 4096])
def test_cosines_are_those_of_the_vectors_as_given(width: int) -> None:
    points = np.random.default_rng(width).normal(size=(40, width)).astype(np.float32)
    grid = directions(points)
    assert (grid == np.rint(grid)).all()
    assert np.abs(cosines(grid, grid) - cosine(points)).max() < 2e-6


def test_the_largest_sums_are_exact() -> None:
    points = np.random.default_rng(0).normal(size=(30, 384)).astype(np.float32)
    grid = directions(points)
    whole = grid.astype(np.int64)
    assert (cosines(grid, grid) * RADIUS**2 == whole @ whole.T).all()
    assert (whole**2).sum(axis=1).max() < 2**53


@pytest.mark.parametrize("scale", [2.0**-140, 1e-30, 0.5, 3.0, 2.0**100])
def test_scale_changes_nothing(scale: float) -> None:
    points = np.array([[3, 4], [0, 0], [-1, 0]], dtype=np.float64)
    straight = directions(points.astype(np.float32))
    assert straight.tolist()[1:] == [[0, 0], [-RADIUS, 0]]
    moved = directions((points * scale).astype(np.float32))
    assert np.abs(moved - straight).max() <= (0 if np.log2(scale) % 1 == 0 else 1)


def test_a_row_has_the_same_direction_wherever_it_lies() -> None:
    points = np.random.default_rng(0).normal(size=(5000, 7)).astype(np.float32)
    order = np.random.default_rng(1).permutation(5000)
    assert (directions(points[order]) == directions(points)[order]).all()
    assert directions(points[:0]).shape == (0, 7)


def test_the_search_for_copies_needs_memory_for_a_few_blocks() -> None:
    grid = directions(np.random.default_rng(0).normal(size=(12_000, 16)).astype(np.float32))
    tracemalloc.start()
    for _ in near_copies(grid, np.arange(12_000), limit=0.99, against="earlier"):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80e6  # all pairs would take 1.1 GB


def test_a_walk_on_the_spot_finds_exact_copies() -> None:
    grid = directions(np.concatenate([clustered(900), clustered(900)]))
    found = np.concatenate(list(near_copies(grid, np.arange(1800), limit=0.999999, against="kept")))
    assert not found[:900].any()
    assert found[900:].all()
