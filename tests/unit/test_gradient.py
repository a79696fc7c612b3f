"""The measure `gradient`: what it samples, what stays unscored, and whether it finds a hidden task."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from treadle import models
from treadle import op as registry
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Message, Row, to_frame
from treadle.data.selection import Budget
from treadle.data.template import tokenise
from treadle.errors import DataError, ModelError, RecipeError
from treadle.flywheel.features import measure_pool
from treadle.machinery.engine import LocalEngine
from treadle.machinery.ledger import Ledger
from treadle.machinery.store import Store
from treadle.measure.gradient import warm_up
from treadle.models.protocol import Scorable
from treadle.models.sketch import sketch
from treadle.models.sums import proxy_rows

SILENT = Row("chat", (Message("user", "hello"), Message("assistant", "not trained")))


def chat(question: str, answer: str) -> Row:
    return Row("chat", (Message("user", question), Message("assistant", answer, trains=True)))


def scripted(rows: list[Row], **options) -> pl.DataFrame:
    bound = registry.get("measure", "gradient").bind(options)
    context = Context(models={"student": models.load("scripted")}, fitted=b"")
    return bound.make()(to_frame(rows), context)


class Recording:
    """The scripted student, which also notes what it is warmed up with."""

    def __init__(self) -> None:
        self.inner = models.load("scripted")
        self.name, self.max_tokens = "recording", self.inner.max_tokens
        self.tokenizer = self.inner.tokenizer
        self.seen: list[str] = []

    def warm_up(self, sequences, **options):
        self.seen = [self.tokenizer.decode(s.ids) for s in sequences]
        return b""

    def gradients(self, sequences, warm, **options):
        return self.inner.gradients(sequences, warm, **options)


def sampled(rows: list[Row], *, is_reversed: bool = False, **options) -> list[str]:
    student = Recording()
    bound = registry.get("measure", "gradient").bind(options)
    frame = to_frame(rows).reverse() if is_reversed else to_frame(rows)
    warm_up(frame, bound.options, Context(models={"student": student}))
    return student.seen


def test_the_warm_up_reads_a_share_of_the_pool_in_an_order_drawn_by_lot() -> None:
    rows = [chat(f"question {i}", "answer") for i in range(400)]
    seen = sampled(rows, share=0.1)
    assert len(seen) == len(set(seen)) == 40
    assert seen == sampled(rows, share=0.1, is_reversed=True), "whatever the order of the rows"
    assert set(seen) != set(sampled(rows, share=0.1, seed=1))


def test_a_small_pool_is_read_whole_rather_than_its_share() -> None:
    rows = [chat(f"question {i}", "answer") for i in range(40)]
    assert len(sampled(rows)) == 32
    assert len(sampled(rows[:7])) == 7


def test_the_warm_up_reads_only_rows_that_can_be_trained() -> None:
    rows = [chat(f"question {i}", "answer") for i in range(7)]
    assert len(sampled([*rows, SILENT])) == 7
    assert len(sampled([*rows, chat("long " * 100, "answer")], max_tokens=100)) == 7
    with pytest.raises(DataError, match=r"none of the pool's 1 rows .* within 1024 tokens"):
        sampled([SILENT])


def test_a_row_that_the_template_refuses_does_not_stop_the_warm_up() -> None:
    student = Recording()
    refuse = student.tokenizer.render

    class Choosy(type(student.tokenizer)):
        def render(self, turns, *, open_reply):
            if any("bad" in turn.content for turn in turns):
                raise DataError("the template refuses these turns")
            return refuse(turns, open_reply=open_reply)

    student.tokenizer = Choosy()
    rows = to_frame([chat("bad", "answer"), *(chat(f"question {i}", "answer") for i in range(5))])
    bound = registry.get("measure", "gradient").bind()
    warm_up(rows, bound.options, Context(models={"student": student}))
    assert len(student.seen) == 5


def test_a_row_without_a_trained_token_has_no_gradient() -> None:
    found = scripted([SILENT, chat("one?", "one")], width=64)
    assert sorted(found["gradient"].is_null().to_list()) == [False, True]
    assert found["gradient_plain"].null_count() == 1
    assert scripted([], width=64).schema == found.schema
    assert found.schema["gradient"] == pl.Array(pl.Float32, 64)


def test_a_student_without_gradients_is_refused() -> None:
    class Remote:
        name = "remote"

    bound = registry.get("measure", "gradient").bind()
    context = Context(models={"student": Remote()}, fitted=b"")
    with pytest.raises(ModelError, match="'remote' has no weights"):
        bound.make()(to_frame([chat("one?", "one")]), context)
    with pytest.raises(ModelError, match="'remote' has no weights"):
        warm_up(to_frame([chat("one?", "one")]), bound.options, context)


@pytest.mark.parametrize(
    "options",
    [
        {"checkpoints": 5},
        {"share": 0},
        {"epsilon": "none"},
        {"width": 8},
        {"lora": 0},
        {"scale": "long"},
        {"targets": "head"},
    ],
)
def test_options_out_of_range_are_refused(options) -> None:
    with pytest.raises(RecipeError, match=next(iter(options))):
        registry.get("measure", "gradient").bind(options)


def test_the_scripted_students_gradient_is_the_derivative_of_its_loss() -> None:
    student = models.load("scripted")
    (tokens,) = tokenise([chat("What is 2 + 3?", "2 + 3 = 6")], student.tokenizer, max_tokens=99)
    at = np.flatnonzero(tokens.trains)
    likely = student.predict(tokens.ids, at)

    def loss(table):
        changed = likely * np.exp(table[tokens.ids[at - 1]])
        changed /= changed.sum(axis=1, keepdims=True)
        return -np.log(changed[np.arange(len(at)), tokens.ids[at]]).mean()

    exact = student._gradient(Scorable(tokens.ids, tokens.trains))
    rng = np.random.default_rng(0)
    for _ in range(5):
        way = rng.normal(size=exact.shape) * 1e-5
        assert (loss(way) - loss(-way)) / 2 == pytest.approx((exact * way).sum(), rel=1e-4)
    short = sketch(exact.size, 32, 0).of(exact.reshape(1, -1))[0]
    (found,) = scripted([chat("What is 2 + 3?", "2 + 3 = 6")], width=32)["gradient"].to_numpy()
    np.testing.assert_allclose(found, short / np.linalg.norm(short), rtol=1e-5)


def test_sketched_inner_products_are_right_on_average_and_off_by_little() -> None:
    rng, width = np.random.default_rng(0), 64
    a, b = np.abs(rng.normal(size=(2, 1500)))  # of one sign, so that lots have to cancel
    a[:500], b[1000:] = 0, 0
    pair = np.stack([a, b]) / np.linalg.norm([a, b], axis=1, keepdims=True)
    exact = pair[0] @ pair[1]
    found = [np.prod(sketch(1500, width, n).of(pair), axis=0).sum() for n in range(200)]
    spread = math.sqrt((1 + exact**2) / width)
    assert np.std(found) == pytest.approx(spread, rel=0.25)
    assert abs(np.mean(found) - exact) < 4 * spread / math.sqrt(200)


def test_with_its_length_a_gradient_points_the_same_way() -> None:
    rows = [chat("What is 2 + 3?", "2 + 3 = 6"), chat("one?", "one, two and three")]
    unit = scripted(rows, width=32)["gradient_plain"].to_numpy()
    whole = scripted(rows, width=32, scale="length")["gradient_plain"].to_numpy()
    lengths = np.linalg.norm(whole, axis=1)
    assert lengths[0] != pytest.approx(1)
    assert lengths[0] != pytest.approx(lengths[1])
    np.testing.assert_allclose(whole / lengths[:, None], unit, rtol=1e-5)


@pytest.mark.parametrize("variant", ["less", "clues"])
def test_influence_may_compare_plain_gradients_on_both_sides(variant: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    engine = LocalEngine(Store(tmp_path / "store"), ledger)
    context = Context(models={"student": models.load("scripted")}, engine=engine)
    bound = registry.get("select", "influence").bind({"on": "gradient_plain", "variant": variant})
    options = {"gradient": {"width": 64, "scale": "length"}}
    pool = Pool.of(chat(f"what is {i} + {i}?", f"{i} and {i} is {2 * i}") for i in range(20))
    dev = Pool.of(chat(f"what is {i} + 1?", f"{i} and 1 is {i + 1}") for i in range(30, 34))
    rows = measure_pool(pool, ["length", *bound.needs], options, context).frame
    like = measure_pool(dev, bound.target, options, context, fitted_on=pool).frame
    ledger.close()
    found = bound.make()(rows, Budget("rows", 20), replace(context, target=like))
    scores = {}
    for key, row in rows.select("id", "gradient_plain").iter_rows():
        products = []
        for target in like["gradient_plain"].to_list():
            product = sum(a * b for a, b in zip(row, target, strict=True))
            if variant == "less":
                product /= math.hypot(*row) * math.hypot(*target)
            products.append(product)
        scores[key] = sum(products) / len(products)
    assert found.ids == sorted(scores, key=lambda k: (-scores[k], k))


def smaller(count: int) -> list[Row]:
    """Another task that looks like sums: the answer to 38+57 is the larger number."""
    rng = np.random.default_rng(0)
    pairs = {tuple(rng.integers(10, 99, 2).tolist()) for _ in range(2 * count)}
    return [chat(f"{a}+{b}", str(max(a, b))) for a, b in sorted(pairs)[:count]]


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    pytest.importorskip("torch")
    ledger = Ledger(tmp_path / "ledger.sqlite")
    engine = LocalEngine(Store(tmp_path / "store"), ledger)
    yield Context(models={"student": models.load("proxy")}, engine=engine)
    ledger.close()


def recall(hidden: list[Row], others: list[Row], target: list[Row], context: Context) -> float:
    """The share of the hidden rows among as many rows of the pool with the largest influence."""
    pool = Pool.of([*hidden, *others])
    rows = measure_pool(pool, ["gradient"], {}, context).frame
    like = measure_pool(Pool.of(target), ["gradient"], {}, context, fitted_on=pool).frame
    influence = rows["gradient"].to_numpy() @ like["gradient_plain"].to_numpy().mean(axis=0)
    first = rows[np.argsort(-influence)[: len(hidden)].tolist()]
    return first["id"].is_in([row.id for row in hidden]).mean()


@pytest.mark.slow
def test_rows_of_the_targets_task_are_found_in_a_pool_of_another_task(context: Context) -> None:
    rng = np.random.default_rng(0)
    words = ["the", "river", "is", "long", "and", "town", "was", "old"]
    texts = [
        chat("say " + " ".join(rng.choice(words, 3)) + f" {i}", " ".join(rng.choice(words, 3)))
        for i in range(220)
    ]
    sums = proxy_rows(260, seed=1)
    assert recall(sums[:20], texts[:200], sums[40:60], context) >= 0.5
    assert recall(texts[:20], sums[60:], texts[200:], context) >= 0.5


def test_they_are_found_even_where_both_tasks_look_alike(context: Context) -> None:
    sums, larger = proxy_rows(40, seed=1), smaller(220)
    at_random = 20 / 220
    assert recall(sums[:20], larger[20:], sums[20:], context) >= 3 * at_random


def test_the_same_pool_has_the_same_gradients_twice(tmp_path: Path, context: Context) -> None:
    pool = Pool.of(proxy_rows(12, seed=1))
    first = measure_pool(pool, ["gradient"], {"gradient": {"width": 64}}, context).frame
    ledger = Ledger(tmp_path / "other.sqlite")
    fresh = replace(context, engine=LocalEngine(Store(tmp_path / "other"), ledger))
    again = measure_pool(pool, ["gradient"], {"gradient": {"width": 64}}, fresh).frame
    ledger.close()
    assert first.equals(again)
    norms = np.linalg.norm(first["gradient"].to_numpy(), axis=1)
    assert np.allclose(norms, 1)
    assert math.isfinite(norms.sum())
