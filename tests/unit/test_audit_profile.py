"""The profile: plain figures of a pool, checked by hand."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.audit.profile import profile
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Message, Row

DESCRIBE = profile()


def chat(*contents: str) -> Row:
    turns = [
        Message("assistant" if i % 2 else "user", content, trains=bool(i % 2))
        for i, content in enumerate(contents)
    ]
    return Row("chat", tuple(turns))


def figures(*rows: Row) -> dict[str, object]:
    found = DESCRIBE(Pool.of(rows), Context())
    assert found.rows.is_empty()
    return dict(found.figures)


ROWS = [
    chat("Write a short story about owls", "Once upon a time, an owl sat."),
    chat("write a short story: cats", "Once upon a time a cat sat"),
    chat("Write a short poem about owls", ""),
    chat("Hi", " \n"),
    chat("Hi", "Hello!"),
    chat("hi!", "🙂", "How are you?", "Fine."),
    Row("answer", (Message("system", "Count well."), Message("user", "1 + 1 =")), answer="2"),
    Row("preference", (Message("user", "Hi"),), chosen="good day", rejected="what"),
]


def test_rows_kinds_turns_and_empty_replies_are_counted() -> None:
    seen = figures(*ROWS)
    assert seen["rows"] == 8
    assert seen["kinds"] == {"answer": 1, "chat": 6, "preference": 1}
    assert seen["turns"] == {"2": 6, "3": 1, "4": 1}
    assert seen["empty_reply_share"] == 2 / 8


def test_lengths_are_in_words_without_system_turns() -> None:
    # Prompts: 6, 5, 6, 1, 1, 4 (with the turn "🙂", which has no words), 2 and 1 words.
    assert figures(*ROWS)["prompt_words"] == {
        "mean": 26 / 8,
        "quantiles": {
            "0": 1.0,
            "0.05": 1.0,
            "0.25": 1.0,
            "0.5": 3.0,
            "0.75": 5.25,
            "0.95": 6.0,
            "1": 6.0,
        },
        "edges": [0, 1, 2, 4, 8],
        "counts": [0, 3, 1, 4],
    }


def test_common_openings_and_prompts_are_shown_with_their_share() -> None:
    seen = figures(*ROWS)
    assert seen["prompt_openings"] == [
        {"text": "write a short story", "rows": 2, "share": 2 / 8},
        *(
            {"text": text, "rows": 1, "share": 1 / 8}
            for _, text in sorted(
                [(ROWS[2].id, "write a short poem"), (ROWS[5].id, "hi how are you")]
            )
        ),
    ]
    assert seen["reply_openings"] == [{"text": "once upon a time", "rows": 2, "share": 2 / 8}]
    prompts = seen["frequent_prompts"]
    assert isinstance(prompts, list)
    assert len(prompts) == 1
    assert (prompts[0]["text"], prompts[0]["rows"]) == ("Hi", 3)


def test_at_most_ten_openings_are_shown_and_long_prompts_are_cut() -> None:
    rows = [chat(f"opening number {i} {'long ' * 99}", str(k)) for i in range(15) for k in (1, 2)]
    seen = figures(*rows)
    for name in ("prompt_openings", "frequent_prompts"):
        shown = seen[name]
        assert isinstance(shown, list)
        assert len(shown) == 10
        assert all(len(one["text"]) <= 120 for one in shown)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [chat("", "")],
        [chat("a\x00\u202e", "e" + "\u0301\u0327" * 50_000), chat("w" * 10**6, "a b " * 10**5)],
        [Row("chat", ())],
    ],
)
def test_any_pool_gives_figures_that_json_can_hold(rows: list[Row]) -> None:
    seen = figures(*rows)
    assert seen["rows"] == len(rows)
    assert json.loads(json.dumps(seen, allow_nan=False)) == seen


some_texts = st.lists(st.sampled_from(["a", "b", "?"]), max_size=6).map(" ".join)


@given(st.lists(st.builds(chat, some_texts, some_texts), max_size=10), st.randoms())
def test_the_order_of_rows_changes_nothing(rows: list[Row], random: Random) -> None:
    seen = figures(*rows)
    random.shuffle(rows)
    assert figures(*rows) == seen
