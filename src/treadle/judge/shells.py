"""Answers that are none, told by a plain rule and never by a judge.

"Thought process:" alone, a colon, or nothing at all make strong judges say "correct" in up to 80% of
cases (arXiv:2507.08794). So what holds no letter, digit or symbol, or only announces an answer, is
decided before anybody is asked: it loses against a real answer, ties with another shell, and scores
the least that a rubric gives.

A rule can be wrong: where the right answer is the word "Solution" or a full stop, it is still a
shell here. Gibberish is no shell: whether it answers anything is for the judge to say.
"""

from __future__ import annotations

import re
import unicodedata

_OPENERS = (
    "thought process", "thinking process", "thought", "thoughts", "reasoning", "reasoning process",
    "analysis", "explanation", "solution", "solution steps", "answer", "the answer", "the answer is",
    "final answer", "the final answer", "the final answer is", "my answer", "my answer is",
    "response", "result", "conclusion", "step 1", "step one", "step by step", "first",
    "let s solve this", "let s solve this problem", "let us solve this", "let us solve this problem",
    "let me solve this", "let me solve this problem", "let s think", "let us think", "let me think",
    "let s begin", "let s start", "let s break it down", "let s break this down",
    "i will solve this", "i will solve this problem", "to solve this", "to solve this problem",
    "here is the answer", "here is my answer", "here is the solution", "here is my solution",
    "here s the answer", "here s the solution", "here is the response",
    "解", "解答", "答案", "思考过程", "かいせつ", "解説", "respuesta", "solución", "lösung", "antwort",
    "réponse", "solution détaillée", "решение", "ответ",
)  # fmt: skip
# No opener is made of others, so a text is read in one way only, in time that grows with its length.
_ONLY_OPENERS = re.compile(f"(?:(?:{'|'.join(_OPENERS)}) )+")
LONGEST = 400
"""No shell is longer, punctuation aside; so a long answer is not searched."""


def shell(text: str) -> str | None:
    """Return what kind of shell a text is: `empty`, `punctuation`, `opener`; None if it is none."""
    if not text.strip():
        return "empty"
    words = "".join(_folded(text)).split()
    if not words:
        return "punctuation" if any(_is_mark(c) for c in text) else "empty"
    line = " ".join(words)
    if len(line) <= LONGEST and _ONLY_OPENERS.fullmatch(f"{line} "):
        return "opener"
    return None


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "P"


def _folded(text: str) -> list[str]:
    """Return letters, digits and symbols in one case and width, everything else as a space."""
    wide = unicodedata.normalize("NFKC", text).casefold()
    return [c if unicodedata.category(c)[0] in "LMNS" else " " for c in wide]
