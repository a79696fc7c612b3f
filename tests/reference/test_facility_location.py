"""Facility location against the plain greedy loop in whole numbers, other libraries, and the optimum."""

import json
import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from treadle.context import Context
from treadle.data.selection import Budget
from treadle.geometry.cells import cells
from treadle.geometry.cosine import coarse, directions
from treadle.geometry.facility import _Dense, _Sparse, greedy_facility_location
from treadle.geometry.neighbours import all_neighbours
from treadle.select.facility_location import facility_location
from vectors import clustered, cosine, frame, places


def unit(points: NDArray[np.float32]) -> int:
    """Return the product of a rounded direction with itself, about."""
    return int(4096 - np.ceil(np.sqrt(points.shape[1]) / 2)) ** 2


def whole(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return similarities as products of whole numbers, none below 0."""
    rounded = np.rint(directions(points) * (np.sqrt(unit(points)) / 2**23)).astype(np.int64)
    return np.maximum(0, rounded @ rounded.T)


def obvious(
    near: NDArray[np.int64], count: int, tokens: list[int], limit: float
) -> tuple[list[int], list[int]]:
    """Compute every gain at every step and take the largest that fits, the first of equal ones."""
    covered = np.zeros(len(near), dtype=np.int64)
    order: list[int] = []
    gains: list[int] = []
    while len(order) < count:
        fits = [j for j in range(len(near)) if j not in order and tokens[j] <= limit]
        if not fits:
            break
        gain = {j: int(np.maximum(near[:, j] - covered, 0).sum()) for j in fits}
        best = max(fits, key=lambda j: (gain[j], -j))
        covered = np.maximum(covered, near[:, best])
        order.append(best)
        gains.append(gain[best])
        limit -= tokens[best]
    return order, gains


def only_nearest(near: NDArray[np.int64], neighbours: int) -> NDArray[np.int64]:
    """Keep of each row its most similar rows, the first of equally similar ones."""
    sparse = np.zeros_like(near)
    for i, row in enumerate(near):
        for j in sorted(range(len(row)), key=lambda j: (-row[j], j))[:neighbours]:
            sparse[i, j] = row[j]
    return sparse


@settings(max_examples=80)
@given(st.data())
def test_it_takes_the_rows_and_gains_of_the_obvious_loop_ties_and_copies_included(
    data: st.DataObject,
) -> None:
    total = data.draw(st.integers(1, 25))
    cells = st.lists(st.integers(-2, 2), min_size=2, max_size=2).filter(any)
    points = np.array(data.draw(st.lists(cells, min_size=total, max_size=total)), np.float32)
    tokens = data.draw(st.lists(st.integers(1, 9), min_size=total, max_size=total))
    limit = data.draw(st.one_of(st.none(), st.integers(1, 100)))
    count = data.draw(st.integers(0, total + 2))
    neighbours = data.draw(st.one_of(st.none(), st.integers(1, 8)))
    near = whole(points)
    if neighbours is not None:
        near = only_nearest(near, neighbours)
    found = greedy_facility_location(
        directions(points),
        count=count,
        tokens_N=np.array(tokens, dtype=np.int64),
        token_limit=limit,
        exact_up_to=0 if neighbours else 1000,
        neighbours=neighbours or 1,
    )
    order, gains = obvious(near, count, tokens, float("inf") if limit is None else limit)
    assert found.order == order
    assert np.rint(np.array(found.gains) * unit(points)).tolist() == gains


@pytest.mark.parametrize("exact_up_to", [0, 1000])
def test_it_takes_the_rows_of_the_obvious_loop_in_a_crowd(exact_up_to: int) -> None:
    points = clustered(400, width=24)
    near = whole(points) if exact_up_to else only_nearest(whole(points), 20)
    found = greedy_facility_location(
        directions(points), count=60, exact_up_to=exact_up_to, neighbours=20
    )
    order, gains = obvious(near, 60, [0] * 400, float("inf"))
    assert found.order == order
    assert np.rint(np.array(found.gains) * unit(points)).tolist() == gains
    assert gains == sorted(gains, reverse=True)


@pytest.mark.parametrize("library", ["apricot", "submodlib"])
def test_it_takes_the_rows_that_other_libraries_took(library: str) -> None:
    """Their answers on the clipped cosine matrix of these points: apricot's
    `FacilityLocationSelection(20, "precomputed", optimizer="lazy")`, and submodlib's
    `FacilityLocationFunction(mode="dense", separate_rep=False)` by naive greedy. Both ask for
    hundreds of megabytes of other packages, so the answers are kept and not the libraries.
    """
    known = json.loads(Path(__file__).with_name("facility_location.json").read_text("utf-8"))
    points = np.array(known["points"], dtype=np.float32)
    theirs = known[library]
    found = greedy_facility_location(directions(points), count=len(theirs["order"]))
    assert found.order == theirs["order"]
    # Ours are sums of cosines that are rounded to about 1e-4.
    assert found.gains == pytest.approx(theirs["gains"], rel=1e-4, abs=5e-3)
    reached = np.clip(cosine(points), 0, None)[:, found.order].max(axis=1).sum()
    assert sum(found.gains) == pytest.approx(reached, rel=1e-4)
    assert reached == pytest.approx(sum(theirs["gains"]), rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_sum_is_at_least_63_percent_of_the_optimum(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(13, 3)).astype(np.float32)
    near = np.clip(cosine(points), 0, None)
    for count in (1, 2, 4):
        best = max(near[:, list(c)].max(axis=1).sum() for c in combinations(range(13), count))
        reached = sum(greedy_facility_location(directions(points), count=count).gains)
        assert (1 - 1 / np.e) * best <= reached <= best * (1 + 1e-6)


def test_enough_neighbours_are_as_good_as_all_pairs() -> None:
    grid = directions(clustered(300))
    exact = greedy_facility_location(grid, count=50)
    assert greedy_facility_location(grid, count=50, exact_up_to=0, neighbours=999) == exact
    near = greedy_facility_location(grid, count=50, exact_up_to=0, neighbours=60)
    assert near.order != exact.order
    value = np.clip(cosine(clustered(300)), 0, None)
    reached = [value[:, f.order].max(axis=1).sum() for f in (near, exact)]
    assert reached[0] > 0.98 * reached[1]


@pytest.mark.parametrize("distinct", [1, 1_300])
def test_gains_stay_those_that_are_computed_anew(distinct: int) -> None:
    """Of several tiles and blocks; of copies, every similarity is the largest that there is."""
    points = np.tile(clustered(distinct, width=16), (1_300 // distinct, 1))
    near = whole(points)
    rounded, _ = coarse(directions(points))
    dense = _Dense.over(rounded)
    sparse = _Sparse.over(all_neighbours(rounded, 1_300))
    for taken in (None, 5, 1_000, 77):
        if taken is not None:
            dense.take(taken)
            sparse.take(taken)
        assert (dense.covered == sparse.covered).all()
        gains = np.maximum(near - dense.covered, 0).sum(axis=1)
        assert dense.gains.tolist() == sparse.gains.tolist() == gains.tolist()


def test_the_number_of_threads_changes_nothing() -> None:
    grid = directions(clustered(1_300, width=16))
    for options in ({}, {"exact_up_to": 0}, {"exact_up_to": 0, "compared_up_to": 0}):
        found = []
        for threads in (1, 3):
            with threadpool_limits(threads, user_api="blas"):
                found.append(greedy_facility_location(grid, count=300, **options))
        assert found[0] == found[1]


IN_CELLS = {"exact_up_to": 0, "compared_up_to": 0, "neighbours": 32, "cell_rows": 40}


@pytest.mark.parametrize("centres", [1, 12, 150])
def test_the_choice_in_cells_is_nearly_as_good_as_the_exact_one(centres: int) -> None:
    points = clustered(2_000, width=16, centres=centres)
    grid = directions(points)
    value = np.clip(cosine(points), 0, None)
    exact = value[:, greedy_facility_location(grid, count=200).order].max(axis=1).sum()
    found = greedy_facility_location(grid, count=200, **IN_CELLS).order
    assert value[:, found].max(axis=1).sum() >= 0.95 * exact
    assert len(set(found)) == 200


def test_cells_that_reach_all_rows_leave_the_choice_as_it_is() -> None:
    grid = directions(clustered(300))
    exact = greedy_facility_location(grid, count=50, exact_up_to=0, neighbours=20)
    found = greedy_facility_location(
        grid, count=50, exact_up_to=0, compared_up_to=0, neighbours=20, cell_rows=30
    )
    assert found == exact


def test_the_choice_in_cells_knows_neither_the_order_of_rows_nor_the_seed() -> None:
    rows = frame(clustered(700))
    choose = facility_location(exact_up_to=0, compared_up_to=0, neighbours=8)
    found = choose(rows, Budget("rows", 60), Context())
    mixed = rows.sample(fraction=1.0, shuffle=True, seed=3)
    assert choose(mixed, Budget("rows", 60), Context(seed=99)).ids == found.ids


def test_copies_of_one_row_in_many_cells_are_few_and_cost_no_pairs() -> None:
    grid = directions(np.ones((1_000, 4), np.float32))
    cut = cells(grid, 40)
    assert max(map(len, cut)) <= 80
    assert np.sort(np.concatenate(cut)).tolist() == list(range(1_000))
    found = greedy_facility_location(grid, count=2_000, **IN_CELLS)
    assert sorted(found.order) == list(range(1_000))
    assert sum(gain > 0 for gain in found.gains) <= len(cut)


@pytest.mark.parametrize("total", [0, 1, 2])
def test_cells_of_hardly_any_rows(total: int) -> None:
    grid = directions(clustered(total))
    assert greedy_facility_location(grid, count=9, **IN_CELLS).order in ([], [0], [0, 1], [1, 0])
    assert len(greedy_facility_location(grid, count=9, **IN_CELLS).order) == total


@pytest.mark.parametrize("width", [2, 384, 4_096])
def test_coarse_products_are_whole_and_below_what_single_precision_holds(width: int) -> None:
    points = np.random.default_rng(0).normal(size=(50, width)).astype(np.float32)
    points[0] = 1.0
    found, unit = coarse(directions(points))
    exact = found.astype(np.int64) @ found.astype(np.int64).T
    assert (np.abs(found).astype(np.int64) ** 2).sum(axis=1).max() <= 2**24
    assert (found @ found.T == exact).all()
    assert np.abs(exact / unit - cosine(points)).max() < 0.02


def test_the_choice_starts_where_most_rows_are_and_leaves_outliers_to_the_end() -> None:
    rng = np.random.default_rng(0)
    points = np.eye(4, 6)[[0] * 30 + [1] * 15 + [2] * 5 + [3]] + 0.05 * rng.normal(size=(51, 6))
    rows = frame(points.astype(np.float32))
    found = facility_location()(rows, Budget("rows", 4), Context())
    chosen = places(rows, found.ids)
    assert [i < 30 for i in chosen] == [True, False, False, False]
    assert 30 <= chosen[1] < 45 <= chosen[2] < 50 == chosen[3]
    assert found.chosen["reason"][0].startswith("adds 3")
    assert found.chosen["reason"][3].endswith("of similarity, rank 4")


def test_a_vector_of_zeros_has_no_direction_and_is_unscored() -> None:
    points = clustered(5)
    points[2] = 0
    found = facility_location()(frame(points), Budget("rows", 5), Context())
    assert list(found.left.iter_rows()) == [("000002", "unscored")]


@pytest.mark.slow
def test_memory_beyond_the_exact_limit_grows_with_the_rows_and_not_with_their_pairs() -> None:
    grid = directions(np.random.default_rng(0).normal(size=(8_000, 4)).astype(np.float32))
    tracemalloc.start()
    greedy_facility_location(grid, count=5, exact_up_to=0, neighbours=16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 8_000 * 16 + 4 * 8 * 2**23  # a block of all pairs at a time
