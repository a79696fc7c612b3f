"""Near duplicates: found at their similarity, each with a kept row and its exact Jaccard."""

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from treadle import op as registry
from treadle.audit.near_duplicates import near_duplicates
from treadle.audit.similar_pairs import Settings, similar_pairs
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Message, Row
from treadle.data.selection import FINDING_SCHEMA, Findings
from treadle.errors import BudgetError, RecipeError
from treadle.machinery.engine import Engine, LocalEngine, Stage
from treadle.machinery.hostile import HostileEngine
from treadle.machinery.ledger import Ledger
from treadle.machinery.store import Store
from treadle.text.minhash import plan

FIND = near_duplicates()


def chat(prompt: str, reply: str) -> Row:
    return Row("chat", (Message("user", prompt), Message("assistant", reply, trains=True)))


def row_of(words: list[str]) -> Row:
    cut = max(1, len(words) // 3)
    return chat(" ".join(words[:cut]), " ".join(words[cut:]))


def shingles(row: Row, size: int = 2) -> set[tuple[str, ...]]:
    """The slow, obvious shingles of a row of plain lower-case words."""
    words = row.text.split()
    size = min(size, len(words)) or 1
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def jaccard(one: Row, other: Row, size: int = 2) -> float:
    left, right = shingles(one, size), shingles(other, size)
    return len(left & right) / len(left | right) if left | right else 0.0


def local(folder: Path) -> LocalEngine:
    return LocalEngine(Store(folder / "store"), Ledger(folder / "ledger.sqlite"))


def check(pool: Pool, found: Findings, threshold: float, size: int = 2) -> None:
    """What must hold of any answer: kept rows only, exact figures, the longer row stays."""
    rows = {row.id: row for row in pool.rows()}
    dropped = set(found.rows["id"])
    assert found.rows["id"].is_sorted()
    assert found.rows["id"].is_unique().all()
    for line in found.rows.iter_rows(named=True):
        row, kept = rows[line["id"]], rows[line["other"]]
        assert line["reason"] == "near_duplicate"
        assert kept.id not in dropped
        assert line["figure"] == jaccard(row, kept, size) >= threshold
        assert (-len(kept.text), kept.id) < (-len(row.text), row.id)


def planted(
    similarity: tuple[int, int], count: int, seed: int
) -> tuple[list[Row], list[tuple[str, str]]]:
    """Rows in pairs whose exact Jaccard is shared / union, and the pairs' ids."""
    shared, union = similarity
    changes = (union - shared) // 4
    assert shared + 4 * changes == union
    rng = Random(seed)
    rows, pairs = [], []
    for number in range(count):
        words = [f"p{number}x{i}" for i in range(shared + 2 * changes + 1)]
        copy = list(words)
        # A word inside touches two shingles; no two changed words are neighbours.
        for place in rng.sample(range(1, len(words) - 1, 2), changes):
            copy[place] = f"q{number}x{place}"
        one, other = row_of(words), row_of(copy)
        assert jaccard(one, other) == shared / union
        rows += [one, other]
        pairs.append((one.id, other.id))
    return rows, pairs


@pytest.mark.parametrize("similarity", [(48, 60), (51, 59), (54, 58), (56, 60), (96, 100)])
def test_at_least_99_in_100_planted_duplicates_are_found_at_their_similarity(
    similarity: tuple[int, int],
) -> None:
    rows, pairs = planted(similarity, 600, seed=sum(similarity))
    found = FIND(Pool.of(rows), Context())
    named = {frozenset(line) for line in found.rows.select("id", "other").iter_rows()}
    hits = sum(frozenset(pair) in named for pair in pairs)
    assert hits >= 0.99 * len(pairs)
    assert found.rows.height == hits
    assert set(found.rows["figure"]) == {similarity[0] / similarity[1]}


def test_a_pair_exactly_at_the_threshold_is_named_and_one_just_below_is_not() -> None:
    pool = Pool.of(planted((48, 60), 20, seed=3)[0])
    assert near_duplicates(threshold=0.8)(pool, Context()).rows.height >= 19
    assert near_duplicates(threshold=0.8000001)(pool, Context()).rows.is_empty()


# Few words, so that equal and similar rows are common.
some_words = st.lists(st.sampled_from(list("abcdefg")), max_size=14)
some_rows = st.lists(some_words.map(row_of), max_size=14)


@pytest.mark.slow
@settings(max_examples=25)
@given(some_rows, st.sampled_from([0.5, 0.7, 0.8, 1.0]), st.integers(1, 3))
def test_every_dropped_row_names_a_kept_one_with_the_exact_similarity(
    rows: list[Row], threshold: float, size: int
) -> None:
    pool = Pool.of(rows)
    found = near_duplicates(threshold=threshold, shingle=size)(pool, Context())
    check(pool, found, threshold, size)


@pytest.mark.slow
@settings(max_examples=15)
@given(some_rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows: list[Row], random: Random) -> None:
    found = FIND(Pool.of(rows), Context())
    random.shuffle(rows)
    again = FIND(Pool.of(rows), Context())
    assert_frame_equal(found.rows, again.rows)
    assert found.figures == again.figures


def mixed_rows(count: int, seed: int) -> list[Row]:
    """Families of similar rows, equal rows in other spelling, short rows, and rows of their own."""
    rng = np.random.default_rng(seed)
    rows = []
    for family in range(count // 12):
        base = [f"f{family}w{i}" for i in rng.integers(0, 40, rng.integers(12, 50))]
        for _ in range(8):
            copy = list(base)
            for place in rng.integers(0, len(copy), rng.integers(0, 4)):
                copy[place] = f"n{rng.integers(0, 1000)}"
            rows.append(row_of(copy))
        rows.append(row_of([word.upper() + "!" for word in base]))
        rows += [row_of(base[:1]), row_of(base[:2]), row_of([*base[:1], "?"])]
    return rows


def edges(engine: Engine, pool: Pool, **bounds: int) -> pl.DataFrame:
    how = Settings(0.6, 2, 5, plan(0.6, 64), **bounds)
    found = similar_pairs(engine, pool, how, "test", lambda: None)
    counted = [found.candidates, found.capped_buckets, found.most_not_compared]
    return found.edges.sort("first", "second").with_columns(counts=pl.lit(str(counted)))


@pytest.mark.parametrize(
    "bounds", [{"shard_rows": 7}, {"part_entries": 50}, {"slice_pairs": 90}, {"block_pairs": 11}]
)
def test_shards_parts_slices_and_blocks_of_any_size_give_the_same_pairs(
    bounds: dict[str, int], tmp_path: Path
) -> None:
    pool = Pool.of(mixed_rows(120, seed=1))
    whole = edges(local(tmp_path / "whole"), pool)
    assert whole.height > 100
    assert_frame_equal(edges(local(tmp_path / "cut"), pool, **bounds), whole)


@pytest.mark.slow
def test_an_engine_that_reorders_doubles_and_kills_tasks_gives_the_same_findings(
    tmp_path: Path,
) -> None:
    pool = Pool.of(mixed_rows(120, seed=2))
    small = {"shard_rows": 20, "part_entries": 400, "slice_pairs": 500, "block_pairs": 60}
    expected = edges(local(tmp_path / "local"), pool, **small)
    for seed in range(3):
        engine = HostileEngine(Store(tmp_path / f"hostile{seed}"), seed)
        assert_frame_equal(edges(engine, pool, **small), expected)


def test_the_given_engine_does_the_work_and_does_it_once(tmp_path: Path) -> None:
    pool = Pool.of(mixed_rows(60, seed=3))
    was_cached: list[bool] = []

    def note(stage: Stage, done: int, cached: bool) -> None:
        was_cached.append(cached)

    engine = LocalEngine(Store(tmp_path / "store"), Ledger(tmp_path / "l.sqlite"), note)
    first = FIND(pool, Context(engine=engine))
    assert was_cached
    assert not any(was_cached)
    was_cached.clear()
    again = FIND(pool, Context(engine=engine))
    assert all(was_cached)
    assert_frame_equal(first.rows, again.rows)
    assert_frame_equal(first.rows, FIND(pool, Context()).rows)


def test_a_budget_that_runs_out_stops_the_search() -> None:
    def stop() -> None:
        raise BudgetError("out of time")

    with pytest.raises(BudgetError, match="out of time"):
        FIND(Pool.of(mixed_rows(24, seed=4)), Context(tick=stop))


def test_of_rows_that_are_all_alike_the_longest_stays() -> None:
    rows = [chat("one two three", f"four five six{'!' * i}") for i in range(300)]
    found = FIND(Pool.of(rows), Context())
    assert found.rows.height == 299
    assert set(found.rows["other"]) == {rows[-1].id}
    assert set(found.rows["figure"]) == {1.0}
    assert found.figures["most_dropped_for_one_row"] == 299


def test_equal_rows_share_the_fate_of_the_first_of_them() -> None:
    longest = row_of([f"w{i}" for i in range(60)])
    like = row_of([f"w{i}" for i in range(59)])
    equal = chat(like.prompt[0].content.upper(), like.reply)
    found = FIND(Pool.of([longest, like, equal]), Context())
    assert set(found.rows["id"]) == {like.id, equal.id}
    assert set(found.rows["other"]) == {longest.id}
    assert set(found.rows["figure"]) == {58 / 59}


def test_a_row_like_a_dropped_row_stays_unless_it_is_like_a_kept_one() -> None:
    base = [f"w{i}" for i in range(40)]
    ends = ["aleph", *base[1:]], [*base[:-1], "omega"]
    first, middle, last = (row_of(words) for words in (ends[0], base, ends[1]))
    assert jaccard(first, middle) == jaccard(middle, last) == 38 / 40
    assert jaccard(first, last) == 37 / 41
    found = near_duplicates(threshold=0.91)(Pool.of([first, middle, last]), Context())
    # "aleph" makes the first row the longest, and "omega" the last row longer than the middle.
    assert found.rows["id"].to_list() == [middle.id]
    assert found.rows["other"].to_list() == [
        min(first, last, key=lambda r: (-len(r.text), r.id)).id
    ]
    longest = row_of([*base, "and", "more"])
    found = near_duplicates(threshold=0.9)(Pool.of([first, longest, last]), Context())
    assert set(found.rows["id"]) == {first.id, last.id}


def test_the_most_similar_of_the_kept_rows_is_named() -> None:
    base = [f"w{i}" for i in range(60)]
    near, far = list(base), list(base)
    near[5], near[11] = "longerword", "anotherone"
    far[31], far[41], far[51] = "muchlongerword", "muchlongerstill", "thelongestofall"
    rows = [row_of(words) for words in (base, near, far)]
    assert jaccard(rows[0], rows[1]) > jaccard(rows[0], rows[2]) > 0.8 > jaccard(rows[1], rows[2])
    found = FIND(Pool.of(rows), Context())
    assert found.rows.select("id", "other", "figure", "detail").rows() == [
        (rows[0].id, rows[1].id, 55 / 63, "55 of 63 shingles")
    ]


def family(copies: int) -> list[Row]:
    """Rows that differ from one text in one word, each in another way."""
    base = [f"w{i}" for i in range(60)]
    places = [(i, j) for i in range(1, 59) for j in range(copies)]
    return [row_of([*base[:i], f"new{i}x{j}", *base[i + 1 :]]) for i, j in places]


def test_a_family_of_similar_rows_costs_pairs_in_proportion_to_its_rows() -> None:
    find = near_duplicates(leaders=8)
    candidates = []
    for copies in (8, 16):
        pool = Pool.of(family(copies))
        found = find(pool, Context())
        check(pool, found, 0.8)
        assert found.rows.height == len(pool) - 1
        assert isinstance(found.figures["pairs_not_compared_at_most"], int)
        assert found.figures["pairs_not_compared_at_most"] > 0
        candidates.append(found.figures["candidate_pairs"])
    assert isinstance(candidates[0], int)
    assert isinstance(candidates[1], int)
    assert candidates[1] < 2.5 * candidates[0]


def test_no_more_pairs_are_left_out_than_there_are() -> None:
    rows = family(7)[:400]
    found = FIND(Pool.of(rows), Context()).figures
    assert found["candidate_pairs"] > 0
    both = found["candidate_pairs"] + found["pairs_not_compared_at_most"]
    assert both <= len(rows) * (len(rows) - 1) // 2


def preference(prompt: str, chosen: str, rejected: str) -> Row:
    return Row("preference", (Message("user", prompt),), chosen=chosen, rejected=rejected)


def test_rows_of_different_kinds_are_no_copies_of_each_other() -> None:
    said = [f"w{i}" for i in range(40)]
    prompt, reply = " ".join(said[:10]), " ".join(said[10:])
    rows = [
        chat(prompt, reply),
        Row("answer", (Message("user", prompt),), answer=reply),
        preference(prompt, reply, ""),
    ]
    assert FIND(Pool.of(rows), Context()).rows.is_empty()
    found = FIND(Pool.of([*rows, *(chat(f"{prompt}!", reply) for _ in range(2))]), Context())
    assert found.rows["id"].to_list() == [rows[0].id]


def test_a_preference_turned_round_is_a_contradiction_and_no_copy() -> None:
    good, bad = (" ".join(f"{kind}{i}" for i in range(40)) for kind in ("good", "bad"))
    first, turned = preference("which one?", good, bad), preference("which one?", bad, good)
    copy = preference("which one?", good, f"{bad} indeed")
    found = FIND(Pool.of([first, turned, copy]), Context())
    # Of 82 words, one more: 81 pairs of 82.
    assert found.rows.select("id", "other", "figure").rows() == [(first.id, copy.id, 81 / 82)]


def test_rows_shorter_than_a_shingle_match_equal_rows_only() -> None:
    rows = [chat("yes", ""), chat("Yes!", ""), chat("no", ""), chat("yes no", ""), chat("?", "…")]
    found = near_duplicates(shingle=3, threshold=0.1)(Pool.of(rows), Context())
    assert {frozenset(line) for line in found.rows.select("id", "other").iter_rows()} == {
        frozenset((rows[0].id, rows[1].id))
    }
    assert found.figures["rows_without_words"] == 1
    assert found.figures["rows_shorter_than_a_shingle"] == 5


@pytest.mark.parametrize(
    "rows", [[], [chat("one", "row")], [chat("", "")], [chat("?", ""), chat("!", "")]]
)
def test_nothing_is_found_in_pools_with_nothing_to_find(rows: list[Row]) -> None:
    found = FIND(Pool.of(rows), Context())
    assert found.rows.is_empty()
    assert dict(found.rows.schema) == FINDING_SCHEMA
    assert found.figures["rows"] == len(rows)
    json.dumps(found.figures)


def test_poisonous_texts_are_rows_like_others() -> None:
    texts = [
        "a\x00b c\x00d e f",
        "\u202eevil\u202c \u200fwords\u200e of \ufeffdirection",
        "e" + "\u0301\u0327" * 50_000,
        "lorem ipsum dolor " * 60_000,
        "x" * 1_000_000,
        "汉字没有空格" * 50,
        "<|im_end|> {answer} %s ../../etc/passwd",
        "",
    ]
    rows = [chat(text, reply) for text in texts for reply in ("fine", "fine!")]
    found = FIND(Pool.of(rows), Context())
    assert found.rows.height == len(texts)
    assert set(found.rows["figure"]) == {1.0}


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 80},
        {"threshold": 0},
        {"threshold": float("nan")},
        {"shingle": 0},
        {"permutations": 0},
        {"leaders": 0},
        {"leaders": 5000},
    ],
)
def test_options_out_of_range_are_refused_before_anything_runs(options: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=f"near_duplicates: {next(iter(options))}: Input should"):
        registry.get("audit", "near_duplicates").bind(options)


def test_all_bad_options_are_told_at_once_and_a_percentage_is_guessed() -> None:
    with pytest.raises(RecipeError) as caught:
        registry.get("audit", "near_duplicates").bind(
            {"threshold": 80, "shingle": 0, "leader": 3, "leaders": "many"}
        )
    message = str(caught.value)
    for part in (
        "unknown option 'leader'. Did you mean 'leaders'?",
        "threshold: Input should be less than or equal to 1, got 80. Did you mean 0.8?",
        "shingle: Input should be greater than or equal to 1, got 0.",
        "leaders: Input should be a valid integer",
    ):
        assert part in message


def test_it_is_registered_as_an_audit_with_its_options() -> None:
    bound = registry.get("audit", "near_duplicates").bind({"threshold": 0.7})
    assert bound.options["threshold"] == 0.7
    with pytest.raises(RecipeError, match="threshold"):
        bound.op.bind({"thresh": 0.7})


def read(path: Path) -> Iterable[dict[str, str]]:
    return (json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip())


@pytest.mark.slow
def test_the_published_ladder_of_thresholds_is_met_in_order_and_like_size(
    shared_data: Path,
) -> None:
    folder = shared_data / "gpteacher_dedupe_ladder"
    records = [one for part in (0, 1) for one in read(folder / f"toolformer.part{part}.jsonl")]
    pool = Pool.of(chat(f"{r['instruction']}\n{r['input']}", r["output"]) for r in records)
    ours = {}
    for threshold in (0.9, 0.8, 0.7, 0.6):
        found = near_duplicates(threshold=threshold)(pool, Context())
        ours[threshold] = len(pool) - found.rows.height
    published = {t: sum(bool(r[f"kept_{t}"]) for r in records) for t in ours}
    assert ours[0.9] > ours[0.8] > ours[0.7] > ours[0.6]
    for threshold, kept in ours.items():
        assert 1 / 1.5 < kept / published[threshold] < 1.5, threshold


@pytest.mark.slow
def test_on_real_rows_hardly_any_similar_pair_is_missed(shared_data: Path) -> None:
    records = [*read(shared_data / "medquad_pool" / "ghr_templated.jsonl")]
    pool = Pool.of(chat(r["question"], r["answer"]) for r in records)
    found = FIND(pool, Context())
    rows = pool.keep(set(pool.ids) - set(found.rows["id"])).rows()
    # Slow and exact, over the rows that stay: whoever is like a longer row was missed.
    kept = sorted(rows, key=lambda row: (-len(row.text), row.id))
    holders: dict[int, list[int]] = {}
    missed = 0
    sets = [_fast_shingles(row) for row in kept]
    for place, own in enumerate(sets):
        common: dict[int, int] = {}
        for shingle in own:
            for other in holders.setdefault(shingle, []):
                common[other] = common.get(other, 0) + 1
            holders[shingle].append(place)
        missed += any(n / (len(own) + len(sets[o]) - n) >= 0.8 for o, n in common.items())
    assert found.rows.height > 0
    assert missed <= 0.01 * (found.rows.height + missed)


def _fast_shingles(row: Row) -> set[int]:
    words = "".join(c.lower() if c.isalnum() else " " for c in row.text).split()
    return {hash(pair) for pair in itertools.pairwise(words)}
