"""Turns: what a raw list of messages says, and whether a model could be trained on it.

Every layout ends in turns, so roles, loss weights and the order of turns are judged here once.

    [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]
    [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4", "weight": 1}]

Only assistant turns may carry loss. Two user turns, or two assistant turns, in a row can be
rendered and are let through; what no chat template can render is malformed. Content must be text:
tool calls, images and lists of parts are malformed, and other keys of a turn are not kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from treadle.data.row import Message
from treadle.errors import DataError

ROLE_NAMES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "chatgpt", "bing", "bard", "model", "bot", "function_call"),
        "assistant",
    ),
    **dict.fromkeys(("tool", "function", "observation"), "tool"),
}
TRANSCRIPT_START = "\n\nHuman:"
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


class MalformedError(DataError):
    """One record cannot become a row: `reason` is a key to count by, the message explains."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def type_name(value: object) -> str:
    """Name a value's type in the words of JSON."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, dict) else type(value).__name__)


def as_text(value: object, where: str) -> str:
    """Return `value` when it is text.

    Raises:
        MalformedError: it is missing or of another type.
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise MalformedError("missing_text", f"{where} is missing")
    raise MalformedError("wrong_type", f"{where} is {type_name(value)}, not text")


def parse_turns(value: object, where: str, *, trains: bool) -> list[Message]:
    """Read a list of messages; assistant turns carry loss if `trains` and their weight allow it.

    Raises:
        MalformedError: not a list of messages, an unknown role, or content that is not text.
    """
    if not isinstance(value, list):
        raise MalformedError("wrong_type", f"{where} is {type_name(value)}, not a list of messages")
    if not value:
        raise MalformedError("empty_conversation", f"{where} is empty")
    return [_turn(turn, where, i, trains) for i, turn in enumerate(value)]


def _turn(turn: object, where: str, i: int, trains: bool) -> Message:
    if not isinstance(turn, dict):
        raise MalformedError("wrong_type", f"{where}[{i}] is {type_name(turn)}, not a message")
    role, content = turn.get("role"), turn.get("content")
    role = turn.get("from") if role is None else role
    content = turn.get("value") if content is None else content
    name = ROLE_NAMES.get(role) if isinstance(role, str) else None
    if name is None:
        shown = "no role" if role is None else f"role {str(role)[:40]!r}"
        raise MalformedError(
            "unknown_role", f"{where}[{i}] has {shown}; known: system, user, assistant, tool"
        )
    if turn.get("tool_calls") or turn.get("function_call"):
        raise MalformedError("not_text", f"{where}[{i}] calls a tool; only text can be trained on")
    text = as_text(content, f"{where}[{i}].content")
    return Message(name, text, trains and name == "assistant" and _carries_loss(turn, where, i))


def _carries_loss(turn: dict[str, object], where: str, i: int) -> bool:
    """Whether `weight` (0 or 1) and `train` (true or false) leave the loss on this turn."""
    for key in ("weight", "train"):
        value = turn.get(key)
        if value is not None and value not in (0, 1):
            raise MalformedError(
                "wrong_type", f"{where}[{i}].{key} must be 0 or 1, got {value!r:.40}"
            )
        if value == 0:
            return False
    return True


def check_prompt(turns: Sequence[Message]) -> None:
    """Check that a chat template can render these turns.

    Raises:
        MalformedError: no user turn opens the conversation, or a system turn is not the first.
    """
    for i, turn in enumerate(turns):
        if turn.role == "system" and i:
            raise MalformedError(
                "system_not_first", f"turn {i + 1} is a system turn; it must be first"
            )
    opening = next((turn.role for turn in turns if turn.role != "system"), None)
    if opening is None:
        raise MalformedError("no_user_turn", "the conversation has no user turn")
    if opening != "user":
        raise MalformedError(
            "user_not_first", f"the conversation starts with {opening}, not with user"
        )


def check_chat(turns: Sequence[Message]) -> None:
    """Check that a chat can be rendered and trained on.

    Raises:
        MalformedError: as `check_prompt`; or the last turn is not the assistant's; or nothing trains.
    """
    check_prompt(turns)
    if turns[-1].role != "assistant":
        raise MalformedError(
            "last_turn_not_assistant", f"the last turn is {turns[-1].role}, not assistant"
        )
    if not any(turn.trains for turn in turns):
        raise MalformedError("nothing_trains", "no assistant turn carries loss")


def is_transcript(text: str) -> bool:
    """Whether text is a conversation in Anthropic's plain form, `\\n\\nHuman: … \\n\\nAssistant: …`."""
    return text.startswith(TRANSCRIPT_START)


def parse_transcript(text: str) -> list[Message]:
    """Split a plain transcript into turns, none of which carries loss."""
    parts = _SPEAKER.split(text)[1:]
    roles = ["user" if speaker == "Human" else "assistant" for speaker in parts[::2]]
    contents = [part.removeprefix(" ") for part in parts[1::2]]
    return [Message(role, content) for role, content in zip(roles, contents, strict=True)]
