"""Greedy k-center against the obvious loop in exact whole numbers, and against the optimum."""

import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from treadle.geometry import k_center
from treadle.geometry.k_center import greedy_k_center


def obvious(points: NDArray[np.float32], count: int, tokens: list[int], limit: float) -> list[int]:
    """Take the farthest row that fits, again and again, in Python's unbounded whole numbers."""
    rows = [[int(v) for v in row] for row in points]
    mean = [int(np.rint(sum(column) / len(rows))) for column in zip(*rows, strict=True)]

    def away(a: list[int], b: list[int]) -> int:
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    chosen: list[int] = []
    while len(chosen) < count:
        fits = [i for i in range(len(rows)) if i not in chosen and tokens[i] <= limit]
        if not fits:
            break
        if not chosen:
            best = min(fits, key=lambda i: (away(rows[i], mean), i))
        else:
            gaps = {i: min(away(rows[i], rows[c]) for c in chosen) for i in fits}
            best = min(fits, key=lambda i: (-gaps[i], i))
        chosen.append(best)
        limit -= tokens[best]
    return chosen


@settings(max_examples=150)
@given(st.data())
def test_it_takes_the_rows_that_the_obvious_loop_takes_ties_and_copies_included(
    data: st.DataObject,
) -> None:
    total = data.draw(st.integers(1, 30))
    width = data.draw(st.integers(1, 3))
    reach = data.draw(st.sampled_from([0, 1, 3, 1000]))
    cell = st.integers(-reach, reach)
    rows = data.draw(st.lists(st.lists(cell, min_size=width, max_size=width),
                              min_size=total, max_size=total))  # fmt: skip
    tokens = data.draw(st.lists(st.integers(1, 9), min_size=total, max_size=total))
    limit = data.draw(st.one_of(st.none(), st.integers(1, 100)))
    count = data.draw(st.integers(0, total + 2))
    hot_rows = data.draw(st.sampled_from([1, 4, 512]))
    points = np.array(rows, dtype=np.float32)
    grid, _ = k_center._whole_numbers(points)  # the oracle rounds the mean on the same grid
    found = greedy_k_center(
        points,
        count=count,
        tokens_N=np.array(tokens, dtype=np.int64),
        token_limit=limit,
        hot_rows=hot_rows,
    )
    assert found.order == obvious(grid, count, tokens, float("inf") if limit is None else limit)


def test_it_takes_the_rows_of_the_obvious_loop_on_crowded_grids_under_tight_budgets() -> None:
    rng = np.random.default_rng(11)
    for _ in range(400):
        points = rng.integers(-2, 3, size=(25, 2)).astype(np.float32)
        tokens = rng.integers(1, 10, size=25)
        limit, hot_rows = int(rng.integers(1, 80)), int(rng.integers(1, 8))
        found = greedy_k_center(
            points, count=25, tokens_N=tokens, token_limit=limit, hot_rows=hot_rows
        )
        grid, _ = k_center._whole_numbers(points)
        assert found.order == obvious(grid, 25, tokens.tolist(), limit)


@pytest.mark.parametrize("width", [1, 3, 384, 5000])
def test_every_sum_stays_exact_even_at_the_largest_coordinates(width: int) -> None:
    points = np.full((2, width), 3.0e38, dtype=np.float32)
    points[1] *= -1
    grid, unit = k_center._whole_numbers(points)
    assert (grid == np.rint(grid)).all()
    exact = sum((int(a) - int(b)) ** 2 for a, b in zip(grid[0], grid[1], strict=True))
    assert exact <= 2**53
    found = greedy_k_center(points, count=2)
    assert found.distances[1] == pytest.approx(float(np.sqrt(float(exact))) * unit, rel=1e-15)
    assert found.distances[1] == pytest.approx(6.0e38 * np.sqrt(width), rel=1e-5)


def test_the_distances_are_those_of_the_points_as_given() -> None:
    points = np.random.default_rng(2).normal(size=(60, 24)).astype(np.float32)
    found = greedy_k_center(points, count=30)
    chosen = points[found.order].astype(np.float64)
    for i in range(1, 30):
        gap = np.sqrt(((chosen[:i] - chosen[i]) ** 2).sum(axis=1)).min()
        assert found.distances[i] == pytest.approx(gap, rel=1e-5)
    assert found.distances[1:] == sorted(found.distances[1:], reverse=True)


def test_a_pool_of_many_blocks_gives_the_rows_of_one_product_a_step() -> None:
    points = np.random.default_rng(9).integers(-400, 400, size=(9000, 3)).astype(np.float32)
    found = greedy_k_center(points, count=900, hot_rows=2000).order
    whole = points.astype(np.int64)
    nearest = np.full(len(points), np.iinfo(np.int64).max)
    for i, expected in enumerate(found):
        if i:
            assert expected == int(nearest.argmax())
        nearest = np.minimum(nearest, ((whole - whole[expected]) ** 2).sum(axis=1))


def test_shuffled_rows_give_the_same_points() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(5000, 64)).astype(np.float32)
    first = greedy_k_center(points, count=200)
    for hot_rows in (3, 50, 6000):
        order = rng.permutation(len(points))
        again = greedy_k_center(points[order], count=200, hot_rows=hot_rows)
        assert [int(order[i]) for i in again.order] == first.order
        assert again.distances == first.distances


def test_copies_have_distance_zero_wherever_they_lie_and_come_last_by_position() -> None:
    rng = np.random.default_rng(4)
    single = rng.normal(size=(37, 384)).astype(np.float32)
    points = np.concatenate([single, single[::-1], single])
    found = greedy_k_center(points, count=len(points))
    assert {i % 37 if i < 37 or i >= 74 else 73 - i for i in found.order[:37]} == set(range(37))
    assert all(i < 37 for i in found.order[:37])
    assert found.distances[37:] == [0.0] * 74
    assert found.order[37:] == list(range(37, 111))


@pytest.mark.parametrize("seed", range(5))
def test_the_radius_is_at_most_twice_the_optimum(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(14, 2)).astype(np.float32)
    apart = np.linalg.norm(points[:, None].astype(float) - points[None], axis=2)
    for count in (2, 3, 4):
        best = min(apart[:, list(c)].min(axis=1).max() for c in combinations(range(14), count))
        order = greedy_k_center(points, count=count).order
        assert apart[:, order].min(axis=1).max() <= 2 * best * (1 + 1e-6)


def test_nothing_comes_of_nothing() -> None:
    assert greedy_k_center(np.zeros((0, 3), dtype=np.float32), count=5).order == []
    assert greedy_k_center(np.zeros((0, 0), dtype=np.float32), count=5).order == []
    assert greedy_k_center(np.ones((3, 3), dtype=np.float32), count=0).order == []
    points = np.ones((2, 3), dtype=np.float32)
    heavy = np.array([5, 9], dtype=np.int64)
    assert greedy_k_center(points, count=2, tokens_N=heavy, token_limit=4).order == []
    assert greedy_k_center(points, count=2, tokens_N=heavy, token_limit=6).order == [0]
    assert greedy_k_center(points, count=9).order == [0, 1]


class Counted(np.ndarray):  # type: ignore[type-arg]
    """Lengths that count how often one is read."""

    reads = 0

    def __getitem__(self, key: object) -> object:
        Counted.reads += 1
        return super().__getitem__(key)  # type: ignore[index]


def test_rows_that_no_longer_fit_are_not_looked_at_one_by_one() -> None:
    points = np.random.default_rng(6).standard_normal((5_000, 8), dtype=np.float32)
    points[17] = points[99]  # the one row that fits at the end is a copy, so it is farthest last
    tokens = np.full(5_000, 100, dtype=np.int64)
    tokens[17] = 7
    found = greedy_k_center(points, count=5_000, tokens_N=tokens.view(Counted), token_limit=4_050)
    assert len(found.order) == 41
    assert found.order[-1] == 17
    assert Counted.reads < 200


def test_memory_stays_a_small_multiple_of_the_points() -> None:
    points = np.random.default_rng(0).standard_normal((20_000, 64), dtype=np.float32)
    tracemalloc.start()
    greedy_k_center(points, count=50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * points.nbytes + 10e6
