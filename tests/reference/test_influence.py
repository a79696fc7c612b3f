"""Influence against the obvious loops over pairs of gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from aimed import aimed_at, frame_of, vector_column
from treadle.data.selection import Budget
from treadle.select.influence import influence

SUBTASKS = ["algebra", "logic", None, "algebra", "logic", "logic", "algebra", "logic"]


def gradients(total: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(total, 16)) * rng.lognormal(size=(total, 1))).astype(np.float32)


def obvious_score(
    row: NDArray[np.float32], groups: list[list[NDArray[np.float32]]], variant: str
) -> tuple[float, int]:
    """Return the mean cosine with the nearest group, or the sum of mean products, and that group."""
    means = []
    for members in groups:
        total = 0.0
        for target in members:
            product = sum(float(a) * float(b) for a, b in zip(row, target, strict=True))
            if variant == "less":
                product /= math.sqrt(sum(float(a) ** 2 for a in row))
                product /= math.sqrt(sum(float(b) ** 2 for b in target))
            total += product
        means.append(total / len(members))
    best = max(range(len(means)), key=lambda g: means[g])
    return (means[best] if variant == "less" else sum(means)), best


@pytest.mark.parametrize("variant", ["less", "clues"])
@pytest.mark.parametrize("group", [None, "subtask"])
def test_the_rows_chosen_and_their_scores_are_those_of_the_obvious_loops(
    variant: str, group: str | None
) -> None:
    points, wanted = gradients(120, 1), gradients(8, 2)
    rows = frame_of(120, gradient=vector_column(points))
    target = frame_of(8, prefix="dev", gradient_plain=vector_column(wanted), subtask=SUBTASKS)
    names = ["(none)", "algebra", "logic"]
    groups = [list(wanted)]
    if group:
        groups = [
            [w for w, s in zip(wanted, SUBTASKS, strict=True) if (s or "(none)") == name]
            for name in names
        ]
    scores = [obvious_score(row, groups, variant) for row in points]
    order = sorted(range(120), key=lambda i: (-scores[i][0], i))
    mixed = target.sample(fraction=1.0, shuffle=True, seed=1)
    choose = influence(variant=variant, group=group)  # type: ignore[arg-type]
    found = choose(rows, Budget("rows", 120), aimed_at(mixed))
    assert found.ids == [f"row{i:05d}" for i in order]
    for place, (why, i) in enumerate(zip(found.chosen["reason"], order, strict=True), start=1):
        told, rank = why.removeprefix("influence ").split(", rank ")
        assert float(told) == pytest.approx(scores[i][0], rel=0.006, abs=1e-6)
        assert rank == f"{place}" + (f", on subtask {names[scores[i][1]]}" if group else "")


def test_lengths_count_for_clues_only() -> None:
    points = [[1, 0], [9, 9], [0.5, 0.1]]
    rows = frame_of(3, gradient=vector_column(points))
    target = frame_of(2, prefix="dev", gradient_plain=vector_column([[2, 0], [4, 0]]))
    less = influence()(rows, Budget("rows", 3), aimed_at(target))
    assert less.ids == ["row00000", "row00002", "row00001"]
    assert less.chosen["reason"][0] == "influence 1, rank 1"
    clues = influence(variant="clues")(rows, Budget("rows", 3), aimed_at(target))
    assert clues.ids == ["row00001", "row00000", "row00002"]
    assert clues.chosen["reason"][0] == "influence 27, rank 1"


def test_rows_under_the_threshold_are_left_out() -> None:
    rows = frame_of(3, gradient=vector_column([[1, 0], [0, 1], [-1, 0]]))
    target = frame_of(1, prefix="dev", gradient_plain=vector_column([[1, 0]]))
    found = influence(variant="clues", drop_below=0)(rows, Budget("rows", 3), aimed_at(target))
    assert found.ids == ["row00000", "row00001"]
    assert found.left["reason"].to_list() == ["influence_below_0"]


def test_target_rows_that_pull_apart_leave_no_direction() -> None:
    rows = frame_of(2, gradient=vector_column([[1, 0], [0, 1]]))
    target = frame_of(2, prefix="dev", gradient_plain=vector_column([[1, 0], [-1, 0]]))
    found = influence()(rows[::-1], Budget("rows", 2), aimed_at(target))
    assert found.ids == ["row00000", "row00001"]
    assert found.chosen["reason"][1] == "influence 0, rank 2"
