"""`merged_tags`: spellings, rare tags, tags that say the same, tags that go together."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from treadle import models
from treadle import op as registry
from treadle.context import Context
from treadle.geometry.cosine import cosines, directions
from treadle.geometry.groups import chained
from treadle.measure.merged_tags import joins, plain, spoken_for


def merged(
    lists: list[list[str] | None],
    *,
    fit_on: list[list[str] | None] | None = None,
    **options: object,
) -> list[list[str] | None]:
    def frame(tags: list[list[str] | None]) -> pl.DataFrame:
        ids = [f"{i:03d}" for i in range(len(tags))]
        return pl.DataFrame({"id": ids, "judged_tags": pl.Series(tags, dtype=pl.List(pl.String))})

    bound = registry.get("measure", "merged_tags").bind(options)
    context = Context(models={"embedder": models.load_embedder("hashed")})
    assert bound.op.fit is not None
    fitted = bound.op.fit(frame(fit_on or lists), bound.options, context)
    return bound.make()(frame(lists), Context(fitted=fitted))["merged_tags"].to_list()


def test_spellings_become_one_and_the_order_stays() -> None:
    assert plain(["Unit-Conversion", "unit  conversion!", "C++", "名詞"]) == [
        "unit conversion", "c", "名詞",
    ]  # fmt: skip
    assert merged([["B a", "x"], ["b-a"]], fewest=1, alike=1.0) == [["b a", "x"], ["b a"]]


def test_rare_tags_are_dropped_and_rows_without_tags_stay_unscored() -> None:
    lists = [["maths", "odd"], ["maths"], ["odder"], None, []]
    assert merged(lists, fewest=2, alike=1.0) == [["maths"], ["maths"], [], None, []]


def test_a_tag_counts_once_a_row() -> None:
    assert merged([["x", "x", "X"], ["y"]], fewest=2, alike=1.0) == [[], []]


def test_near_tags_are_made_the_commonest_of_them() -> None:
    lists = [["unit conversions"], ["unit conversion"], ["unit conversion"], ["poetry"]]
    found = merged(lists, fewest=1, alike=0.6)
    assert found == [["unit conversion"]] * 3 + [["poetry"]]
    assert merged(lists, fewest=1, alike=1.0)[0] == ["unit conversions"]
    counts = {"b": 2, "a": 2, "c": 1}
    assert spoken_for(["a", "b", "c"], [0, 0, 1], counts) == {"a": "a", "b": "a", "c": "c"}


def test_a_tag_that_never_comes_without_another_is_made_that_one() -> None:
    lists = [["python", "code"]] * 5 + [["code"]] * 3 + [["sql", "code"]] * 2
    assert joins(lists, 0.99, 5) == {"python": "code"}
    found = merged(lists, fewest=1, alike=1.0, fewest_together=5)
    assert found == [["code"]] * 8 + [["sql", "code"]] * 2
    nearly = [*lists, ["python"]]
    assert joins(nearly, 0.99, 5) == {}
    assert joins(nearly, 0.8, 5) == {"python": "code"}


def test_joins_are_followed_to_their_end() -> None:
    lists = [["a", "b", "c"]] * 4 + [["b", "c"]] * 3 + [["c"]] * 3
    assert joins(lists, 1.0, 1) == {"a": "c", "b": "c"}
    chain = [["a", "b"]] * 4 + [["b", "c"]] * 400 + [["c"]] * 13
    assert joins(chain, 0.99, 4) == {"a": "c", "b": "c"}


def test_a_row_outside_the_pool_gets_the_pools_names() -> None:
    found = merged([["unit conversions", "new"]], fit_on=[["unit conversion"]] * 2 + [["unit conversions"]],
                   fewest=1, alike=0.6)  # fmt: skip
    assert found == [["unit conversion"]]


@pytest.mark.parametrize("least", [0.2, 0.5, 0.9])
def test_groups_are_those_of_a_slow_search(least: float) -> None:
    grid = directions(np.random.default_rng(2).normal(size=(60, 5)))
    near = cosines(grid, grid) >= least
    group = list(range(60))
    for _ in range(60):
        for i in range(60):
            group[i] = min(group[j] for j in range(60) if near[i, j])
    numbers = {first: n for n, first in enumerate(dict.fromkeys(group))}
    assert chained(grid, least).tolist() == [numbers[g] for g in group]


def test_a_vector_of_zeros_is_alone() -> None:
    assert chained(np.zeros((3, 4), np.float32), 0.5).tolist() == [0, 1, 2]
