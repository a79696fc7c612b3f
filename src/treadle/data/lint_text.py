"""Lint checks that need no tokenizer: what is wrong with the text and the order of the turns?

Each check answers with the ids of the rows that it concerns; severities and advice live in `lint`.
Everything is a column expression, so a hundred thousand rows take seconds.

Characters that carry meaning in ordinary text (the joiners U+200C and U+200D, used by emoji, Persian
and Indian scripts) are not reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

SAME_REPLY_PROMPTS = 5  # as many different prompts with one reply are worth a look
SENTENCE_WORDS = 4  # shorter replies are labels ("yes", "positive"), which repeat by nature

STOP_STRINGS = (
    "<|endoftext|>", "</s>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>",
    "<end_of_turn>", "<eos>", "<EOS>", "[EOS]", "<|eos|>", "<|return|>", "<｜end▁of▁sentence｜>",
)  # fmt: skip

# UTF-8 read as Windows-1252: the lead bytes C2/C3, E2 80 and F0 9F turn into these pairs.
_CP1252_TAIL = "\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
CHARACTERS = {
    "replacement_characters": "\ufffd",
    "mojibake": f"[ÂÃ][{_CP1252_TAIL}]|â€[{_CP1252_TAIL}]|ðŸ[{_CP1252_TAIL}]",
    "lone_carriage_return": r"\r(?:[^\n]|\z)",
    "invisible_characters": (
        "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\u00ad\u061c\u180e\u200b\u200e\u200f"
        "\u202a-\u202e\u2060-\u2064\u2066-\u2069\U000e0000-\U000e007f]"
    ),
    "byte_order_mark": "\ufeff",
}


@dataclass(frozen=True, slots=True)
class Hits:
    """The rows that a check concerns, and what was seen how often (such as token → rows)."""

    ids: tuple[str, ...] = ()
    seen: Mapping[str, int] = field(default_factory=dict)


def find_in_text(frame: pl.DataFrame, control_tokens: Sequence[str]) -> dict[str, Hits]:
    """Run every text check over a frame of rows (`row.SCHEMA`); one entry a check, hits or not."""
    turns = _turns(frame)
    talk = turns.filter(pl.col("part") != "rejected")
    replies = turns.filter(pl.col("trains") | (pl.col("part") == "rejected"))
    found = {"empty_reply": _rows(replies, pl.col("content").str.strip_chars() == "")}
    found |= _role_order(talk)
    found["control_tokens_in_text"] = _tokens_in(turns, control_tokens)
    found["leftover_stop_string"] = _stops_left(replies, control_tokens)
    for name, pattern in CHARACTERS.items():
        found[name] = _rows(turns, pl.col("content").str.contains(pattern))
    pairs = _pairs(talk)
    found["same_reply_many_prompts"] = _same_reply(pairs)
    found["reply_repeats_prompt"] = _repeats_prompt(pairs)
    found["chosen_equals_rejected"] = _rows(
        frame, pl.col("chosen").str.strip_chars() == pl.col("rejected").str.strip_chars()
    )
    return found


def _turns(frame: pl.DataFrame) -> pl.DataFrame:
    """Return one row a turn: id, place, part, role, content, trains. Order: id, place."""
    said = (
        frame.select("id", pl.col("messages"))
        .explode("messages")
        .drop_nulls("messages")
        .unnest("messages")
        .with_columns(place=pl.int_range(pl.len()).over("id"), part=pl.lit("messages"))
    )
    answers = [
        frame.filter(pl.col(part).is_not_null()).select(
            "id",
            role=pl.lit("assistant"),
            content=pl.col(part),
            trains=pl.lit(part != "rejected"),
            place=pl.lit(1 << 40, dtype=pl.Int64),
            part=pl.lit(part),
        )
        for part in ("chosen", "answer", "rejected")
    ]
    return pl.concat([said, *answers]).sort("id", "place", "part")


def _rows(frame: pl.DataFrame, condition: pl.Expr) -> Hits:
    ids = frame.filter(condition)["id"].unique().sort().to_list()
    return Hits(tuple(ids))


def _role_order(talk: pl.DataFrame) -> dict[str, Hits]:
    place = pl.int_range(pl.len()).over("id")
    is_last = place == pl.len().over("id") - 1
    before = pl.col("role").shift(1).over("id")
    role = pl.col("role")
    return {
        "system_not_first": _rows(talk, (role == "system") & (place > 0)),
        "assistant_first": _rows(talk, (role == "assistant") & (place == 0)),
        "assistant_twice": _rows(talk, (role == "assistant") & (before == "assistant")),
        "last_turn_not_assistant": _rows(talk, is_last & (role != "assistant")),
    }


def _tokens_in(turns: pl.DataFrame, control_tokens: Sequence[str]) -> Hits:
    """Find control tokens anywhere in row text, and in how many rows each occurs."""
    marks = [token for token in control_tokens if token]
    if not marks:
        return Hits()
    hit = turns.filter(pl.col("content").str.contains_any(marks))
    if hit.is_empty():
        return Hits()
    said = hit.select("id", seen=pl.col("content").str.extract_many(marks, overlapping=True))
    return _counted(said.explode("seen"))


def _stops_left(replies: pl.DataFrame, control_tokens: Sequence[str]) -> Hits:
    """Find stop strings that another tokenizer left at the end of replies."""
    stops = sorted({*STOP_STRINGS, *(t for t in control_tokens if t)}, key=len, reverse=True)
    pattern = "(" + "|".join(re.escape(stop) for stop in stops) + r")\s*\z"
    seen = pl.col("content").str.extract(pattern, 1)
    return _counted(replies.select("id", seen=seen).drop_nulls("seen"))


def _counted(said: pl.DataFrame) -> Hits:
    pairs = said.unique(["id", "seen"])
    table = pairs.group_by("seen").len().sort(pl.col("len"), "seen", descending=[True, False])
    ids = pairs["id"].unique().sort().to_list()
    return Hits(tuple(ids), dict(zip(table["seen"], table["len"], strict=True)))


def _pairs(talk: pl.DataFrame) -> pl.DataFrame:
    """Return id, prompt (the last user turn) and reply (the last that trains), normalised."""
    text = pl.col("content").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    user = talk.filter(pl.col("role") == "user").group_by("id", maintain_order=True).last()
    reply = talk.filter(pl.col("trains")).group_by("id", maintain_order=True).last()
    return (
        user.select("id", prompt=text)
        .join(reply.select("id", reply=text), on="id", how="inner")
        .sort("id")
    )


def _is_sentence(name: str) -> pl.Expr:
    return pl.col(name).str.count_matches(" ") >= SENTENCE_WORDS - 1


def _same_reply(pairs: pl.DataFrame) -> Hits:
    prompts = pl.col("prompt").n_unique().over("reply")
    hit = pairs.filter(_is_sentence("reply")).filter(prompts >= SAME_REPLY_PROMPTS)
    short = pl.col("reply").str.slice(0, 80)
    return _counted(hit.select("id", seen=short)) if hit.height else Hits()


def _repeats_prompt(pairs: pl.DataFrame) -> Hits:
    opens = pl.col("reply").str.starts_with(pl.col("prompt"))
    return _rows(pairs, _is_sentence("prompt") & opens)
