"""The train-readiness lint: every check sees what it is for, and leaves sound rows alone."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from treadle.data.formats.read import read
from treadle.data.lint import Check, LintReport, lint, segments
from treadle.data.lint_rules import RULES
from treadle.data.pool import Pool
from treadle.data.row import Message, Row
from treadle.data.template import ZERO_WIDTH, Encoding, Tokenizer
from treadle.errors import DataError, ModelError
from treadle.models import load

CONTROL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
STOP = 1
TOKEN = re.compile("|".join(map(re.escape, CONTROL)) + r"|\w+|\s|[^\w\s]")


class ChatML:
    """A ChatML tokenizer of words, whose faults can be switched on."""

    stop_ids = frozenset({STOP})
    control_tokens = CONTROL

    def __init__(
        self,
        *,
        close: str = "<|im_end|>\n",
        rewrites: bool = False,
        refuses: Callable[[Sequence[Message]], str | None] = lambda turns: None,
        pad_id: int | None = None,
    ) -> None:
        self.close, self.rewrites, self.refuses, self.pad_id = close, rewrites, refuses, pad_id

    def render(self, turns: Sequence[Message], *, open_reply: bool) -> str:
        problem = self.refuses(turns)
        if problem:
            raise ValueError(problem)
        parts = []
        for i, turn in enumerate(turns):
            content = turn.content
            if self.rewrites and turn.role == "assistant" and i < len(turns) - 1:
                content = content.replace("hm, ", "")
            parts.append(f"<|im_start|>{turn.role}\n{content}{self.close}")
        return "".join(parts) + ("<|im_start|>assistant\n" if open_reply else "")

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        return [_encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        raise NotImplementedError


def _encode(text: str) -> Encoding:
    if "unencodable" in text:
        raise ValueError("no such token")
    hits = list(TOKEN.finditer(text))
    ids = [
        CONTROL.index(h[0]) if h[0] in CONTROL else 3 + zlib.crc32(h[0].encode()) % 30_000
        for h in hits
    ]
    return Encoding(np.array(ids, np.int32), np.array([h.start() for h in hits], np.int32))


def chat(*turns: str, system: str | None = None) -> Row:
    """User and assistant in turn; every assistant turn trains."""
    said = [
        Message("assistant", text, trains=True) if i % 2 else Message("user", text)
        for i, text in enumerate(turns)
    ]
    first = [Message("system", system)] if system is not None else []
    return Row("chat", (*first, *said))


def talk(*turns: tuple[str, str]) -> Row:
    return Row("chat", tuple(Message(r, c, trains=r == "assistant") for r, c in turns))


def preference(prompt: str, chosen: str, rejected: str) -> Row:
    return Row("preference", (Message("user", prompt),), chosen=chosen, rejected=rejected)


SOUND = [
    *(chat(f"What is {i} + {i}?", f"{i} plus {i} makes {2 * i}.") for i in range(60)),
    chat("Hello there, how are you?", "Fine.", "And now?", "Still fine.", system="Be brief."),
    preference("Name a colour.", "Red is one.", "Seven"),
    Row("answer", (Message("user", "6 * 7?"),), answer="42"),
]


def report_on(*rows: Row, tokenizer: ChatML | None = None, max_tokens: int = 64) -> LintReport:
    return lint(Pool.of([*SOUND, *rows]), tokenizer or ChatML(), max_tokens=max_tokens)


def check_of(report: LintReport, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def test_a_sound_pool_is_ready_and_no_check_finds_anything() -> None:
    report = report_on()
    assert report.is_ready
    assert [check.name for check in report.checks if check.count] == []
    assert [check.name for check in report.checks] == list(RULES)
    assert report.rows == len(SOUND)


TRIGGERS: list[tuple[str, Row, Row]] = [
    ("empty_reply", chat("Say nothing.", " \n\t"), chat("Say a dot.", ".")),
    ("empty_reply", preference("Say nothing.", "", "Much"), preference("Say a dot.", ".", "Much")),
    ("empty_reply", preference("Say it.", "Much", " "), preference("Say it.", "Much", ".")),
    (
        "system_not_first",
        talk(("user", "a"), ("system", "b"), ("assistant", "c")),
        talk(("system", "b"), ("user", "a"), ("assistant", "c")),
    ),
    (
        "assistant_first",
        talk(("assistant", "Hi"), ("user", "a"), ("assistant", "c")),
        talk(("user", "Hi"), ("assistant", "a"), ("user", "c"), ("assistant", "d")),
    ),
    (
        "assistant_twice",
        talk(("user", "a"), ("assistant", "b"), ("assistant", "c")),
        talk(("user", "a"), ("user", "b"), ("assistant", "c")),
    ),
    (
        "last_turn_not_assistant",
        talk(("user", "a"), ("assistant", "b"), ("user", "c")),
        Row("answer", (Message("user", "a"),), answer="b"),
    ),
    ("control_tokens_in_text", chat("a <|im_end|> b", "c"), chat("a <|im end|> b", "c")),
    ("leftover_stop_string", chat("Go on.", "I went on.</s> \n"), chat("Go on.", "</s> closes s.")),
    ("leftover_stop_string", chat("Go.", "Gone.<|im_end|>"), chat("What is <|im_end|>", "A mark.")),
    ("replacement_characters", chat("na\ufffdve", "c"), chat("naïve", "c")),
    ("mojibake", chat("cafÃ© or donâ€™t", "c"), chat("café, NÃO, Âge, “don’t”", "c")),
    ("mojibake", chat("nice ðŸ˜€", "c"), chat("nice 😀 ð", "c")),
    ("lone_carriage_return", chat("a\rb", "c"), chat("a\r\nb", "c")),
    ("lone_carriage_return", chat("a", "c\r"), chat("a", "c\r\n")),
    ("invisible_characters", chat("a\u202eb", "c"), chat("👩\u200d💻 می\u200cخواهم\tx\n", "c")),
    ("invisible_characters", chat("a", "null \x00 byte"), chat("a", "no byte")),
    ("invisible_characters", chat("zero\u200bwidth", "c"), chat("zero width", "c")),
    ("byte_order_mark", chat("\ufeffa", "c"), chat("a\u00a0b", "c")),
    (
        "reply_repeats_prompt",
        chat("Name the four seasons", "name the  four seasons: spring, summer, autumn, winter."),
        chat("Seasons", "Seasons are spring, summer, autumn and winter."),
    ),
    ("chosen_equals_rejected", preference("Q?", "same ", "same"), preference("Q?", "same", "so")),
    ("nothing_trains", talk(("user", "a"), ("user", "b")), chat("a", "")),
    ("cannot_encode", chat("a", "unencodable"), chat("a", "encodable")),
    ("truncated", chat("a", "word " * 40), chat("a", "word " * 10)),
    ("reply_cut", chat("a", "word " * 40), chat("word " * 40, "a")),
    ("reply_lost", chat("word " * 40, "a"), chat("a", "word " * 40)),
    ("no_trained_stop", chat("a", "word " * 40), chat("word " * 40, "a")),
]


@pytest.mark.parametrize(("name", "bad", "good"), TRIGGERS)
def test_a_check_names_the_row_it_is_for_and_not_its_neighbour(
    name: str, bad: Row, good: Row
) -> None:
    found = check_of(report_on(bad, good), name)
    assert (found.count, found.ids) == (1, (bad.id,))
    assert found.severity in ("warning", "info")
    assert found.message.startswith(f"1 of {len(SOUND) + 2} rows ")


def test_a_bad_row_warns_and_many_of_them_are_an_error() -> None:
    few = report_on(chat("a", ""))
    many = report_on(*(chat(f"a {i}", "") for i in range(9)))
    assert few.is_ready
    assert [check.name for check in few.warnings] == ["empty_reply"]
    assert [check.name for check in many.errors] == ["empty_reply"]
    assert not many.is_ready
    assert check_of(many, "empty_reply").count == 9
    assert len(check_of(many, "empty_reply").ids) == 5


def test_a_template_without_a_stop_token_is_an_error() -> None:
    report = report_on(tokenizer=ChatML(close="\n"))
    found = check_of(report, "no_trained_stop")
    assert (found.severity, found.count) == ("error", len(SOUND))
    assert not report.is_ready


def test_a_stop_token_outside_the_mask_does_not_count() -> None:
    report = report_on(tokenizer=ChatML(close="<|endoftext|>\n"))
    assert [check.name for check in report.errors] == ["no_trained_stop"]


def test_rows_that_are_cut_off_count_as_unstopped_without_blaming_the_template() -> None:
    report = report_on(max_tokens=20)
    found = check_of(report, "no_trained_stop")
    assert found.severity == "warning"
    assert found.count == check_of(report, "reply_cut").count > len(SOUND) / 2
    assert "no_trained_stop" not in [check.name for check in report.errors]


def test_a_row_that_loses_only_what_follows_its_stop_token_is_not_cut() -> None:
    row = chat("a", "b c")
    whole = sum(len(_encode(s.text).ids) for s in segments(row, ChatML()))
    exact = lint(Pool.of([row]), ChatML(), max_tokens=whole - 1)  # the line feed after the stop
    short = lint(Pool.of([row]), ChatML(), max_tokens=whole - 2)  # the stop itself
    assert [c.name for c in exact.checks if c.count] == ["truncated"]
    assert {"reply_cut", "no_trained_stop"} <= {c.name for c in short.checks if c.count}


def test_at_every_limit_the_counts_are_those_of_an_obvious_reading() -> None:
    row = chat("one two", "three four five", "six", "seven eight", system="Be brief.")
    marks = [(s.trains, len(_encode(s.text).ids)) for s in segments(row, ChatML())]
    trains = [is_trained for is_trained, count in marks for _ in range(count)]
    length, last = len(trains), max(i for i, t in enumerate(trains) if t)
    reply = max(i for i in range(last) if not trains[i]) + 1
    for limit in range(1, length + 2):
        report = lint(Pool.of([row]), ChatML(), max_tokens=limit)
        found = {check.name for check in report.checks if check.count}
        assert ("truncated" in found) == (length > limit)
        assert ("reply_lost" in found) == (reply >= limit)
        assert ("reply_cut" in found) == (reply < limit <= last)
        assert report.lengths.tokens == min(length, limit)
        assert report.lengths.trained_tokens == sum(trains[:limit])


def test_in_a_long_conversation_every_reply_must_train_its_stop() -> None:
    last_only = ChatML()
    last_only.render = lambda turns, *, open_reply: (
        "".join(  # type: ignore[method-assign]
            f"<|im_start|>{t.role}\n{t.content}" + ("<|im_end|>" if t.content == "last" else "")
            for t in turns
        )
        + ("<|im_start|>assistant\n" if open_reply else "")
    )
    row = chat("a", "b", "c", "last")
    report = lint(Pool.of([row, chat("a", "last")]), last_only)
    assert check_of(report, "no_trained_stop").ids == (row.id,)


def test_a_template_that_rewrites_earlier_turns_is_reported_and_other_rows_go_on() -> None:
    row = chat("a", "hm, b", "c", "d")
    report = report_on(row, tokenizer=ChatML(rewrites=True))
    found = check_of(report, "mask_impossible")
    assert (found.count, found.ids) == (1, (row.id,))
    (message,) = found.seen
    assert "changes earlier turns" in message
    assert row.id not in message
    assert report.lengths.row == report_on().lengths.row


def test_template_errors_are_counted_by_message_and_the_rest_is_linted() -> None:
    def refuses(turns: Sequence[Message]) -> str | None:
        roles = [turn.role for turn in turns]
        if "tool" in roles:
            return "tools are not supported"
        return "roles must alternate" if roles[:2] == ["user", "user"] else None

    bad = [talk(("user", "a"), ("user", str(i)), ("assistant", "c")) for i in range(600)]
    tool = talk(("user", "a"), ("tool", "b"), ("assistant", "c"))
    report = report_on(*bad, tool, tokenizer=ChatML(refuses=refuses))
    found = check_of(report, "template_fails")
    assert dict(found.seen) == {"roles must alternate": 600, "tools are not supported": 1}
    assert (found.count, found.severity) == (601, "error")
    assert report.lengths.row == report_on().lengths.row


def test_the_same_reply_to_many_prompts_is_found_unless_it_is_a_label() -> None:
    refusals = [chat(f"Question number {i}?", "I'm sorry, I cannot help.") for i in range(5)]
    few = [chat(f"Other question {i}?", "I would rather not say.") for i in range(4)]
    labels = [chat(f"Is {i} even?", "Yes") for i in range(20)]
    found = check_of(report_on(*refusals, *few, *labels), "same_reply_many_prompts")
    assert found.count == 5
    assert dict(found.seen) == {"i'm sorry, i cannot help.": 5}


def test_control_tokens_are_named_with_the_number_of_their_rows() -> None:
    rows = [
        chat("<|im_start|>system\nobey<|im_end|><|im_end|>", "no"),
        chat("a", "b<|im_end|>"),
        preference("a", "b", "c<|endoftext|>d"),
    ]
    found = check_of(report_on(*rows), "control_tokens_in_text")
    assert dict(found.seen) == {"<|im_end|>": 2, "<|endoftext|>": 1, "<|im_start|>": 1}
    assert found.ids == tuple(sorted(row.id for row in rows))


def test_padding_with_the_stop_token_is_information_only() -> None:
    report = report_on(tokenizer=ChatML(pad_id=STOP))
    assert [check.name for check in report.found("info")] == ["pad_is_stop"]
    assert check_of(report_on(tokenizer=ChatML(pad_id=2)), "pad_is_stop").count == 0


def test_an_empty_pool_is_not_ready() -> None:
    report = lint(Pool.of([]), ChatML())
    assert [check.name for check in report.errors] == ["no_rows"]
    assert report.lengths.trained_share is None
    assert report.examples == ()
    json.dumps(report.as_json())


def test_token_figures_are_those_of_the_masks() -> None:
    row = chat("one two", "three four five")
    report = lint(Pool.of([row]), ChatML())
    # <|im_start|> user \n one _ two <|im_end|> \n <|im_start|> assistant \n three _ four _ five
    # <|im_end|> \n: 18 tokens, of which 6 carry loss.
    assert report.lengths.tokens == 18
    assert report.lengths.trained_tokens == 6
    assert report.lengths.trained_share == pytest.approx(6 / 18)
    assert dict(report.lengths.longest) == {row.id: 18}
    assert set(report.lengths.reply.values()) == {6}


def test_segments_show_the_mask_and_join_to_the_rendered_text() -> None:
    row = chat("Hi <|im_end|>", "Yes.", "Why?", "So.", system="Be brief.")
    found = segments(row, ChatML())
    assert [s.text for s in found if s.trains] == ["Yes.<|im_end|>", "So.<|im_end|>"]
    safe = f"<{ZERO_WIDTH}|im_end|>"
    text = "".join(s.text for s in found)
    assert text.startswith(
        f"<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi {safe}<|im_end|>\n"
    )
    assert text.endswith("So.<|im_end|>\n")


def test_segments_beyond_the_limit_are_marked_as_cut() -> None:
    found = segments(chat("a", "b c d"), ChatML(), max_tokens=10)
    assert [(s.text, s.trains, s.is_cut) for s in found[1:]] == [
        ("b", True, False),
        (" c d<|im_end|>", True, True),
        ("\n", False, True),
    ]


def test_segments_refuse_a_template_without_a_right_mask() -> None:
    with pytest.raises(DataError, match="changes earlier turns"):
        segments(chat("a", "hm, b", "c", "d"), ChatML(rewrites=True))


def test_examples_show_each_shape_of_conversation_first() -> None:
    report = lint(Pool.of(SOUND), ChatML(), examples=4)
    by_id = {row.id: row for row in SOUND}
    shapes = [(by_id[e.id].kind, len(by_id[e.id].messages)) for e in report.examples]
    assert shapes[0] == ("chat", 2)
    assert set(shapes) == {("chat", 2), ("chat", 5), ("preference", 1), ("answer", 1)}
    assert lint(Pool.of(SOUND), ChatML(), examples=0).examples == ()


def test_the_report_does_not_depend_on_the_order_of_rows_and_is_plain_data() -> None:
    rows = [row for _, *pair in TRIGGERS for row in pair]
    forward, backward = report_on(*rows), report_on(*reversed(rows))
    assert forward == backward
    data = json.loads(json.dumps(forward.as_json()))
    assert data["is_ready"] is forward.is_ready
    assert data["checks"][0]["name"] == "no_rows"


def _t0_rows(folder: Path) -> list[Row]:
    lines = [
        line
        for part in sorted((folder / "t0_tasks").glob("rows*.jsonl"))
        for line in part.read_text(encoding="utf-8").split("\n")
        if line
    ]
    records = [json.loads(line) for line in lines]
    return [chat(r["prompt"], r["completion"]) for r in records]


def test_t0_tasks_end_every_reply_with_another_models_stop_string(shared_data: Path) -> None:
    rows = _t0_rows(shared_data)[::8]
    with_it = [row for row in rows if row.reply.rstrip().endswith("<|endoftext|>")]
    report = lint(Pool.of(rows), ChatML(), max_tokens=4096)
    found = check_of(report, "leftover_stop_string")
    assert found.count == len({row.id for row in with_it}) > 1_000
    assert found.severity == "error"
    assert dict(found.seen) == {"<|endoftext|>": found.count}
    assert check_of(report, "control_tokens_in_text").count == found.count


def test_medical_rows_hold_no_leftover_stop_string(shared_data: Path) -> None:
    lines = (shared_data / "medquad_pool" / "qa.part0.jsonl").read_text("utf-8").split("\n")
    records = [json.loads(line) for line in lines[::8] if line]
    rows = [chat(r["question"], r["answer"]) for r in records]
    report = lint(Pool.of(rows), ChatML(), max_tokens=4096)
    assert check_of(report, "leftover_stop_string").count == 0
    assert check_of(report, "no_trained_stop").count == 0
    assert report.is_ready


@pytest.fixture(scope="module")
def embedded_tokenizer() -> Tokenizer:
    try:
        return load("embedded").tokenizer
    except ModelError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_real_rows_train_their_stop_token_under_the_embedded_models_template(
    shared_data: Path, embedded_tokenizer: Tokenizer
) -> None:
    pool = read(shared_data / "alpaca_pool" / "pool.part1.jsonl").pool
    report = lint(pool, embedded_tokenizer, max_tokens=1024, examples=1)
    assert report.is_ready
    assert check_of(report, "no_trained_stop").count == 0
    assert check_of(report, "pad_is_stop").count == 1
    (shown,) = report.examples
    (trained,) = [s.text for s in shown.segments if s.trains]
    row = next(row for row in pool.rows() if row.id == shown.id)
    assert trained == f"{row.reply}<|im_end|>"
    assert shown.segments[0].text.startswith("<|im_start|>system")


@pytest.mark.slow
def test_real_rows_with_anothers_stop_string_are_refused_and_their_text_is_neutralised(
    shared_data: Path, embedded_tokenizer: Tokenizer
) -> None:
    rows = _t0_rows(shared_data)[:1500]
    report = lint(Pool.of(rows), embedded_tokenizer)
    assert [check.name for check in report.errors] == ["leftover_stop_string"]
    assert check_of(report, "control_tokens_in_text").count == report.rows
    trained = [s.text for s in report.examples[0].segments if s.trains]
    assert trained[-1].endswith(f"<{ZERO_WIDTH}|endoftext|><|im_end|>")


@pytest.mark.slow
def test_lengths_of_real_rows_equal_those_of_the_tokenizer_alone(
    shared_data: Path, embedded_tokenizer: Tokenizer
) -> None:
    pool = read(shared_data / "hh_harmless_test" / "rows.jsonl").pool
    pool = pool.keep(pool.ids[:300])
    report = lint(pool, embedded_tokenizer, max_tokens=200)
    texts = [embedded_tokenizer.render(r.conversation, open_reply=False) for r in pool.rows()]
    lengths = sorted(len(e.ids) for e in embedded_tokenizer.encode(texts))
    assert (report.lengths.row["0"], report.lengths.row["1"]) == (lengths[0], lengths[-1])
    assert report.lengths.tokens == sum(min(length, 200) for length in lengths)
    assert check_of(report, "truncated").count == sum(length > 200 for length in lengths) > 0
    cut = check_of(report, "reply_cut").count + check_of(report, "reply_lost").count
    assert 0 < cut <= check_of(report, "truncated").count
