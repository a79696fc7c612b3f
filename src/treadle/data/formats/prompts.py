"""The prompt half of a record: text, a list of messages or a transcript, under many names.

Shared by the layouts that keep the prompt apart from the answer (Alpaca, prompt/completion,
preference, verifiable answer). No turn of a prompt carries loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from treadle.data.formats.turns import (
    MalformedError,
    as_text,
    is_transcript,
    parse_transcript,
    parse_turns,
)
from treadle.data.row import Message

PROMPT_NAMES = (
    *("prompt", "question", "query", "problem"),
    *("messages", "conversations", "instruction"),
)
SYSTEM_NAMES = ("system", "system_prompt")


def first_present(record: Mapping[str, object], names: Sequence[str]) -> str | None:
    """Return the first of the names that the record has a value for."""
    for name in names:
        if record.get(name) is not None:
            return name
    return None


def read_prompt(
    record: Mapping[str, object], names: Sequence[str]
) -> tuple[list[Message], list[str]]:
    """Return the prompt under the first of `names` that has a value, and the columns used.

    The record's own system prompt comes before it.

    Raises:
        MalformedError: none of them has a value, or it is neither text nor messages.
    """
    return with_system(record, *prompt_turns(record, names))


def prompt_turns(
    record: Mapping[str, object], names: Sequence[str]
) -> tuple[list[Message], list[str]]:
    """Return what `read_prompt` does, without the record's own system prompt."""
    name = first_present(record, names)
    if name is None:
        raise MalformedError("missing_text", f"{names[0]} is missing")
    if name == "instruction":
        return _instruction(record)
    if isinstance(record[name], list):
        return parse_turns(record[name], name, trains=False), [name]
    return _plain_prompt(as_text(record[name], name)), [name]


def with_system(
    record: Mapping[str, object], turns: list[Message], used: list[str]
) -> tuple[list[Message], list[str]]:
    """Put the record's own system prompt in front, unless the turns already have one."""
    name = first_present(record, SYSTEM_NAMES)
    value = record.get(name) if name else None
    if name is None or not isinstance(value, str) or turns[0].role == "system":
        return turns, used
    return ([Message("system", value), *turns] if value else turns), [*used, name]


def _instruction(record: Mapping[str, object]) -> tuple[list[Message], list[str]]:
    """Alpaca's instruction, and its input (Dolly calls it context) after an empty line."""
    text = as_text(record["instruction"], "instruction")
    name = first_present(record, ("input", "context"))
    if name is None:
        return [Message("user", text)], ["instruction"]
    given = as_text(record[name], name)
    joined = f"{text}\n\n{given}" if given.strip() else text
    return [Message("user", joined)], ["instruction", name]


def _plain_prompt(text: str) -> list[Message]:
    if not is_transcript(text):
        return [Message("user", text)]
    turns = parse_transcript(text)
    if turns[-1] == Message("assistant", ""):  # the header that waits for the reply
        turns.pop()
    return turns
