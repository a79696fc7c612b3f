"""TSDS against the obvious heap over plain distances, and its two limits."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aimed import aimed_at, frame_of, vector_column
from treadle.data.selection import Budget
from treadle.geometry.cosine import directions
from treadle.select.tsds import densities, transport_shares, tsds
from vectors import clustered

Floats = NDArray[np.float64]


def obvious_shares(distances: Floats, densities: Floats, alpha: float, C: float) -> Floats:
    """Reach one neighbour more at a time, smallest size first, until it costs too much."""
    targets, count = distances.shape
    heap = [(1 / densities[j, 0], 0, j) for j in range(targets)]
    heapq.heapify(heap)
    travelled = [distances[j, 0] / densities[j, 0] for j in range(targets)]
    cost = [0.0] * targets
    while heap:
        size, k, j = heapq.heappop(heap)
        cost[j] = distances[j, k + 1] * size - travelled[j]
        if alpha / C * sum(cost) >= (1 - alpha) * targets:
            break
        if k < count - 2:
            travelled[j] += distances[j, k + 1] / densities[j, k + 1]
            heapq.heappush(heap, (size + 1 / densities[j, k + 1], k + 1, j))
    shares = np.zeros_like(distances)
    for j in range(targets):
        left = 1 / targets
        for k in range(count):
            shares[j, k] = min(left, 1 / targets / size / densities[j, k])
            if k == count - 1:
                shares[j, k] = left
            left -= shares[j, k]
    return shares


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    targets=st.integers(1, 6),
    count=st.integers(2, 9),
    alpha=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
)
def test_shares_are_those_of_the_obvious_heap(
    seed: int, targets: int, count: int, alpha: float, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    distances = np.sort(rng.random((targets, count)), axis=1)
    densities = 1 + rng.random((targets, count)) * rng.choice([0, 3])
    found = transport_shares(distances, densities, alpha=alpha, C=scale)
    np.testing.assert_allclose(
        found, obvious_shares(distances, densities, alpha, scale), atol=1e-12
    )
    np.testing.assert_allclose(found.sum(axis=1), 1 / targets)


def test_at_alpha_1_the_nearest_row_takes_all_and_at_0_the_mass_goes_as_far_as_it_can() -> None:
    distances = np.array([[0.1, 0.2, 0.3, 0.4], [0.2, 0.3, 0.4, 0.5]])
    nearest = transport_shares(distances, np.ones((2, 4)), alpha=1.0, C=5.0)
    assert nearest.tolist() == [[0.5, 0, 0, 0]] * 2
    spread = transport_shares(distances, np.ones((2, 4)), alpha=0.0, C=5.0)
    np.testing.assert_allclose(spread, [[1 / 6, 1 / 6, 1 / 6, 0]] * 2, atol=1e-12)


def obvious_probabilities(points: Floats, wanted: Floats, max_k: int, kde_k: int) -> Floats:
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    near = []
    for target in wanted:
        away = np.linalg.norm(points - target, axis=1)
        near.append(sorted(range(len(points)), key=lambda i: (away[i], i))[:max_k])
    some = sorted({i for row in near for i in row})
    density = {}
    for i in some:
        kernels = sorted(1 - ((points[i] - points[j]) ** 2).sum() / 0.75**2 for j in some)
        density[i] = sum(max(0.0, value) for value in kernels[-kde_k:])
    distances = np.array([[np.linalg.norm(points[i] - t) for i in row]
                          for row, t in zip(near, wanted, strict=True)])  # fmt: skip
    densities = np.array([[density[i] for i in row] for row in near])
    shares = obvious_shares(distances, densities, 0.5, 5.0)
    found = np.zeros(len(points))
    for row, share in zip(near, shares, strict=True):
        for i, value in zip(row, share, strict=True):
            found[i] += value
    return found


@pytest.mark.parametrize(("max_k", "kde_k"), [(5000, 1000), (9, 7)])
def test_probabilities_are_those_of_plain_distances(max_k: int, kde_k: int) -> None:
    rng = np.random.default_rng(4)
    points = rng.normal(size=(150, 4)) * rng.uniform(0.5, 2, size=(150, 1))
    wanted = rng.normal(size=(6, 4))
    rows = frame_of(150, embedding=vector_column(points))
    target = frame_of(6, prefix="dev", embedding=vector_column(wanted))
    found = tsds(max_K=max_k, kde_K=kde_k)(rows, Budget("share", 1.0), aimed_at(target))
    expected = obvious_probabilities(points, wanted, min(max_k, 15), min(kde_k, 15))
    told = {key: float(why.split()[1].strip(",")) for key, _, why in found.chosen.iter_rows()}
    assert len(told) > 20
    assert set(told) == {f"row{i:05d}" for i in np.flatnonzero(expected > 1e-12)}
    for key, value in told.items():
        assert value == pytest.approx(expected[int(key[3:])], rel=0.006)
    assert set(found.left["reason"]) == {"far_from_target"}


def test_a_cluster_of_copies_shares_the_probability_of_one_row() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 8))
    points[:10] = 1.0
    rows = frame_of(200, embedding=vector_column(points))
    target = frame_of(1, prefix="dev", embedding=vector_column([[1.0] * 8]))
    shares = {}
    for sigma in (0.0, 0.1):
        found = tsds(sigma=sigma, alpha=0)(rows, Budget("share", 1.0), aimed_at(target))
        told = {key: float(why.split()[1].strip(",")) for key, _, why in found.chosen.iter_rows()}
        shares[sigma] = sum(told[f"row{i:05d}"] for i in range(10))
    assert shares[0.0] == pytest.approx(10 / 19, rel=0.01)
    assert shares[0.1] == pytest.approx(1 / 10, rel=0.01)


def test_draws_follow_the_seed_and_rows_are_drawn_once() -> None:
    rng = np.random.default_rng(4)
    rows = frame_of(150, embedding=vector_column(rng.normal(size=(150, 4))))
    target = frame_of(6, prefix="dev", embedding=vector_column(rng.normal(size=(6, 4))))
    drawn = tsds()(rows, Budget("rows", 20), aimed_at(target))
    assert drawn.ids == tsds()(rows[::-1], Budget("rows", 20), aimed_at(target)).ids
    assert drawn.ids != tsds()(rows, Budget("rows", 20), aimed_at(target, seed=8)).ids


def test_densities_in_cells_are_nearly_those_of_all_pairs() -> None:
    grid = directions(clustered(2_000, width=16, centres=30))
    near = np.arange(2_000).reshape(4, 500)
    exact = densities(grid, near, 200, 0.75, compared_up_to=2_000)
    found = densities(grid, near, 200, 0.75, compared_up_to=0, cell_rows=8)
    assert (found <= exact + 1e-9).all()
    assert (found < exact - 1e-9).any()
    assert found.sum() >= 0.9 * exact.sum()
    np.testing.assert_allclose(densities(grid, near, 200, 0.75, compared_up_to=0), exact)


def test_densities_of_copies_count_as_many_as_they_may() -> None:
    grid = directions(np.ones((300, 8), np.float32))
    near = np.arange(300)[None]
    for how in ({"compared_up_to": 300}, {"compared_up_to": 0, "cell_rows": 40}):
        np.testing.assert_allclose(densities(grid, near, 7, 0.5, **how), 7, rtol=1e-4)
    in_cells = densities(grid, near, 299, 0.5, compared_up_to=0, cell_rows=10)
    assert (in_cells < 290).all()
    assert (in_cells > 100).all()


def test_the_choice_in_cells_knows_neither_the_order_of_rows_nor_other_seeds() -> None:
    rows = frame_of(1_500, embedding=vector_column(clustered(1_500)))
    target = frame_of(20, prefix="dev", embedding=vector_column(clustered(20, seed=1)))
    choose = tsds(compared_up_to=0)
    found = choose(rows, Budget("rows", 100), aimed_at(target))
    assert choose(rows[::-1], Budget("rows", 100), aimed_at(target)).ids == found.ids
    exact = tsds()(rows, Budget("rows", 100), aimed_at(target))
    assert len(set(exact.ids) & set(found.ids)) >= 95
