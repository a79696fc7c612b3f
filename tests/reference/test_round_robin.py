"""Round-robin against the obvious loop: exact cosines, turns, ties, groups, small lists."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aimed import aimed_at, frame_of, vector_column
from treadle import op as registry
from treadle.data.selection import Budget
from treadle.errors import DataError
from treadle.geometry import cosine, nearest
from treadle.geometry.cosine import RADIUS, directions
from treadle.geometry.nearest import most_similar
from treadle.geometry.points import Points
from treadle.geometry.round_robin import offers
from treadle.select.round_robin import round_robin


def obvious(scores_GN: list[list[object]], count: int) -> list[tuple[int, int]]:
    """Let each group in turn take its best free row, lower positions first at equal scores."""
    free = set(range(len(scores_GN[0])))
    taken: list[tuple[int, int]] = []
    while free and len(taken) < count:
        g = len(taken) % len(scores_GN)
        best = min(free, key=lambda i: (-scores_GN[g][i], i))  # type: ignore[operator]
        free.remove(best)
        taken.append((best, g))
    return taken


def exact_cosines(grid_ND: NDArray[np.float32], to_QD: NDArray[np.float32]) -> list[list[Fraction]]:
    """Return targets x rows in Python's unbounded whole numbers."""
    rows = [[int(v) for v in row] for row in grid_ND]
    targets = [[int(v) for v in row] for row in to_QD]
    return [
        [
            Fraction(sum(a * b for a, b in zip(row, target, strict=True)), int(RADIUS) ** 2)
            for row in rows
        ]
        for target in targets
    ]


def test_blocks_of_rows_and_of_groups_do_not_change_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    units = Points.of(rng.integers(-2, 3, size=(50, 3)).astype(np.float32))
    to = directions(rng.integers(-2, 3, size=(7, 3)) + 5)
    starts, among = np.array([0, 1, 4]), np.flatnonzero(rng.random(50) < 0.7)
    whole = most_similar(units, to, starts, among, 6)
    for cells in (1, 60, 100):
        monkeypatch.setattr(nearest, "BLOCK_CELLS", cells)
        monkeypatch.setattr(cosine, "BLOCK_CELLS", cells)
        parts = most_similar(units, to, starts, among, 6)
        assert [p.tolist() for p in parts] == [w.tolist() for w in whole]


@settings(max_examples=100)
@given(st.data())
def test_turns_are_those_of_the_obvious_loop_ties_groups_and_small_lists_included(
    data: st.DataObject,
) -> None:
    total, width = data.draw(st.integers(1, 25)), data.draw(st.integers(1, 3))
    cell = st.integers(-2, 2)
    vector = st.lists(cell, min_size=width, max_size=width).filter(any)
    rows = data.draw(st.lists(vector, min_size=total, max_size=total))
    targets = data.draw(st.lists(vector, min_size=1, max_size=6))
    inner = data.draw(st.sets(st.integers(1, len(targets))))
    starts = [0, *sorted(inner - {len(targets)})]
    points, to = Points.of(np.array(rows, np.float32)), directions(np.array(targets))
    scores = exact_cosines(directions(np.array(rows)), to)
    ends = [*starts[1:], len(targets)]
    by_group = [
        [max(scores[q][i] for q in range(a, b)) for i in range(total)]
        for a, b in zip(starts, ends, strict=True)
    ]
    cells, expected = data.draw(st.sampled_from([1, 7, 1000])), data.draw(st.integers(1, 30))
    found = list(offers(points, to, np.array(starts), expected=expected, list_cells=cells))
    assert [(i, g) for i, g, _ in found] == obvious(by_group, total)
    assert [Fraction(c) for _, _, c in found] == [by_group[g][i] for i, g, _ in found]


def plain_pool() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(2000, 24)).astype(np.float32)
    return points, rng.normal(size=(20, 24)).astype(np.float32)


def plain_scores() -> NDArray[np.float64]:
    points, wanted = (p.astype(float) for p in plain_pool())
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return wanted / np.linalg.norm(wanted, axis=1, keepdims=True) @ points.T


def test_it_chooses_the_rows_of_a_naive_implementation_on_2000_rows_and_20_targets() -> None:
    points, wanted = plain_pool()
    rows = frame_of(2000, embedding=vector_column(points))
    target = frame_of(20, prefix="dev", embedding=vector_column(wanted))
    found = round_robin()(rows, Budget("rows", 500), aimed_at(target))
    scores = plain_scores()
    turns = obvious(scores.tolist(), 500)
    assert found.ids == [f"row{i:05d}" for i, _ in turns]
    first, g = turns[0]
    assert found.chosen["reason"][0] == f"cosine {scores[g][first]:.3g} to target dev00000"


def test_a_group_takes_turns_as_one_by_its_nearest_target_row() -> None:
    points, wanted = plain_pool()
    tasks = ["sql", "math", None, "math"] * 5
    rows = frame_of(2000, embedding=vector_column(points))
    target = frame_of(20, prefix="dev", embedding=vector_column(wanted), task=tasks)
    mixed = target.sample(fraction=1.0, shuffle=True, seed=3)
    found = round_robin(group="task")(rows, Budget("rows", 300), aimed_at(mixed))
    scores = plain_scores()
    names = ["(none)", "math", "sql"]
    members = [[q for q in range(20) if (tasks[q] or "(none)") == name] for name in names]
    turns = obvious([scores[m].max(axis=0).tolist() for m in members], 300)
    assert found.ids == [f"row{i:05d}" for i, _ in turns]
    for reason, (i, g) in zip(found.chosen["reason"], turns, strict=True):
        nearest = max(members[g], key=lambda q: scores[q][i])
        said = f"cosine {scores[nearest][i]:.3g} to target dev{nearest:05d} of task {names[g]}"
        assert reason == said


def test_target_rows_may_be_compared_by_another_vector() -> None:
    points, wanted = plain_pool()
    rows = frame_of(2000, gradient=vector_column(points))
    target = frame_of(
        20, prefix="dev", gradient=vector_column(-wanted), gradient_plain=vector_column(wanted)
    )
    choose = round_robin(on="gradient", target_on="gradient_plain")
    found = choose(rows, Budget("rows", 30), aimed_at(target))
    turns = obvious(plain_scores().tolist(), 30)
    assert found.ids == [f"row{i:05d}" for i, _ in turns]
    bound = registry.get("select", "round_robin").bind({"on": "g", "target_on": "p", "group": "t"})
    assert (bound.needs, bound.target) == (("g",), ("p", "t"))


def test_exact_copies_are_chosen_in_the_order_of_their_ids() -> None:
    rows = frame_of(9, embedding=vector_column([[0.3, 0.1, 0.7]] * 9))
    target = frame_of(2, prefix="dev", embedding=vector_column([[1, 0, 0], [0, 1, 0]]))
    found = round_robin()(rows[::-1], Budget("rows", 4), aimed_at(target))
    assert found.ids == ["row00000", "row00001", "row00002", "row00003"]


def test_under_a_token_budget_the_turns_stop_where_the_whole_order_would() -> None:
    points, wanted = plain_pool()
    rows = frame_of(2000, embedding=vector_column(points))
    target = frame_of(20, prefix="dev", embedding=vector_column(wanted))
    turns = [f"row{i:05d}" for i, _ in obvious(plain_scores().tolist(), 100)]
    found = round_robin()(rows, Budget("tokens", 2000), aimed_at(target))
    lengths = dict(rows.select("id", "length_total").iter_rows())
    assert found.ids[:-1] == turns[: len(found.ids) - 1]
    assert 1900 < sum(lengths[key] for key in found.ids) <= 2000


def test_a_row_longer_than_the_budget_costs_no_target_row_its_turn() -> None:
    rows = frame_of(3, embedding=vector_column([[1, 0], [1, 0.1], [0, 1]]))
    rows = rows.with_columns(length_total=pl.Series([99, 5, 5]))
    target = frame_of(2, prefix="dev", embedding=vector_column([[1, 0], [0, 1]]))
    found = round_robin()(rows, Budget("tokens", 10), aimed_at(target))
    assert found.ids == ["row00001", "row00002"]
    assert found.left["reason"].to_list() == ["over_budget"]


def test_vectors_of_another_width_and_groups_that_are_lists_are_refused() -> None:
    rows = frame_of(3, embedding=vector_column([[1, 0]] * 3))
    target = frame_of(1, prefix="dev", embedding=vector_column([[1, 0, 0]]))
    with pytest.raises(DataError, match="width 3, that of the pool 2"):
        round_robin()(rows, Budget("rows", 1), aimed_at(target))
    target = frame_of(1, prefix="dev", embedding=vector_column([[1, 0]]), task=[["a"]])
    with pytest.raises(DataError, match="column 'task' holds List"):
        round_robin(group="task")(rows, Budget("rows", 1), aimed_at(target))
