"""The preference layout: a prompt and two replies, of which one is better.

The prompt may be a column of its own, or implicit: two whole conversations, as message lists or as
plain transcripts, whose common first turns are the prompt (as in TRL and in HH-RLHF).
Each branch must then be one reply; conversations that part earlier are malformed, because a row
holds one prompt.
"""

from __future__ import annotations

from collections.abc import Mapping

from treadle.data.formats.prompts import PROMPT_NAMES, prompt_turns, read_prompt, with_system
from treadle.data.formats.turns import (
    MalformedError,
    as_text,
    check_prompt,
    is_transcript,
    parse_transcript,
    parse_turns,
)
from treadle.data.row import Message, Row


def convert(record: Mapping[str, object]) -> tuple[Row, list[str]]:
    """Turn a record with `chosen` and `rejected` into a row; also return the columns used.

    Raises:
        MalformedError: no prompt, or branches that are not one reply each.
    """
    chosen, rejected = _branch(record, "chosen"), _branch(record, "rejected")
    shared = _shared(chosen, rejected)
    good, bad = (_reply(b[len(shared) :]) for b in (chosen, rejected))
    turns, used = _prompt(record, shared)
    check_prompt(turns)
    row = Row("preference", tuple(turns), chosen=good, rejected=bad)
    return row, [*used, "chosen", "rejected"]


def _branch(record: Mapping[str, object], name: str) -> list[Message]:
    value = record.get(name)
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        return parse_turns(value, name, trains=False)
    text = as_text(value, name)
    return parse_transcript(text) if is_transcript(text) else [Message("assistant", text)]


def _shared(chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """The first turns that both branches share; the last turn of each is always a reply."""
    most = min(len(chosen), len(rejected)) - 1
    count = next((i for i in range(most) if chosen[i] != rejected[i]), most)
    return chosen[:count]


def _reply(turns: list[Message]) -> str:
    if len(turns) != 1:
        raise MalformedError(
            "branches_part_early", "chosen and rejected differ before their last turn"
        )
    if turns[0].role != "assistant":
        raise MalformedError(
            "last_turn_not_assistant", f"a branch ends with a {turns[0].role} turn"
        )
    return turns[0].content


def _prompt(record: Mapping[str, object], shared: list[Message]) -> tuple[list[Message], list[str]]:
    """Join the prompt column and the turns that both branches share.

    A prompt that the branches repeat is there once, and its column is used up if they say all of it.
    """
    if not shared:
        return read_prompt(record, PROMPT_NAMES)
    names = [name for name in PROMPT_NAMES if _says_something(record.get(name))]
    if not names and shared[0].role != "assistant":
        return with_system(record, shared, [])
    turns, used = prompt_turns(record, names or PROMPT_NAMES)
    said, heard = _spoken(turns), _spoken(shared)
    is_repeated = said == heard[: len(said)] or (len(said) == 1 and said[0] in heard)
    if heard and heard == said[: len(heard)] and not is_repeated:
        is_repeated, used = True, []  # the column holds more, such as one of the branches
    if is_repeated:
        turns = [turn for turn in turns if turn.role == "system" and turn != shared[0]]
    opening = shared[:1] if shared[0].role == "system" else []
    return with_system(record, [*opening, *turns, *shared[len(opening) :]], used)


def _says_something(value: object) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and bool(value.strip()))


def _spoken(turns: list[Message]) -> list[tuple[str, str]]:
    """What is compared of turns: blanks around a text are not a difference."""
    return [(turn.role, turn.content.strip()) for turn in turns if turn.role != "system"]
