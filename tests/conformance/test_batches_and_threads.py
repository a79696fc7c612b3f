"""Batch size and number of threads change no chosen id, from a model's features to the selection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import polars as pl
import pytest

from conformance.conftest import ordinary_rows
from treadle import models
from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Row
from treadle.data.selection import Budget, Selection
from treadle.flywheel.features import plan
from treadle.models.sums import proxy_rows

torch = pytest.importorskip("torch")

CHOICES = [
    ("nll", "top", {"by": "nll"}),
    ("ifd", "top", {"by": "ifd"}),
    ("hidden_state", "round_robin", {"on": "hidden_state"}),
    ("hidden_state", "k_center", {"on": "hidden_state"}),
    ("gradient", "influence", {}),
]
WAYS = {"rows alone": (1, 1), "two threads": (8, 2), "all at once": (99, 1)}
"""Rows a batch, and torch's threads."""


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def measured(
    name: str, pool: Pool, fitted_on: Pool, student: object, size: int, fits: dict[str, bytes]
) -> pl.DataFrame:
    """Return a feature and the lengths of each row, measured `size` rows at a time.

    What a measure learns from the pool first goes into `fits`, so that target rows share it.
    """
    context = Context(models={"student": student})
    steps = plan(("length", name), {"gradient": {"width": 256}})
    for step in steps:
        if step.op.fit is not None and step.op.name not in fits:
            fits[step.op.name] = step.op.fit(fitted_on.frame, step.options, context)
    parts = []
    for begin in range(0, len(pool), size):
        batch = pool.frame[begin : begin + size]
        for step in steps:
            made = step.make()(batch, replace(context, fitted=fits.get(step.op.name)))
            batch = pl.concat([batch, made], how="horizontal")
        parts.append(batch)
    return pl.concat(parts)


def chosen(
    student: object,
    rows_of: Callable[..., list[Row]],
    name: str,
    method: str,
    options: dict[str, str],
    total: int,
    way: str,
) -> list[str]:
    size, count = WAYS[way]
    torch.set_num_threads(count)
    pool, aims = Pool.of(rows_of(total, seed=1)), Pool.of(rows_of(4, seed=5))
    bound = registry.get("select", method).bind(options)
    fits: dict[str, bytes] = {}
    rows = measured(name, pool, pool, student, size, fits)
    target = measured(name, aims, pool, student, size, fits) if bound.target else None
    found: Selection = bound.make()(rows, Budget("rows", total // 4), Context(target=target))
    assert found.chosen.height == total // 4
    return found.ids


def sums(total: int, *, seed: int) -> list[Row]:
    """What the proxy can read. Words are all alike to it: their states differ by rounding alone."""
    return proxy_rows(total, seed=seed, wrong_share=0.3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method", "options"), CHOICES, ids=lambda x: str(x))
def test_batches_and_threads_change_no_row_that_a_proxy_chooses(
    name: str, method: str, options: dict[str, str], threads: None
) -> None:
    student = models.load("proxy")
    found = {way: chosen(student, sums, name, method, options, 24, way) for way in WAYS}
    assert len({tuple(ids) for ids in found.values()}) == 1, found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method", "options"), CHOICES[1:], ids=lambda x: str(x))
def test_batches_and_threads_change_no_row_that_the_embedded_model_chooses(
    name: str, method: str, options: dict[str, str], threads: None
) -> None:
    student = models.load("embedded", precision="fp32")
    ways = ("rows alone", "two threads")
    total = 4 if name == "gradient" else 8
    found = {way: chosen(student, ordinary_rows, name, method, options, total, way) for way in ways}
    assert len({tuple(ids) for ids in found.values()}) == 1, found
