"""Two passes against whole numbers: how far rough cosines may lie, and lists of the most similar rows."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from treadle.geometry import cosine, nearest
from treadle.geometry.cosine import RADIUS, directions
from treadle.geometry.nearest import candidates, most_similar
from treadle.geometry.points import Points, margin, rough_cosines
from treadle.geometry.round_robin import offers

Vectors = NDArray[np.float32]

WIDTHS = (2, 3, 16, 384, 4096)


def whole_products(vectors_ND: Vectors, to_QD: Vectors) -> NDArray[np.int64]:
    """Return products of directions in whole numbers: targets x rows."""
    found: NDArray[np.int64] = to_QD.astype(np.int64) @ directions(vectors_ND).astype(np.int64).T
    return found


def hard_vectors(width: int, seed: int) -> Vectors:
    """Return vectors of all sizes whose sums round much: to one side, by cancelling, by mixed sizes."""
    rng = np.random.default_rng(seed)
    plain = rng.normal(size=(60, width))
    mixed = plain * 10.0 ** rng.uniform(-30, 30, size=plain.shape)
    apart = plain * 10.0 ** rng.uniform(-5, 0, size=plain.shape)
    biased = np.full((60, width), 1 + 2.0**-23) + rng.integers(0, 2, size=plain.shape) * 2.0**-12
    halves = np.repeat(rng.normal(size=(60, -(-width // 2))), 2, axis=1)[:, :width]
    halves[:, 1::2] *= -1 - 1e-6 * rng.normal(size=halves[:, 1::2].shape)
    sizes = 10.0 ** rng.uniform(-30, 30, size=(60, 1))
    kinds = [plain, apart, biased, halves]
    sized = np.concatenate([*kinds, *(kind / np.abs(kind).max() * sizes for kind in kinds), mixed])
    tiny = np.maximum(np.abs(plain[:9]), 0.01) * 1e-42  # below the smallest normal number
    return np.concatenate([sized, tiny, np.zeros((1, width))]).astype(np.float32)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_rough_cosine_lies_farther_than_the_margin(width: int) -> None:
    vectors = hard_vectors(width, seed=width)
    to = directions(np.concatenate([hard_vectors(width, seed=99), vectors[::7]]))
    each, everyone = np.arange(len(to)), np.arange(len(vectors))
    exact = whole_products(vectors, to) / RADIUS**2
    rough = rough_cosines(Points.of(vectors), to, each, everyone)
    assert np.isfinite(rough).all()
    assert 0 < np.abs(rough - exact).max() <= margin(width)
    on_grid = rough_cosines(Points.on_grid(directions(vectors)), to, each, everyone)
    assert np.abs(on_grid - exact).max() <= margin(width)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_nor_would_one_whose_terms_are_added_one_by_one(width: int, order: slice) -> None:
    vectors = hard_vectors(width, seed=width)
    size = np.linalg.norm(vectors.astype(float), axis=1)
    vectors = vectors[(size > 1e-12) & (size < 1e12)]
    to = directions(vectors[::9])
    exact = whole_products(vectors, to) / RADIUS**2
    squares = np.cumsum((vectors * vectors)[:, order], axis=1, dtype=np.float32)[:, -1]
    lengths = np.sqrt(squares) * np.float32(RADIUS)
    worst = 0.0
    for target, cosines in zip(to, exact, strict=True):
        terms = np.sort(vectors * target, axis=1)[:, order]  # the largest partial sums there are
        rough = np.cumsum(terms, axis=1, dtype=np.float32)[:, -1] / lengths
        worst = max(worst, float(np.abs(rough - cosines).max()))
    assert worst <= margin(width)
    assert worst > margin(width) / 40  # so the margin is no mere guess at something huge


def test_margins_are_small_beside_cosines() -> None:
    assert margin(384) < 6e-5
    assert margin(4096) < 6e-4


def test_directions_are_the_same_in_whatever_parts_they_are_asked_for() -> None:
    vectors = hard_vectors(5, seed=1)
    whole, some = directions(vectors), Points.of(vectors)
    rng = np.random.default_rng(2)
    for share in (0.1, 0.5, 1.0):
        rows = np.flatnonzero(rng.random(len(vectors)) <= share)
        assert (some.directions(rows) == whole[rows]).all()
    assert (some.grid == whole).all()


def crowded(width: int) -> tuple[Vectors, Vectors]:
    """Return 1,200 vectors and 40 targets: copies, near-copies within single precision, any length."""
    rng = np.random.default_rng(width)
    centres = rng.normal(size=(40, width))
    vectors = centres[rng.integers(40, size=1200)]
    kind = rng.integers(4, size=(1200, 1))
    vectors += np.select([kind == 0, kind == 1, kind == 2], [0, 1e-7, 1e-5], 0.3) * rng.normal(
        size=vectors.shape
    )
    vectors *= 2.0 ** rng.integers(-100, 100, size=(1200, 1))
    return vectors.astype(np.float32), (centres + 0.2 * rng.normal(size=(40, width))).astype(
        np.float32
    )


@pytest.mark.parametrize("pair_cost", [0, nearest.PAIR_COST, 10**9])
@pytest.mark.parametrize("width", [2, 8, 384])
@pytest.mark.parametrize("starts", [list(range(40)), [0, 1, 3, 30], [0]])
def test_lists_are_those_of_whole_numbers_with_ties_at_every_edge(
    monkeypatch: pytest.MonkeyPatch, pair_cost: int, width: int, starts: list[int]
) -> None:
    monkeypatch.setattr(nearest, "PAIR_COST", pair_cost)
    vectors, wanted = crowded(width)
    to, among = directions(wanted), np.flatnonzero(np.arange(1200) % 5)
    products = np.maximum.reduceat(whole_products(vectors, to), starts, axis=0)[:, among]
    for count in (1, 7, 20, 60):
        order = np.argsort(-products, axis=1, kind="stable")[:, :count]
        found, near = most_similar(Points.of(vectors), to, np.array(starts), among, count)
        assert (found == among[order]).all()
        assert (near * RADIUS**2 == np.take_along_axis(products, order, axis=1)).all()


@pytest.mark.parametrize("pair_cost", [0, nearest.PAIR_COST])
@pytest.mark.parametrize("list_cells", [1_000, 2**24])
@pytest.mark.parametrize("starts", [list(range(40)), [0, 1, 3, 30], [0]])
def test_turns_are_those_of_whole_numbers_in_blocks_and_with_lists_of_any_length(
    monkeypatch: pytest.MonkeyPatch, pair_cost: int, list_cells: int, starts: list[int]
) -> None:
    monkeypatch.setattr(nearest, "PAIR_COST", pair_cost)
    monkeypatch.setattr(nearest, "BLOCK_CELLS", 9_000)
    monkeypatch.setattr(cosine, "BLOCK_CELLS", 4_000)
    vectors, wanted = crowded(8)
    to = directions(wanted)
    products = np.maximum.reduceat(whole_products(vectors, to), starts, axis=0)
    turns = offers(Points.of(vectors), to, np.array(starts), expected=300, list_cells=list_cells)
    found = [(position, group) for position, group, _ in turns]
    is_free = np.ones(1200, np.bool_)
    for turn, (position, group) in enumerate(found):
        assert group == turn % len(starts)
        assert position == np.where(is_free, products[group], -(2**62)).argmax()
        is_free[position] = False
    assert not is_free.any()


@pytest.mark.parametrize("width", [8, 384])
def test_no_row_that_is_sure_to_matter_is_missing_from_the_candidates(width: int) -> None:
    rng = np.random.default_rng(width)
    vectors = rng.normal(size=(1, width)).repeat(20_000, axis=0)
    vectors[:, 0] += rng.uniform(-8, 8, size=20_000) * np.abs(vectors).sum() * margin(width)
    to, everyone = directions(rng.normal(size=(6, width))), np.arange(20_000)
    points = Points.of(vectors.astype(np.float32))
    exact = whole_products(points.vectors, to) / RADIUS**2
    for count in (1, 100, 5_000):
        seen = candidates(rough_cosines(points, to, np.arange(6), everyone), count, width)
        is_sure = exact >= seen.sure[:, None]
        assert (is_sure.sum(axis=1) >= count).all()
        assert not (is_sure & ~seen.may).any()
        assert not seen.may.all()


def test_where_all_rows_are_alike_the_lower_position_wins() -> None:
    vectors = np.tile(np.float32([0.3, 0.1, 0.7]), (3_000, 1))
    vectors *= np.float32(2.0) ** np.random.default_rng(0).integers(-90, 90, size=(3_000, 1))
    to = directions(np.eye(3))
    turns = offers(Points.of(vectors), to, np.arange(3), expected=100)
    assert [position for position, _, _ in turns] == list(range(3_000))


def test_memory_does_not_grow_with_the_targets_of_a_group() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4_000, 4)).astype(np.float32)
    to, everyone = directions(rng.normal(size=(40_000, 4))), np.arange(len(vectors))
    with threadpool_limits(1, user_api="blas"):
        tracemalloc.start()
        rough_cosines(Points.of(vectors), to, np.array([0]), everyone)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2 * 4 * cosine.BLOCK_CELLS < 4 * vectors.shape[0] * len(to) / 4
