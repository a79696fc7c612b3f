"""Chat templates and loss masks: which tokens does a row become, and which of them carry loss?

    <|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n
                                                            ^^^^^^^^^^^  loss: reply and stop token

Masks go by position, never by token id: in many models the pad token is the stop token.
Everything that trains, scores or lints goes through `tokenise`, so all see the same tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from treadle.data.row import Message, Row
from treadle.errors import DataError

ZERO_WIDTH = "\u200b"


@dataclass(frozen=True, slots=True)
class Encoding:
    """Token ids of one text and the character at which each token starts."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int32]


class Tokenizer(Protocol):
    """What treadle asks of a model's tokenizer."""

    @property
    def stop_ids(self) -> frozenset[int]: ...
    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Texts that the template gives a meaning, such as `<|im_end|>`."""
        ...

    def render(self, turns: Sequence[Message], *, open_reply: bool) -> str:
        """Render turns with the chat template; `open_reply` adds the header of a reply."""
        ...

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Encode rendered texts; control tokens in them are honoured, none is added."""
        ...

    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """A row as a model sees it.

    `trains` marks the tokens that carry loss (their prediction is scored). `reply_from` is the
    position of the first token of the last reply; `header` holds the ids that open a reply, so
    that `header + ids[reply_from:][trains]` is the reply without its instruction.
    """

    ids: NDArray[np.int32]
    trains: NDArray[np.bool_]
    reply_from: int
    header: NDArray[np.int32]
    is_truncated: bool
    has_stop: bool

    @property
    def reply(self) -> NDArray[np.int32]:
        """Ids of the last reply, its stop token included."""
        tail = self.ids[self.reply_from :]
        return tail[self.trains[self.reply_from :]]


def neutralise(text: str, control_tokens: Sequence[str]) -> str:
    """Break control tokens in row text with a zero-width space: text must not end its own turn."""
    if not any(token in text for token in control_tokens):
        return text
    pattern = "|".join(re.escape(token) for token in sorted(control_tokens, key=len, reverse=True))
    return re.sub(pattern, lambda hit: hit[0][0] + ZERO_WIDTH + hit[0][1:], text)


def safe_turns(turns: Sequence[Message], tokenizer: Tokenizer) -> list[Message]:
    """Return the turns with control tokens in their text neutralised."""
    marks = tokenizer.control_tokens
    return [Message(m.role, neutralise(m.content, marks), m.trains) for m in turns]


def tokenise(rows: Sequence[Row], tokenizer: Tokenizer, *, max_tokens: int) -> list[Tokens]:
    """Render, encode and mask rows. Tokens beyond `max_tokens` are cut off at the right.

    Raises:
        DataError: the template rewrites earlier turns, so that no mask can be right.
    """
    rendered = [_render(row, tokenizer) for row in rows]
    encodings = tokenizer.encode([text for text, _, _ in rendered])
    headers = tokenizer.encode([header for _, _, header in rendered])
    stops = np.array(sorted(tokenizer.stop_ids), dtype=np.int32)
    return [
        _mask(encoding, spans, header.ids, stops, max_tokens)
        for (_, spans, _), encoding, header in zip(rendered, encodings, headers, strict=True)
    ]


def _render(row: Row, tokenizer: Tokenizer) -> tuple[str, list[tuple[int, int]], str]:
    """Return the text, the character spans of the trained turns, and the reply header."""
    turns = safe_turns(row.conversation, tokenizer)
    text = tokenizer.render(turns, open_reply=False)
    spans, header = [], ""
    for i, turn in enumerate(turns):
        if not turn.trains:
            continue
        before = tokenizer.render(turns[:i], open_reply=False) if i else ""
        opened = tokenizer.render(turns[:i], open_reply=True) if i else ""
        closed = text if i == len(turns) - 1 else tokenizer.render(turns[: i + 1], open_reply=False)
        if not (closed.startswith(opened) and text.startswith(closed)):
            raise DataError(
                f"row {row.id}: the chat template changes earlier turns when later ones are added, "
                "so no loss mask can be right. Train on single-turn rows or change the template."
            )
        spans.append((len(opened), len(closed)))
        header = opened[len(before) :] if opened.startswith(before) else ""
    return text, spans, header


def _mask(
    encoding: Encoding,
    spans: Sequence[tuple[int, int]],
    header: NDArray[np.int32],
    stops: NDArray[np.int32],
    max_tokens: int,
) -> Tokens:
    ids, starts = encoding.ids, encoding.starts
    trains = np.zeros(len(ids), dtype=np.bool_)
    reply_from, has_stop = len(ids), bool(spans)
    for begin, end in spans:
        inside = np.flatnonzero((starts >= begin) & (starts < end))
        ends = inside[np.isin(ids[inside], stops)]
        has_stop = has_stop and len(ends) > 0
        if len(ends):
            inside = inside[inside <= ends[-1]]
        trains[inside] = True
        reply_from = int(inside[0]) if len(inside) else len(ids)
    is_truncated = len(ids) > max_tokens
    if is_truncated:
        ids, trains = ids[:max_tokens], trains[:max_tokens]
        has_stop = has_stop and not trains[-1:].any()
    return Tokens(ids, trains, min(reply_from, len(ids)), header, is_truncated, has_stop)
