"""The greedy point process against determinants of whole kernel matrices."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from treadle import op as registry
from treadle.context import Context
from treadle.data.selection import Budget
from treadle.errors import RecipeError
from treadle.geometry.cosine import directions
from treadle.geometry.volume import greedy_dpp
from treadle.select.dpp import dpp
from vectors import clustered, cosine, frame, places

EVERY = Budget("share", 1.0)


def kernel(
    points: NDArray[np.float32], quality: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    cos = cosine(directions(points))
    np.fill_diagonal(cos, 1)
    return np.outer(quality, quality) * (cos + ridge * np.eye(len(points)))


def largest_determinants(
    matrix: NDArray[np.float64], count: int, tokens: list[int], limit: float
) -> list[int]:
    """Compute a determinant for every row at every step; equal ones go to the first row."""
    order: list[int] = []
    while len(order) < count:
        logs = {}
        for i in range(len(matrix)):
            if i not in order and tokens[i] <= limit:
                inside = [*order, i]
                sign, value = np.linalg.slogdet(matrix[np.ix_(inside, inside)])
                logs[i] = value if sign > 0 else -np.inf
        if not logs:
            break
        best = min(i for i, value in logs.items() if value >= max(logs.values()) - 1e-6)
        order.append(best)
        limit -= tokens[best]
    return order


@settings(max_examples=60)
@given(st.data())
def test_each_row_is_the_one_of_the_largest_determinant(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 16))
    cells = st.lists(st.integers(-3, 3), min_size=3, max_size=3).filter(any)
    points = np.array(data.draw(st.lists(cells, min_size=total, max_size=total)), np.float32)
    quality = np.array(data.draw(st.lists(st.sampled_from([0.5, 1.0, 1.7, 4.0]),
                                          min_size=total, max_size=total)))  # fmt: skip
    tokens = data.draw(st.lists(st.integers(1, 9), min_size=total, max_size=total))
    limit = data.draw(st.one_of(st.none(), st.integers(1, 60)))
    ridge = data.draw(st.sampled_from([0.01, 0.1, 1.0]))
    count = data.draw(st.integers(0, total + 1))
    found = greedy_dpp(
        directions(points),
        np.log(quality),
        ridge=ridge,
        count=count,
        tokens_N=np.array(tokens, dtype=np.int64),
        token_limit=limit,
    )
    matrix = kernel(points, quality, ridge)
    expected = largest_determinants(matrix, count, tokens, float("inf") if limit is None else limit)
    assert found.order == expected


def test_the_parts_multiply_to_the_determinant() -> None:
    points = clustered(300, width=24)
    quality = np.random.default_rng(1).uniform(0.5, 2, size=300)
    found = greedy_dpp(directions(points), np.log(quality), ridge=0.01, count=120)
    inside = np.ix_(found.order, found.order)
    volume = np.linalg.slogdet(kernel(points, quality, 0.01)[inside])[1]
    worth = 2 * np.log(quality[found.order]).sum() + np.log(found.new_parts).sum()
    assert worth == pytest.approx(volume, rel=1e-9)
    expected = largest_determinants(kernel(points, quality, 0.01), 25, [0] * 300, 1)
    assert found.order[:25] == expected


@pytest.mark.parametrize("seed", range(4))
def test_the_volume_comes_near_the_largest_there_is(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(12, 6)).astype(np.float32)
    matrix = kernel(points, np.ones(12), 0.01)
    order = greedy_dpp(directions(points), np.zeros(12), ridge=0.01, count=4).order
    volumes = [np.linalg.det(matrix[np.ix_(c, c)]) for c in combinations(range(12), 4)]
    reached = np.linalg.det(matrix[np.ix_(order, order)])
    assert np.mean(np.array(volumes) <= reached * (1 + 1e-9)) > 0.95


def test_without_a_ridge_it_ends_when_nothing_is_new() -> None:
    points = clustered(50, width=6)
    rows = frame(points)
    found = dpp(ridge=0)(rows, EVERY, Context())
    assert len(found.ids) == 6
    assert set(found.left["reason"]) == {"nothing_new"}
    few = dpp(ridge=0)(rows, Budget("rows", 3), Context())
    assert few.ids == found.ids[:3]
    assert set(few.left["reason"]) == {"over_budget"}


def test_copies_come_last_and_by_id() -> None:
    points = np.concatenate([np.eye(5), np.eye(5), np.eye(5)]).astype(np.float32)
    found = dpp()(frame(points), EVERY, Context())
    assert places(frame(points), found.ids) == list(range(15))
    assert found.chosen["reason"].to_list()[::5] == [
        "1 of it new", "0.0197 of it new", "0.0148 of it new",
    ]  # fmt: skip


def test_a_mix_of_chosen_rows_is_not_new_though_it_is_near_to_neither() -> None:
    points = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0.8, 0, 0.6]], dtype=np.float32)
    rows = frame(points, score=[9.0, 8.0, 3.0, 1.0])
    found = dpp(by="score")(rows, Budget("rows", 3), Context())
    assert places(rows, found.ids) == [0, 1, 3]
    assert found.chosen["reason"][0] == "score 9, 1 of it new"


def test_quality_and_newness_weigh_against_each_other() -> None:
    points = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    for copy, expected in ((6.9, [0, 2, 1]), (7.3, [0, 1, 2])):
        rows = frame(points, score=[10.0, copy, 1.0])
        assert places(rows, dpp(by="score")(rows, EVERY, Context()).ids) == expected
    rows = frame(points, score=[10.0, 6.9, 1.0])
    assert places(rows, dpp(by="score", weight=2)(rows, EVERY, Context()).ids) == [0, 1, 2]


def test_only_ratios_of_quality_count_and_none_is_too_small() -> None:
    points = clustered(40)
    score = np.random.default_rng(0).uniform(0.1, 1, size=40)
    first = dpp(by="score", weight=3)(frame(points, score=score), Budget("rows", 15), Context()).ids
    for scale in (1e-300, 1e300):
        rows = frame(points, score=scale * score)
        assert dpp(by="score", weight=3)(rows, Budget("rows", 15), Context()).ids == first


def test_a_quality_of_nothing_is_left_out_and_says_so() -> None:
    rows = frame(clustered(4), score=[0.0, -1.0, 2.0, None])
    found = dpp(by="score")(rows, EVERY, Context())
    assert places(rows, found.ids) == [2]
    assert found.left["reason"].to_list() == ["score_not_positive"] * 2 + ["unscored"]


def test_a_ridge_below_zero_is_refused() -> None:
    with pytest.raises(RecipeError, match="ridge"):
        registry.get("select", "dpp").bind({"ridge": -0.1})
