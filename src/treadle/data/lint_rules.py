"""Every check of the lint: how bad it is, what it means, and what to do about it.

    name: (level, "12 of 300 rows …", "What to do.")

A `bad_row` cannot be trained on, or teaches something wrong. Up to 5% of them are a warning, as the
other rows still train; beyond that share they are an error. Report and command line show the checks
in this order.
"""

from __future__ import annotations

from typing import Literal

from treadle.data.lint_text import SAME_REPLY_PROMPTS

Level = Literal["error", "bad_row", "warning", "info"]

MAX_BAD_SHARE = 0.05

RULES: dict[str, tuple[Level, str, str]] = {
    "no_rows": ("error", "the pool has no rows", "Check the path and the layout of the data."),
    "template_fails": (
        "bad_row", "cannot be rendered by the chat template",
        "Mend the order of their turns, or choose a template that allows it.",
    ),
    "cannot_encode": (
        "bad_row", "cannot be encoded by the tokenizer", "Remove or repair their text.",
    ),
    "mask_impossible": (
        "bad_row", "are rewritten by the template when later turns are added, so no mask is right",
        "Train on their last turn only, or change the template.",
    ),
    "no_trained_stop": (
        "bad_row", "train a reply whose stop token carries no loss: the model may never stop",
        "If the template is at fault, let it end each reply with a stop token; if rows are cut off, "
        "raise max_tokens.",
    ),
    "nothing_trains": (
        "bad_row", "have no token that carries loss", "Give them a reply that trains, or drop them.",
    ),
    "reply_lost": (
        "bad_row", "are so long that their whole reply is cut off",
        "Raise max_tokens, shorten their prompts, or drop them.",
    ),
    "reply_cut": (
        "warning", "are so long that the end of their reply is cut off",
        "Raise max_tokens, or drop them: they teach the model not to finish.",
    ),
    "truncated": (
        "info", "are longer than max_tokens", "See reply_cut and reply_lost for what that costs.",
    ),
    "empty_reply": ("bad_row", "have an empty reply", "Drop them: they teach silence."),
    "system_not_first": (
        "warning", "have a system turn after the start", "Move it to the front, or make it a user turn.",
    ),
    "assistant_first": (
        "warning", "begin with an assistant turn",
        "Drop that turn or put a user turn before it: its header would carry loss.",
    ),
    "assistant_twice": (
        "warning", "have two assistant turns in a row", "Join them into one, or restore the user turn.",
    ),
    "last_turn_not_assistant": (
        "warning", "do not end with an assistant turn", "Cut the turns after the last reply.",
    ),
    "control_tokens_in_text": (
        "warning", "hold control tokens in their text (broken by a zero-width space when rendered)",
        "Remove them: most are left over from another template, some are attacks.",
    ),
    "leftover_stop_string": (
        "bad_row", "end a reply with a stop string", "Strip it: the template adds the right one.",
    ),
    "replacement_characters": (
        "warning", "hold U+FFFD, where a character was lost", "Decode the source again, or drop them.",
    ),
    "mojibake": (
        "warning", "hold UTF-8 that was read as Windows-1252 (such as Ã©)", "Decode the source again.",
    ),
    "lone_carriage_return": (
        "warning", "hold a carriage return without a line feed", "Replace it with a line feed.",
    ),
    "invisible_characters": (
        "warning", "hold invisible, bidirectional or control characters",
        "Remove them: people cannot see what the model learns.",
    ),
    "byte_order_mark": (
        "warning", "hold a byte-order mark", "Remove it; read the source as utf-8-sig.",
    ),
    "same_reply_many_prompts": (
        "warning", f"give a reply that at least {SAME_REPLY_PROMPTS} different prompts get",
        "Keep a few of each: refusals and boilerplate crowd out the rest.",
    ),
    "reply_repeats_prompt": (
        "warning", "begin their reply by repeating the prompt", "Strip the prompt from the reply.",
    ),
    "chosen_equals_rejected": (
        "warning", "prefer a reply to itself", "Drop them: they carry no preference.",
    ),
    "pad_is_stop": (
        "info", "the pad token is the stop token",
        "Nothing to do here: masks go by position, so the stop token still trains.",
    ),
}  # fmt: skip
