"""Records: how a row is written in a layout, and which rows a layout can hold.

The inverse of `layouts`. A layout may be used only when it says everything: each record is read
back and must give the row it came from, so a chat whose middle turn carries no loss is refused by
Alpaca (whose readers train on every reply) instead of quietly changing what is trained on.

| layout | holds | read unchanged by |
|---|---|---|
| `openai` | chats; `weight: 0` marks replies without loss | TRL, LLaMA-Factory (both ignore `weight`) |
| `sharegpt` | chats; the same | LLaMA-Factory, TRL |
| `alpaca` | chats of user and assistant in turn, all replies trained | LLaMA-Factory |
| `prompt_completion` | chats whose last turn alone is trained | TRL, which then trains on it alone |
| `preference` | preference rows | TRL |
| `prompt_answer` | rows with a verifiable answer (column `ground_truth`) | TRL (GRPO) |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from treadle.data.formats.layouts import convert
from treadle.data.formats.turns import MalformedError
from treadle.data.row import Message, Row
from treadle.errors import DataError, RecipeError, nearest

FITTING = {"chat": "openai", "preference": "preference", "answer": "prompt_answer"}
_SHAREGPT_ROLES = {
    "system": "system",
    "user": "human",
    "assistant": "gpt",
    "tool": "observation",
}


@dataclass(frozen=True, slots=True)
class Form:
    """A layout, and whether its replies state their weight (all of them, or none of them).

    One shape for every record of a file: Arrow readers take a column's type from the first ones.
    """

    layout: str
    weighs: bool


def form_for(rows: Sequence[Row], layout: str | None, *, weighs: bool) -> Form:
    """Choose the form; without a layout, the one that fits the rows' kind.

    Raises:
        DataError: rows of several kinds need several files.
        RecipeError: the layout is unknown.
    """
    if layout is not None:
        if layout not in _ENCODERS:
            raise RecipeError(f"layout: {layout!r} is unknown.{nearest(layout, _ENCODERS)}")
        return Form(layout, weighs)
    kinds = sorted({row.kind for row in rows})
    if len(kinds) > 1:
        raise DataError(
            f"rows of several kinds ({', '.join(kinds)}) need a file each: no layout holds them all."
        )
    return Form(FITTING[kinds[0]] if kinds else "openai", weighs)


def has_silent_reply(row: Row) -> bool:
    """Whether some assistant turn of a chat carries no loss."""
    return row.kind == "chat" and any(m.role == "assistant" and not m.trains for m in row.messages)


def encode(row: Row, form: Form) -> dict[str, object]:
    """Return the row as a record of the layout.

    Raises:
        DataError: the layout cannot hold this row; the message says why.
    """
    why = f"it is a {row.kind} row"
    if row.kind == _KINDS[form.layout]:
        record = _ENCODERS[form.layout](row, form.weighs)
        try:
            if record is not None and convert(record, form.layout) == row:
                return record
            why = _REASONS.get(form.layout, "it would be read back as another row")
        except MalformedError as error:
            why = str(error)
    raise DataError(
        f"row {row.id}: layout {form.layout!r} cannot hold it: {why}. "
        f"Write these rows with layout {FITTING[row.kind]!r}."
    )


def _openai_turn(turn: Message, weighs: bool) -> dict[str, object]:
    record: dict[str, object] = {"role": turn.role, "content": turn.content}
    if weighs and turn.role == "assistant":
        record["weight"] = int(turn.trains)
    return record


def _openai(row: Row, weighs: bool) -> dict[str, object]:
    return {"messages": [_openai_turn(turn, weighs) for turn in row.messages]}


def _sharegpt(row: Row, weighs: bool) -> dict[str, object]:
    turns = []
    for message in row.messages:
        turn = _openai_turn(message, weighs)
        named = {"from": _SHAREGPT_ROLES[message.role], "value": message.content}
        turns.append(named | {key: turn[key] for key in ("weight",) if key in turn})
    return {"conversations": turns}


def _alpaca(row: Row, weighs: bool) -> dict[str, object] | None:
    turns = list(row.messages)
    system = turns.pop(0).content if turns and turns[0].role == "system" else ""
    if (
        not turns
        or len(turns) % 2
        or [t.role for t in turns] != ["user", "assistant"] * (len(turns) // 2)
    ):
        return None
    texts = [turn.content for turn in turns]
    pairs = [list(pair) for pair in zip(texts[::2], texts[1::2], strict=True)]
    ask, reply = pairs.pop()
    return {
        "instruction": ask,
        "input": "",
        "output": reply,
        "system": system,
        "history": pairs,
    }


def _prompt_completion(row: Row, weighs: bool) -> dict[str, object]:
    turns = [_openai_turn(turn, False) for turn in row.messages]
    return {"prompt": turns[:-1], "completion": turns[-1:]}


def _preference(row: Row, weighs: bool) -> dict[str, object]:
    return {
        "prompt": [_openai_turn(turn, False) for turn in row.messages],
        "chosen": [{"role": "assistant", "content": row.chosen}],
        "rejected": [{"role": "assistant", "content": row.rejected}],
    }


def _prompt_answer(row: Row, weighs: bool) -> dict[str, object]:
    prompt = [_openai_turn(turn, False) for turn in row.messages]
    return {"prompt": prompt, "ground_truth": row.answer}


_ENCODERS: dict[str, Callable[[Row, bool], dict[str, object] | None]] = {
    "openai": _openai,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt_completion": _prompt_completion,
    "preference": _preference,
    "prompt_answer": _prompt_answer,
}
_KINDS = dict.fromkeys(_ENCODERS, "chat") | {
    "preference": "preference",
    "prompt_answer": "answer",
}
_REASONS = {
    "alpaca": "Alpaca holds user and assistant in turn, with loss on every reply",
    "prompt_completion": "prompt_completion holds chats whose last turn alone carries loss",
}
