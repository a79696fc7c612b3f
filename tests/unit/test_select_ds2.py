"""`ds2` and `curated_score`: levels, ties, what is told, and that both repair alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conformance.conftest import ordinary_rows
from treadle import models
from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.ratings import levels
from treadle.data.selection import Budget
from treadle.errors import DataError
from treadle.flywheel.features import measure_pool
from treadle.machinery.engine import LocalEngine
from treadle.machinery.ledger import Ledger
from treadle.machinery.store import Store


def rows(count: int = 300, *, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    """Clusters of equal worth, one rating in three wrong."""
    rng = np.random.default_rng(seed)
    where = rng.integers(count // 30, size=count)
    centres = rng.normal(size=(count // 30, 16))
    true = np.arange(count // 30)[where] % 5 + 1
    rated = np.where(rng.random(count) < 0.33, rng.integers(1, 6, count), true)
    frame = pl.DataFrame(
        {
            "id": [f"{i:05d}" for i in range(count)],
            "quality": rated.astype(float),
            "embedding": (centres[where] + 0.3 * rng.normal(size=(count, 16))).tolist(),
            "length_total": [10] * count,
        }
    )
    return frame, true


def choose(frame: pl.DataFrame, keep: int, **options: object):
    op = registry.get("select", "ds2").bind({"by": "quality", **options})
    return op.make()(frame, Budget("rows", keep), Context())


def test_the_best_after_repair_deserve_it_more_than_the_best_before() -> None:
    frame, true = rows(900)
    found = choose(frame, 150)
    top = registry.get("select", "top").bind({"by": "quality"}).make()
    raw = top(frame, Budget("rows", 150), Context())
    worth = dict(zip(frame["id"], true.tolist(), strict=True))
    repaired, before = (np.mean([worth[i] == 5 for i in s.ids]) for s in (found, raw))
    assert before < 0.8
    assert repaired > before + 0.1
    assert any("was" in why for why in found.chosen["reason"])


def test_equal_ratings_go_by_rareness() -> None:
    frame, _ = rows(300)
    frame = frame.with_columns(pl.lit(3.0).alias("quality"))
    found = choose(frame, 300)
    tails = [float(why.rsplit(" ", 1)[1]) for why in found.chosen["reason"]]
    assert tails == sorted(tails, reverse=True)
    assert tails[0] > tails[-1]


def test_a_row_without_rating_or_vector_is_unscored_and_no_neighbour() -> None:
    frame, _ = rows(120)
    blank = frame.with_columns(
        pl.when(pl.col("id") == "00003").then(None).otherwise(pl.col("quality")).alias("quality"),
        pl.when(pl.col("id") == "00004").then(None).otherwise("embedding").alias("embedding"),
    )
    found = choose(blank, 120)
    left = dict(found.left.rows())
    assert left == {"00003": "unscored", "00004": "unscored"}
    without = frame.filter(~pl.col("id").is_in(["00003", "00004"]))
    assert choose(without, 118).chosen["reason"].to_list() == found.chosen["reason"].to_list()


def test_ten_levels_fold_as_published() -> None:
    frame = pl.DataFrame({"r": [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, None]})
    values, is_rated = levels(frame, "r", "ten_to_five")
    assert values[:-1].tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 5, 5]
    assert is_rated.tolist() == [True] * 10 + [False]


def test_a_score_without_levels_is_refused() -> None:
    frame, _ = rows(60)
    frame = frame.with_columns(pl.int_range(60).cast(pl.Float64).alias("quality"))
    with pytest.raises(DataError, match="60 whole levels, from 0 to 59"):
        choose(frame, 5)


def test_the_measure_repairs_as_the_selector_does(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    engine = LocalEngine(Store(tmp_path / "store"), ledger)
    played = {"embedder": models.load_embedder("hashed"), "student": models.load("scripted")}
    context = Context(models=played, engine=engine)
    pool = Pool.of(ordinary_rows(80))
    options = {"curated_score": {"by": "length_words_rating", "least_agreement": -1}}
    plugin = tmp_path / "rating.py"
    plugin.write_text(
        '"""A rating of few levels."""\n'
        "import polars as pl\n"
        "from treadle.op import measure\n\n\n"
        '@measure(reference="a test", cost="none", needs=("length_words",))\n'
        "def length_words_rating():\n"
        '    """Fold the length into four levels, so that neighbours have something to say."""\n'
        "    def run(batch, context):\n"
        "        words = batch['length_words'] // 10\n"
        "        return pl.DataFrame({'length_words_rating': words.cast(pl.Float64)})\n"
        "    return run\n"
    )
    registry.load_plugin(plugin)
    try:
        needs = ["length", "length_words_rating", "embedding", "curated_score"]
        frame = measure_pool(pool, needs, options, context).frame
    finally:
        registry._REGISTRY.pop(("measure", "length_words_rating"))
        ledger.close()
    found = choose(frame, 80, by="length_words_rating", least_agreement=-1)
    expected = frame.sort(
        ["curated_score", "curated_score_long_tail", "id"], descending=[True, True, False]
    )
    assert found.ids == expected["id"].to_list()
    assert (frame["curated_score"] != frame["length_words_rating"]).any()
