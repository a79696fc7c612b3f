"""Gradients of optimal transport against POT's potentials and against finite differences."""

from __future__ import annotations

import numpy as np
import ot
import pytest
from numpy.typing import NDArray

from aimed import aimed_at, frame_of, vector_column
from treadle.data.selection import Budget
from treadle.errors import DataError
from treadle.geometry import cosine, transport
from treadle.geometry.cosine import directions
from treadle.geometry.transport import mass_gradients
from treadle.select.transport import transport as select_transport

Floats = NDArray[np.float64]


def clouds(total: int = 40, targets: int = 7) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(2)
    return rng.normal(size=(total, 5)), rng.normal(size=(targets, 5)) + 0.5


def costs(points: Floats, wanted: Floats) -> Floats:
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    return 1 - points @ (wanted / np.linalg.norm(wanted, axis=1, keepdims=True)).T


def gradients(points: Floats, wanted: Floats, regularization: float) -> Floats:
    grid, to = directions(points), directions(wanted)
    return mass_gradients(grid, to, regularization=regularization)


@pytest.mark.parametrize("regularization", [0.05, 0.3, 2.0])
def test_gradients_are_the_calibrated_potentials_of_pot(regularization: float) -> None:
    points, wanted = clouds()
    cost = costs(points, wanted)
    a, b = np.full(40, 1 / 40), np.full(7, 1 / 7)
    _, log = ot.sinkhorn(
        a, b, cost, regularization * cost.mean(), method="sinkhorn_log",
        numItermax=10_000, stopThr=1e-12, log=True,
    )  # fmt: skip
    f = regularization * cost.mean() * log["log_u"]
    expected = [f[i] - np.delete(f, i).mean() for i in range(40)]
    np.testing.assert_allclose(gradients(points, wanted, regularization), expected, atol=2e-5)


def test_gradients_say_what_the_cost_does_when_mass_moves_to_a_row() -> None:
    points, wanted = clouds(8, 3)
    cost = costs(points, wanted)
    epsilon, b = 0.2 * cost.mean(), np.full(3, 1 / 3)

    def least(a: Floats) -> float:
        plan = ot.sinkhorn(a, b, cost, epsilon, numItermax=100_000, stopThr=1e-14)
        return float((plan * cost).sum() + epsilon * (plan * np.log(plan / np.outer(a, b))).sum())

    found = gradients(points, wanted, 0.2)
    for i in range(8):
        toward = np.where(np.arange(8) == i, 1.0, -1 / 7)
        a, h = np.full(8, 1 / 8), 1e-4
        slope = (least(a + h * toward) - least(a - h * toward)) / (2 * h)
        assert found[i] == pytest.approx(slope, abs=1e-5)


def test_blocks_and_what_is_kept_do_not_change_the_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points, wanted = clouds()
    whole = gradients(points, wanted, 0.1)
    monkeypatch.setattr(cosine, "BLOCK_CELLS", 21)
    monkeypatch.setattr(transport, "KEPT_CELLS", 0)
    np.testing.assert_allclose(gradients(points, wanted, 0.1), whole, atol=1e-9)


def test_a_target_row_of_which_the_pool_has_little_pulls_most() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(30, 3)) * 0.05
    common, rare, foreign = np.array([1, 0, 0]), np.array([0, 1, 0]), np.array([-1, -1, 0])
    points = noise + np.repeat([common, rare, foreign], [20, 2, 8], axis=0)
    rows = frame_of(30, embedding=vector_column(points))
    target = frame_of(2, prefix="dev", embedding=vector_column([common, rare]))
    found = select_transport()(rows, Budget("rows", 22), aimed_at(target))
    assert sorted(found.ids[:2]) == ["row00020", "row00021"]
    assert max(found.ids) == "row00021"
    assert found.chosen["reason"][0].startswith("transport_gradient -")


def test_copies_have_equal_gradients_and_go_by_id() -> None:
    points = np.repeat(np.random.default_rng(1).normal(size=(7, 4)), 6, axis=0)
    order = np.random.default_rng(2).permutation(42)
    rows = frame_of(42, embedding=vector_column(points[order]))
    target = frame_of(3, prefix="dev", embedding=vector_column(clouds()[1][:3, :4]))
    ids = select_transport()(rows, Budget("rows", 42), aimed_at(target)).ids
    for start in range(0, 42, 6):
        six = ids[start : start + 6]
        assert six == sorted(six)
        assert len({order[int(key[3:])] // 6 for key in six}) == 1


def test_no_solution_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_PASSES", 3)
    with pytest.raises(DataError, match=r"in 3 passes at a regularization of 0\.01"):
        gradients(*clouds(), 0.01)
