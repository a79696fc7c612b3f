"""Every layout is recognised, converted, or refused with a reason."""

import json

import pytest

from treadle.data.formats.layouts import check_options, convert, recognise
from treadle.data.formats.turns import MalformedError
from treadle.data.row import Message, Row
from treadle.errors import RecipeError

USER, REPLY = Message("user", "2+2?"), Message("assistant", "4", trains=True)
ASK = {"role": "user", "content": "2+2?"}
SAY = {"role": "assistant", "content": "4"}
CHAT = Row("chat", (USER, REPLY))
PREFERENCE = Row("preference", (USER,), chosen="4", rejected="5")
ANSWER = Row("answer", (USER,), answer="4")
BAD = {"role": "assistant", "content": "5"}

KNOWN = [
    ("openai", {"messages": [ASK, SAY]}, CHAT),
    ("openai", {"messages": [ASK, SAY], "prompt": "2+2?"}, CHAT),
    ("openai", {"messages": [{"from": "human", "value": "2+2?"}, SAY]}, CHAT),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]},
        CHAT,
    ),
    ("alpaca", {"instruction": "2+2?", "output": "4"}, CHAT),
    ("alpaca", {"instruction": "2+2?", "input": "", "response": "4"}, CHAT),
    ("prompt_completion", {"prompt": "2+2?", "completion": "4"}, CHAT),
    ("prompt_completion", {"prompt": [ASK], "completion": [SAY]}, CHAT),
    ("prompt_completion", {"prompt": "2+2?", "response": "4"}, CHAT),
    ("prompt_completion", {"question": "2+2?", "answer": "4"}, CHAT),
    ("prompt_completion", {"query": "2+2?", "response": "4"}, CHAT),
    ("preference", {"prompt": "2+2?", "chosen": "4", "rejected": "5"}, PREFERENCE),
    ("preference", {"prompt": [ASK], "chosen": [SAY], "rejected": [BAD]}, PREFERENCE),
    ("preference", {"chosen": [ASK, SAY], "rejected": [ASK, BAD]}, PREFERENCE),
    (
        "preference",
        {"prompt": "2+2?", "chosen": [ASK, SAY], "rejected": [ASK, BAD]},
        PREFERENCE,
    ),
    (
        "preference",
        {
            "chosen": "\n\nHuman: 2+2?\n\nAssistant: 4",
            "rejected": "\n\nHuman: 2+2?\n\nAssistant: 5",
        },
        PREFERENCE,
    ),
    (
        "preference",
        {"prompt": "\n\nHuman: 2+2?\n\nAssistant:", "chosen": "4", "rejected": "5"},
        PREFERENCE,
    ),
    ("preference", {"instruction": "2+2?", "chosen": "4", "rejected": "5"}, PREFERENCE),
    (
        "preference",
        {
            "conversations": [{"from": "human", "value": "2+2?"}],
            "chosen": {"from": "gpt", "value": "4"},
            "rejected": {"from": "gpt", "value": "5"},
        },
        PREFERENCE,
    ),
    ("prompt_answer", {"prompt": "2+2?", "ground_truth": "4"}, ANSWER),
    ("prompt_answer", {"question": "2+2?", "answer": 4, "verifiable": True}, ANSWER),
    ("prompt_answer", {"messages": [ASK], "ground_truth": "4"}, ANSWER),
]


@pytest.mark.parametrize(("layout", "record", "row"), KNOWN)
def test_a_layout_is_recognised_and_gives_the_row(
    layout: str, record: dict[str, object], row: Row
) -> None:
    assert recognise(record) == layout
    converted = convert(record, layout)
    assert converted == row
    assert converted.id == row.id


def test_null_columns_of_other_layouts_do_not_count() -> None:
    record = {"messages": None, "chosen": None, "rejected": None, "prompt": "a", "completion": "b"}
    assert recognise(record) == "prompt_completion"


@pytest.mark.parametrize(
    "record", [{}, {"text": "hello"}, {"question": "a", "long_answer": "b"}, {"chosen": "a"}]
)
def test_an_unknown_shape_has_no_layout(record: dict[str, object]) -> None:
    assert recognise(record) is None


def test_a_question_is_a_verifiable_row_only_when_the_layout_is_named() -> None:
    record = {"question": "2+2?", "answer": "4"}
    assert convert(record, "prompt_completion").kind == "chat"
    assert convert(record, "prompt_answer") == ANSWER


def test_the_ground_truth_wins_over_the_worked_answer_which_stays_as_a_column() -> None:
    row = convert({"prompt": "2+2?", "answer": "2+2 is 4", "ground_truth": 4}, "prompt_answer")
    assert row == ANSWER
    assert json.loads(row.origins[0].extra) == {"answer": "2+2 is 4"}


def test_weight_and_train_take_the_loss_off_an_assistant_turn() -> None:
    for silent in ({"weight": 0}, {"train": False}):
        record = {"messages": [ASK, SAY | silent, ASK | {"weight": 1}, SAY | {"weight": 1}]}
        flags = [m.trains for m in convert(record, "openai").messages]
        assert flags == [False, False, False, True]


def test_every_sharegpt_speaker_has_a_role() -> None:
    names = ["system", "human", "gpt", "tool", "chatgpt", "function", "bing", "user", "bard"]
    turns = [{"from": name, "value": "x"} for name in [*names, "observation", "assistant"]]
    roles = [m.role for m in convert({"conversations": turns}, "sharegpt").messages]
    assert roles == [
        *("system", "user", "assistant", "tool", "assistant", "tool"),
        *("assistant", "user", "assistant", "tool", "assistant"),
    ]


def test_alpaca_joins_input_and_carries_system_and_history() -> None:
    record = {
        "instruction": "Add.",
        "input": "2+2",
        "output": "4",
        "system": "Be brief.",
        "history": [["1+1?", "2"]],
    }
    row = convert(record, "alpaca")
    assert row.messages == (
        Message("system", "Be brief."),
        Message("user", "1+1?"),
        Message("assistant", "2", trains=True),
        Message("user", "Add.\n\n2+2"),
        REPLY,
    )
    assert row.origins[0].extra == "{}"


def test_dollys_context_is_part_of_the_question() -> None:
    row = convert({"instruction": "Who?", "context": "Ann came.", "response": "Ann"}, "alpaca")
    assert row.messages[0].content == "Who?\n\nAnn came."


def test_turns_of_a_prompt_never_train() -> None:
    row = convert({"prompt": [ASK, SAY, ASK], "completion": [SAY]}, "prompt_completion")
    assert [m.trains for m in row.messages] == [False, False, False, True]


def test_several_turns_may_be_shared_before_the_branches_part() -> None:
    row = convert({"chosen": [ASK, SAY, ASK, SAY], "rejected": [ASK, SAY, ASK, BAD]}, "preference")
    assert [m.role for m in row.messages] == ["user", "assistant", "user"]
    assert (row.chosen, row.rejected) == ("4", "5")


FOLLOW_UP = {"role": "user", "content": "Follow-up?"}
BRANCHES = {"chosen": [FOLLOW_UP, SAY], "rejected": [FOLLOW_UP, BAD]}
WHOLE = {"chosen": [ASK, SAY, FOLLOW_UP, SAY], "rejected": [ASK, SAY, FOLLOW_UP, BAD]}
SYSTEM = {"role": "system", "content": "Be brief."}


def preference_turns(record: dict[str, object]) -> list[str]:
    row = convert(record, "preference")
    assert (row.chosen, row.rejected) == ("4", "5")
    return [turn.content for turn in row.messages]


@pytest.mark.parametrize("name", ["prompt", "question", "query", "instruction"])
def test_a_prompt_that_the_branches_do_not_repeat_comes_before_them(name: str) -> None:
    record = {name: "Question one?"} | BRANCHES
    assert preference_turns(record) == ["Question one?", "Follow-up?"]
    assert convert(record, "preference").origins[0].extra == "{}"
    system = record | {"system": "Be brief."}
    assert preference_turns(system) == ["Be brief.", "Question one?", "Follow-up?"]


@pytest.mark.parametrize(
    "prompt",
    [
        {"prompt": "2+2?"},
        {"prompt": " 2+2?\n"},
        {"question": "Follow-up?"},
        {"prompt": [ASK]},
        {"prompt": [ASK, SAY, FOLLOW_UP]},
        {"messages": [ASK, SAY, FOLLOW_UP, SAY]},
        {"prompt": "\n\nHuman: 2+2?\n\nAssistant: 4\n\nHuman: Follow-up?\n\nAssistant:"},
        {},
    ],
)
def test_a_prompt_that_the_branches_repeat_is_there_once(prompt: dict[str, object]) -> None:
    assert preference_turns(prompt | WHOLE) == ["2+2?", "4", "Follow-up?"]
    with_column = {"system": "Be brief."} | prompt | WHOLE
    assert preference_turns(with_column) == ["Be brief.", "2+2?", "4", "Follow-up?"]
    with_turn = {name: [SYSTEM, *turns] for name, turns in WHOLE.items()}
    assert preference_turns(prompt | with_turn) == ["Be brief.", "2+2?", "4", "Follow-up?"]


def test_a_list_prompt_brings_its_system_turn_along() -> None:
    record = {"prompt": [SYSTEM, ASK]} | WHOLE
    assert preference_turns(record) == ["Be brief.", "2+2?", "4", "Follow-up?"]


def test_a_system_turn_of_the_branches_opens_the_conversation_before_the_prompt() -> None:
    branches = {name: [SYSTEM, *turns] for name, turns in BRANCHES.items()}
    expected = ["Be brief.", "2+2?", "Follow-up?"]
    assert preference_turns({"prompt": "2+2?"} | branches) == expected
    short = {"chosen": [SYSTEM, SAY], "rejected": [SYSTEM, BAD]}
    assert preference_turns({"prompt": "2+2?"} | short) == expected[:2]


def test_a_blank_prompt_is_no_turn_before_whole_branches() -> None:
    assert preference_turns({"prompt": " "} | WHOLE) == ["2+2?", "4", "Follow-up?"]


def test_a_question_that_is_no_text_is_a_column_where_the_branches_are_whole() -> None:
    row = convert({"query": {"id": 7}} | WHOLE, "preference")
    assert json.loads(row.origins[0].extra) == {"query": {"id": 7}}


def test_two_system_turns_of_prompt_and_branches_are_malformed() -> None:
    prompt = {"prompt": [SYSTEM | {"content": "Be long."}, ASK]}
    for turns in (BRANCHES, WHOLE):
        branches = {name: [SYSTEM, *branch] for name, branch in turns.items()}
        with pytest.raises(MalformedError, match="must be first"):
            convert(prompt | branches, "preference")


def test_equal_branches_are_loaded_because_that_is_for_the_lint_to_judge() -> None:
    row = convert({"chosen": [ASK, SAY], "rejected": [ASK, SAY]}, "preference")
    assert (row.messages, row.chosen, row.rejected) == ((USER,), "4", "4")


MALFORMED = [
    ("openai", {"messages": []}, "empty_conversation"),
    ("openai", {"messages": "2+2?"}, "wrong_type"),
    ("openai", {"messages": ["2+2?"]}, "wrong_type"),
    ("openai", {"messages": [ASK, {"role": "robot", "content": "4"}]}, "unknown_role"),
    ("openai", {"messages": [ASK, {"content": "4"}]}, "unknown_role"),
    ("openai", {"messages": [ASK, {"role": "assistant", "content": None}]}, "missing_text"),
    ("openai", {"messages": [ASK, {"role": "assistant", "content": ["4"]}]}, "wrong_type"),
    ("openai", {"messages": [ASK, {"role": "assistant", "tool_calls": [{}]}]}, "not_text"),
    ("openai", {"messages": [ASK, SAY | {"weight": 0.5}]}, "wrong_type"),
    ("openai", {"messages": [ASK, SAY | {"weight": 0}]}, "nothing_trains"),
    ("openai", {"messages": [ASK, SAY, ASK]}, "last_turn_not_assistant"),
    ("openai", {"messages": [SAY, ASK, SAY]}, "user_not_first"),
    ("openai", {"messages": [{"role": "system", "content": "x"}, SAY]}, "user_not_first"),
    ("openai", {"messages": [{"role": "system", "content": "x"}]}, "no_user_turn"),
    (
        "openai",
        {"messages": [ASK, {"role": "system", "content": "x"}, SAY]},
        "system_not_first",
    ),
    ("alpaca", {"instruction": "2+2?", "output": None}, "missing_text"),
    ("alpaca", {"instruction": "2+2?", "output": 4}, "wrong_type"),
    ("alpaca", {"instruction": None, "output": "4"}, "missing_text"),
    ("alpaca", {"instruction": "2+2?", "output": "4", "history": [["a"]]}, "wrong_type"),
    ("prompt_completion", {"prompt": "2+2?", "completion": 4}, "wrong_type"),
    ("prompt_completion", {"prompt": "2+2?", "completion": [ASK]}, "last_turn_not_assistant"),
    ("preference", {"chosen": "4", "rejected": "5"}, "missing_text"),
    ("preference", {"prompt": "2+2?", "chosen": "4"}, "missing_text"),
    (
        "preference",
        {"chosen": [ASK, SAY, ASK, SAY], "rejected": [ASK, BAD]},
        "branches_part_early",
    ),
    (
        "preference",
        {"chosen": [ASK, SAY, ASK, SAY], "rejected": [ASK, BAD, ASK, SAY]},
        "branches_part_early",
    ),
    ("preference", {"prompt": "x", "chosen": [ASK], "rejected": [SAY]}, "last_turn_not_assistant"),
    ("prompt_answer", {"question": "2+2?", "answer": True}, "wrong_type"),
    ("prompt_answer", {"question": "2+2?", "answer": float("nan")}, "wrong_type"),
    ("prompt_answer", {"question": "2+2?"}, "missing_text"),
    ("prompt_completion", {"prompt": "\ud800", "completion": "4"}, "not_unicode"),
    ("prompt_completion", {"prompt": "a", "completion": "b", "x": "\udfff"}, "not_unicode"),
    ("prompt_completion", {"prompt": "a", "completion": "b", "x": float("inf")}, "bad_column"),
    ("prompt_completion", {"prompt": "a", "completion": "b", "x": [2**63]}, "oversized_integer"),
]


@pytest.mark.parametrize(("layout", "record", "reason"), MALFORMED)
def test_what_cannot_be_a_row_is_refused_with_a_reason(
    layout: str, record: dict[str, object], reason: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        convert(record, layout)
    assert caught.value.reason == reason
    assert str(caught.value)


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_answer_is_loaded(text: str) -> None:
    assert convert({"instruction": "2+2?", "output": text}, "alpaca").reply == text


def test_two_user_turns_in_a_row_can_be_rendered_and_are_let_through() -> None:
    assert len(convert({"messages": [ASK, ASK, SAY]}, "openai").messages) == 3


def test_other_columns_travel_as_sorted_json_and_the_first_id_column_names_the_record() -> None:
    record = {"uid": 7, "b": [1, None], "a": {"z": 1, "y": "é"}, "none": None}
    row = convert({"prompt": "2+2?", "completion": "4"} | record, "prompt_completion")
    origin = row.origins[0]
    assert origin.id == "7"
    assert origin.extra == '{"a": {"y": "é", "z": 1}, "b": [1, null], "uid": 7}'


def test_mapped_columns_give_up_their_names_and_shadowed_ones_keep_theirs() -> None:
    record = {"question": "2+2?", "long_answer": "4", "prompt": "other", "pmid": 3}
    columns = {"prompt": "question", "completion": "long_answer", "id": "pmid"}
    row = convert(record, "prompt_completion", columns=columns)
    assert row == CHAT
    assert row.origins[0].id == "3"
    assert json.loads(row.origins[0].extra) == {"prompt": "other", "pmid": 3}


def test_a_system_column_opens_the_conversation() -> None:
    row = convert(
        {"system_prompt": "Be brief.", "question": "2+2?", "response": "4"}, "prompt_completion"
    )
    assert row.messages[0] == Message("system", "Be brief.")


def test_a_system_turn_wins_over_a_system_column_which_stays_a_column() -> None:
    turns = [{"role": "system", "content": "Be brief."}, ASK, SAY]
    row = convert({"messages": turns, "system": "Be long."}, "openai")
    assert row.messages == (Message("system", "Be brief."), USER, REPLY)
    assert json.loads(row.origins[0].extra) == {"system": "Be long."}


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="alpaca"):
        check_options("alpacca", None)
    with pytest.raises(RecipeError, match="completion"):
        check_options(None, {"complettion": "x"})
