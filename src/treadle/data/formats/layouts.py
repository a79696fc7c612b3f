"""Layouts: recognise the shape of one raw record and turn it into a row.

    {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}
    {"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]}
    {"instruction": "Add.", "input": "2+2", "output": "4"}
    {"prompt": "2+2?", "completion": "4"}            also question/answer, query/response …
    {"prompt": "2+2?", "chosen": "4", "rejected": "5"}
    {"prompt": "2+2?", "ground_truth": "4"}          a verifiable answer, not a text to learn

What an answer column *means* cannot be seen: question/answer is read as a chat that trains on the
answer, unless `prompt_answer` is named or the record says `ground_truth` or `verifiable: true`.
Columns that a layout does not use are the user's own and travel with the row; null is absence.

Not here: files (`sources`), counting and quarantine (`read`), the way back (`records`).
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from treadle.data.formats import preference
from treadle.data.formats.extras import extra_json
from treadle.data.formats.prompts import PROMPT_NAMES, first_present, read_prompt, with_system
from treadle.data.formats.quoting import NAME_CHARACTERS, listed, printable
from treadle.data.formats.turns import (
    MalformedError,
    as_text,
    check_chat,
    check_prompt,
    parse_turns,
    type_name,
)
from treadle.data.row import Message, Origin, Row
from treadle.errors import RecipeError, nearest

Record = Mapping[str, object]
Converter = Callable[[Record], tuple[Row, list[str]]]

TREADLE_ID = "treadle_id"
ID_NAMES = (
    *("id", "ID", "Id", "idx", "uid", "uuid", "_id", "row_id"),
    *("example_id", "sample_id", "prompt_id", "question_id", "task_id"),
)
PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("input", "output"),
)
ANSWER_NAMES = ("ground_truth", "answer")


def recognise(record: Record) -> str | None:
    """Return the layout of a record, or None. Null columns count only when all else fails."""
    present = {name for name, value in record.items() if value is not None}
    return _match(present, record) or _match(set(record), record)


def _match(names: set[str], record: Record) -> str | None:
    if {"chosen", "rejected"} <= names:
        return "preference"
    if _is_verifiable(names, record):
        return "prompt_answer"
    if "messages" in names:
        return "openai"
    if "conversations" in names:
        return "sharegpt"
    if {"prompt", "completion"} <= names:
        return "prompt_completion"
    if "instruction" in names and ("output" in names or "response" in names):
        return "alpaca"
    if any(ask in names and answer in names for ask, answer in PAIRS):
        return "prompt_completion"
    return None


def _is_verifiable(names: set[str], record: Record) -> bool:
    flagged = "verifiable" in names and str(record["verifiable"]).lower() == "true"
    if not (flagged and "answer" in names) and "ground_truth" not in names:
        return False
    messages = record.get("messages")
    if isinstance(messages, list) and messages:
        last = messages[-1]
        return not (isinstance(last, dict) and last.get("role") == "assistant")
    return not names.isdisjoint(("prompt", "question", "query", "problem"))


def convert(
    record: Record,
    layout: str,
    *,
    file: str = "",
    line: int = 0,
    columns: Mapping[str, str] | None = None,
    blank_is_absent: bool = False,
) -> Row:
    """Turn a record into a row with one origin.

    Args:
        blank_is_absent: drop the user's own columns where they hold empty text.
        columns: the user's column for each of the layout's names, such as
            `{"prompt": "question", "completion": "long_answer"}`.

    Raises:
        MalformedError: the record does not follow the layout; the message says why.
    """
    own = columns or {}
    row, used = CONVERTERS[layout](rename(record, own) if own else record)
    taken = {own.get(name, name) for name in used}
    extra = {k: v for k, v in record.items() if v is not None and k not in taken}
    if blank_is_absent:
        extra = {k: v for k, v in extra.items() if v != ""}
    extra.pop(TREADLE_ID, None)
    id_names = (own["id"], *ID_NAMES) if "id" in own else ID_NAMES
    origin = Origin(file, line, _user_id(record, id_names), extra_json(extra) if extra else "{}")
    _check_unicode(row)
    return Row(row.kind, row.messages, row.chosen, row.rejected, row.answer, (origin,))


def rename(record: Record, columns: Mapping[str, str]) -> dict[str, object]:
    """Return the record under the layout's names; a mapped column gives up its own name."""
    moved = set(columns.values())
    kept = {name: value for name, value in record.items() if name not in moved}
    return kept | {name: record.get(own) for name, own in columns.items()}


def check_options(layout: str | None, columns: Mapping[str, str] | None) -> None:
    """Check a layout's name and the names that `columns` maps.

    Raises:
        RecipeError: an unknown name; the message has the nearest one.
    """
    if layout is not None and layout not in CONVERTERS:
        raise RecipeError(f"layout: {layout!r} is unknown.{nearest(layout, CONVERTERS)}")
    for name in columns or {}:
        if name not in NAMES:
            raise RecipeError(f"columns: no layout has {name!r}.{nearest(name, NAMES)}")


def explain(columns: Iterable[str]) -> str:
    """Say which columns were found, which were looked for, and what to do."""
    found = sorted(columns)
    asks = [(name, _nearest_column(name, found)) for name, _ in PAIRS]
    answers = [(name, _nearest_column(name, found)) for _, name in PAIRS]
    ask = next((column for _, column in asks if column), None)
    answer = next((column for _, column in answers if column and column != ask), None)
    example = {"prompt": ask or "your_question", "completion": answer or "your_answer"}
    example = {name: printable(column, NAME_CHARACTERS) for name, column in example.items()}
    return (
        f"No known layout. Columns found: {listed(found)}. Looked for: messages; "
        "conversations; instruction + output; prompt + completion; question + answer; "
        "query + response; prompt + chosen + rejected. Map your columns, for example "
        f"columns: {json.dumps(example, ensure_ascii=False)}, or name a layout "
        f"({', '.join(CONVERTERS)})."
    )


def _nearest_column(name: str, columns: Sequence[str]) -> str | None:
    inside = [column for column in columns if name in column.lower()]
    close = difflib.get_close_matches(name, columns, n=1, cutoff=0.7)
    return next(iter([*close, *inside]), None)


def _check_unicode(row: Row) -> None:
    texts = [m.content for m in row.messages]
    for text in (*texts, row.chosen, row.rejected, row.answer):
        if text is None or text.isascii():
            continue
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            found = f"U+{ord(text[error.start]):04X} at character {error.start + 1}"
            raise MalformedError("not_unicode", f"text is not valid Unicode: {found}") from None


def _user_id(record: Record, names: Sequence[str]) -> str | None:
    for name in names:
        value = record.get(name)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != "":
            return str(value)
    return None


def _chat(turns: Sequence[Message], used: list[str]) -> tuple[Row, list[str]]:
    check_chat(turns)
    return Row("chat", tuple(turns)), used


def _messages(name: str) -> Converter:
    def read_messages(record: Record) -> tuple[Row, list[str]]:
        turns = parse_turns(record.get(name), name, trains=True)
        return _chat(*with_system(record, turns, [name]))

    return read_messages


def _alpaca(record: Record) -> tuple[Row, list[str]]:
    answer = first_present(record, ("output", "response")) or "output"
    turns, used = read_prompt(record, ("instruction",))
    past = _history(record.get("history"))
    used.append("history")
    if past:
        opening = turns[:1] if turns[0].role == "system" else []
        turns = [*opening, *past, *turns[len(opening) :]]
    reply = Message("assistant", as_text(record.get(answer), answer), trains=True)
    return _chat([*turns, reply], [*used, answer])


def _history(value: object) -> list[Message]:
    """Earlier rounds; their replies carry loss, as they do in LLaMA-Factory."""
    if not value:
        return []
    if not isinstance(value, list):
        raise MalformedError("wrong_type", f"history is {type_name(value)}, not a list of pairs")
    turns = []
    for i, pair in enumerate(value):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise MalformedError(
                "wrong_type", f"history[{i}] is not a pair of instruction and reply"
            )
        ask, reply = (as_text(part, f"history[{i}]") for part in pair)
        turns += [Message("user", ask), Message("assistant", reply, trains=True)]
    return turns


def _pair(record: Record) -> tuple[str, str]:
    """The columns of question and answer; null ones count only when all else fails."""
    for ask, answer in PAIRS:
        if record.get(ask) is not None and record.get(answer) is not None:
            return ask, answer
    return next((pair for pair in PAIRS if pair[0] in record and pair[1] in record), PAIRS[0])


def _prompt_completion(record: Record) -> tuple[Row, list[str]]:
    ask, answer = _pair(record)
    turns, used = read_prompt(record, (ask,))
    reply = record.get(answer)
    if isinstance(reply, list):
        turns += parse_turns(reply, answer, trains=True)
    else:
        turns.append(Message("assistant", as_text(reply, answer), trains=True))
    return _chat(turns, [*used, answer])


def _prompt_answer(record: Record) -> tuple[Row, list[str]]:
    turns, used = read_prompt(record, PROMPT_NAMES)
    check_prompt(turns)
    name = first_present(record, ANSWER_NAMES) or "answer"
    value = record.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and math.isfinite(value):  # type: ignore[arg-type]
        value = str(value)
    answer = as_text(value, name)
    return Row("answer", tuple(turns), answer=answer), [*used, name, "verifiable"]


CONVERTERS: dict[str, Converter] = {
    "openai": _messages("messages"),
    "sharegpt": _messages("conversations"),
    "alpaca": _alpaca,
    "prompt_completion": _prompt_completion,
    "preference": preference.convert,
    "prompt_answer": _prompt_answer,
}
NAMES = {name for pair in PAIRS for name in pair} | set(PROMPT_NAMES) | set(ANSWER_NAMES)
NAMES |= {"input", "context", "output", "system", "history", "chosen", "rejected", "id"}
