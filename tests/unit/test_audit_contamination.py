"""Contamination: a table of planted items whose hits follow from the definition."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from treadle import op
from treadle.audit.contamination import contamination
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Message, Row
from treadle.data.sealed_index import SealedIndex, row_hashes
from treadle.data.selection import FINDING_SCHEMA, Findings
from treadle.errors import RecipeError

EXACT, NGRAM = "contaminated_exact", "contaminated_ngram"
WORDS = [f"word{i}" for i in range(20)]
LONG_ANSWER = "it takes eight telling words to matter here"


def chat(prompt: str, reply: str) -> Row:
    return Row("chat", (Message("user", prompt), Message("assistant", reply, trains=True)))


# 20 words and an answer of 4: 24 words, 12 13-grams. 3 and 8 words: 11 words, no 13-gram.
ITEMS = [chat(" ".join(WORDS), "so it is blue"), chat("Why so blue?", LONG_ANSWER)]
SEALED = SealedIndex.build({"held": Pool.of(ITEMS)})
NUMBER = {row.id: f"held:{i}" for i, row in enumerate(Pool.of(ITEMS).rows())}
FIRST, SECOND = (NUMBER[row.id] for row in ITEMS)
N = 13


def find(rows: Iterable[Row], **options: float) -> Findings:
    return contamination(**options)(Pool.of(rows), Context(sealed=SEALED))


def rephrased(every: int) -> str:
    return " ".join("other" if i % every == every - 1 else word for i, word in enumerate(WORDS))


@pytest.mark.parametrize(
    ("row", "reason", "item", "share"),
    [
        (ITEMS[0], EXACT, FIRST, 1.0),
        (chat(ITEMS[0].prompt[0].content, "another reply"), EXACT, FIRST, 1.0),
        (chat(" ".join(WORDS).upper(), ""), EXACT, FIRST, 1.0),
        (chat("\n".join(WORDS) + " ?!", "x"), EXACT, FIRST, 1.0),
        (chat("\u200b".join(" ".join(WORDS)), "x"), EXACT, FIRST, 1.0),
        (chat("Say it.", ", ".join(WORDS)), EXACT, FIRST, 1.0),
        (chat("word0 word1", "x"), None, None, None),
        (chat(" ".join(WORDS[: N - 1]), "x"), None, None, None),
        (chat(" ".join(WORDS[:N]), "x"), NGRAM, FIRST, 1 / 12),
        (chat(" ".join(WORDS[: N + 1]), "x"), NGRAM, FIRST, 2 / 12),
        (chat(" ".join(WORDS[:N]).upper() + "!", "x"), NGRAM, FIRST, 1 / 12),
        (chat("x", f"as told: {'; '.join(WORDS[3 : N + 3])}, and so on"), NGRAM, FIRST, 1 / 12),
        (chat(" ".join(WORDS[:6]), " ".join(WORDS[6:N])), NGRAM, FIRST, 1 / 12),
        (chat(" ".join([*WORDS[:N], "x", *WORDS[:N]]), "x"), NGRAM, FIRST, 1 / 12),
        (chat(" ".join(WORDS[1:]), "x"), NGRAM, FIRST, 7 / 12),
        (chat(" ".join(WORDS[::-1]), "x"), None, None, None),
        (chat(rephrased(every=13), "x"), None, None, None),
        (chat(rephrased(every=14), "x"), NGRAM, FIRST, 1 / 12),
        (chat("anything", "so it is blue"), None, None, None),
        (chat("anything", LONG_ANSWER.title()), EXACT, SECOND, 1.0),
        (chat(LONG_ANSWER, "is what it says"), EXACT, SECOND, 1.0),
        (chat(" why so\nBLUE?", "no idea"), EXACT, SECOND, 1.0),
        (chat("Why so, blue", "no idea"), None, None, None),
        (chat("Tell me: why so blue?", "no idea"), None, None, None),
        (chat("anything", "why so blue"), None, None, None),
        (chat("x", f"{LONG_ANSWER} and more"), None, None, None),
    ],
)
def test_a_planted_item_is_hit_as_defined(
    row: Row, reason: str | None, item: str | None, share: float | None
) -> None:
    clean = chat("a row about nothing in particular", "with a reply of the same kind")
    found = find([row, clean]).rows
    if reason is None:
        assert found.is_empty()
        return
    assert found.select("id", "reason", "other", "figure").rows() == [(row.id, reason, item, share)]


@pytest.mark.parametrize(
    ("item", "clean", "caught"),
    [
        (
            chat("What is 12 + 4?", "16"),
            [chat("What is 12 - 4?", "8"), chat("What is 12 * 4?", "48")],
            [chat("what is  12 + 4?", "It is 16."), chat("What is 12+4", "16.")],
        ),
        (
            chat("Hi", "Hello! How can I help?"),
            [chat("hi!", "Good morning."), chat("Hi?", "Yes?")],
            [chat("HI", "Good morning."), chat("hi!", "Hello, how can I help")],
        ),
    ],
)
def test_a_short_prompt_needs_its_signs_or_its_reply_to_agree(
    item: Row, clean: list[Row], caught: list[Row]
) -> None:
    context = Context(sealed=SealedIndex.build({"held": Pool.of([item])}))
    found = contamination()(Pool.of([*clean, *caught]), context).rows
    assert set(found["id"]) == {row.id for row in caught}


def with_document(number: int, reply: str, request: str = "Summarise the text.") -> Row:
    document = " ".join(f"d{number}w{i}" for i in range(5))
    turns = (Message("system", document), Message("user", request))
    return Row("chat", (*turns, Message("assistant", reply, trains=True)))


def test_a_request_or_reply_that_many_items_share_is_no_contamination() -> None:
    refusal = "I am sorry but I cannot help you with that request"
    items = [with_document(i, f"about {i}") for i in range(11)]
    items += [with_document(i, refusal, f"question {i}") for i in range(11)]
    context = Context(sealed=SealedIndex.build({"held": Pool.of(items)}))
    clean = [with_document(100, "mine"), chat("Summarise the text.", "x"), chat("Why?", refusal)]
    pool = Pool.of([*clean, items[0], items[-1], chat("Question 3", "x")])
    found = contamination()(pool, context).rows
    assert set(found["id"]) == set(pool.ids) - {row.id for row in clean}
    assert contamination(template_items=11)(pool, context).rows.height == len(pool)


def test_many_rows_that_equal_many_items_cost_memory_in_proportion_to_both() -> None:
    signs = ["".join(pair) for pair in itertools.product("+-*/<>=!?,.;:&%$", repeat=3)][:3_000]
    pool = Pool.of(chat(f"just {sign} the same ten words in each of these", "x") for sign in signs)
    index = SealedIndex.build({"held": pool, "other": pool})
    hits = index.without_templates(10).exact_hits(row_hashes(pool.rows()))
    assert hits.height <= 4 * len(pool)
    assert hits.filter(set="held")["row"].n_unique() == len(pool)
    assert hits.filter(set="other")["row"].n_unique() == len(pool)
    assert hits.filter(set="other")["item"].n_unique() == len(pool)
    found = contamination()(pool, Context(sealed=index))
    assert set(found.rows["other"]) == {"held:0"}


def test_a_row_is_named_once_for_its_strongest_hit() -> None:
    items = [chat(" ".join(f"{kind}{i}" for i in range(30)), "") for kind in "abc"]
    sealed = SealedIndex.build({"one": Pool.of(items), "two": Pool.of(items[:1])})
    pieces = items[0].text.split()[:13] + items[1].text.split()[:20] + items[2].text.split()[:15]
    row = chat(" ".join(pieces), "x")
    found = contamination()(Pool.of([row]), Context(sealed=sealed))
    strongest = Pool.of(items).ids.index(items[1].id)
    assert found.rows.rows() == [
        (row.id, NGRAM, f"one:{strongest}", 8 / 18, "13-grams in common: 8; items hit: 4")
    ]
    sets = found.figures["sets"]
    assert isinstance(sets, dict)
    assert (sets["one"]["items_hit"], sets["two"]["items_hit"]) == (3, 1)


def test_a_least_share_lets_quotations_pass() -> None:
    row = chat(" ".join(WORDS[:15]), "x")
    assert find([row], min_share=3 / 12).rows.height == 1
    assert find([row], min_share=0.26).rows.is_empty()
    assert find([chat(" ".join(WORDS), "x")], min_share=1.0).rows["reason"].to_list() == [EXACT]


def test_the_template_of_a_set_is_no_contamination() -> None:
    template = "choose the one letter that stands before the right answer and write nothing else"
    items = Pool.of(chat(f"{template} question{i}", "") for i in range(11))
    context = Context(sealed=SealedIndex.build({"quiz": items}))
    pool = Pool.of([chat(f"{template} mine", "x"), chat(f"{template} question3", "x")])
    found = contamination()(pool, context)
    assert found.rows["reason"].to_list() == [EXACT]
    assert contamination(template_items=11)(pool, context).rows.height == 2


def test_the_report_can_tell_how_many_items_ngrams_cannot_see() -> None:
    found = find([ITEMS[0]])
    assert found.figures["items"] == 2
    assert found.figures["short_items"] == 1
    assert found.figures["short_share"] == 0.5
    assert found.figures[EXACT] == 1
    assert found.figures[NGRAM] == 0
    json.dumps(found.figures)


@pytest.mark.parametrize("sealed", [None, SealedIndex.build({})])
def test_without_evaluation_sets_it_says_so(sealed: SealedIndex | None) -> None:
    found = contamination()(Pool.of(ITEMS), Context(sealed=sealed))
    assert found.rows.is_empty()
    assert dict(found.rows.schema) == FINDING_SCHEMA
    assert found.figures == {"rows": 2, "note": "no evaluation sets"}


def test_an_index_of_another_n_is_refused() -> None:
    with pytest.raises(RecipeError, match="indexed by 13-grams, and ngram is 8"):
        find(ITEMS, ngram=8)


@pytest.mark.parametrize("options", [{"ngram": 0}, {"min_share": 7}, {"template_items": 0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=f"{next(iter(options))}: Input should be"):
        op.get("audit", "contamination").bind(options)


def test_an_empty_pool_and_poisonous_texts_are_no_trouble() -> None:
    assert find([]).rows.is_empty()
    poison = [
        "",
        "\x00",
        "\u202e\u200b",
        "e" + "\u0301\u0327" * 50_000,
        "w" * 10**6,
        "a b " * 10**5,
    ]
    rows = [row for text in poison for row in (chat(text, "ok"), chat("well", text))]
    assert find(rows).rows.is_empty()


some_texts = st.lists(st.sampled_from([*WORDS[:3], "x"]), max_size=20).map(" ".join)


@given(st.lists(st.builds(chat, some_texts, some_texts), max_size=8), st.randoms())
def test_the_order_of_rows_changes_nothing(rows: list[Row], random: Random) -> None:
    sealed = SealedIndex.build({"set": Pool.of(rows[:3])}, ngram=3)
    check = contamination(ngram=3)
    found = check(Pool.of(rows), Context(sealed=sealed))
    random.shuffle(rows)
    again = check(Pool.of(rows), Context(sealed=sealed))
    assert_frame_equal(found.rows, again.rows)
    assert found.figures == again.figures


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]


def plain(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


@pytest.mark.slow
def test_all_overlaps_of_real_sets_are_found_and_nothing_equal_is_missed(shared_data: Path) -> None:
    def asked(one: dict[str, str]) -> str:
        return f"{one['instruction']}\n{one['input']}".strip()

    parts = [read(shared_data / "alpaca_pool" / f"pool.part{i}.jsonl") for i in (0, 1)]
    alpaca = [chat(asked(one), one["output"]) for part in parts for one in part]
    halueval = [
        chat(one["user_query"], one["chatgpt_response"])
        for one in read(shared_data / "halueval_general" / "rows.jsonl")
    ]
    refined = [
        chat(asked(one), one["after"])
        for one in read(shared_data / "alpaca_refined_pairs" / "pairs.jsonl")
    ]
    for name, items, overlap in (("halueval", halueval, 832), ("refined", refined, 189)):
        prompts = {plain(item.prompt[0].content) for item in items}
        shared = {row.id for row in alpaca if plain(row.prompt[0].content) in prompts}
        assert len(shared) == overlap, "the overlap that the data's README states"
        sealed = SealedIndex.build({name: Pool.of(items)})
        found = contamination()(Pool.of(alpaca), Context(sealed=sealed)).rows
        exact = set(found.filter(reason=EXACT)["id"])
        assert shared <= exact
        assert exact == _equal(alpaca, items)
        telling = found.filter(reason=NGRAM)
        grams = {gram for item in items for gram in _grams(item)}
        for key in telling["id"]:
            row = next(row for row in alpaca if row.id == key)
            assert _grams(row) & grams
        others = [row for row in alpaca if row.id not in set(found["id"])]
        assert not any(_grams(row) & grams for row in others)


def _equal(rows: list[Row], items: list[Row]) -> set[str]:
    """Rows of one turn each that equal an item in whole, or in a part that few items share."""
    shared = Counter(part for item in items for part in _parts(item))
    telling = {part for part, count in shared.items() if count <= 10}
    telling |= {plain(item.text) for item in items}
    return {row.id for row in rows if telling & {plain(row.text), *_parts(row)} - {""}}


def _parts(row: Row) -> set[str]:
    asked, said = row.prompt[0].content, row.reply
    few = len(plain(asked).split()) < 8
    return {
        f"as written: {' '.join(asked.casefold().split())}" if few else plain(asked),
        plain(said) if len(plain(said).split()) >= 8 else "",
        plain(f"{asked} {said}") if plain(asked) and plain(said) else "",
    }


def _grams(row: Row) -> set[tuple[str, ...]]:
    words = plain(row.text).split()
    return {tuple(words[i : i + 13]) for i in range(len(words) - 12)}
