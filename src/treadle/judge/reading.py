"""How a verdict is read: one line with this call's code, or it is unscored.

    [[3fa9c1d2e4b5:A]]

What carries another code, or none, is no verdict. Two verdicts are none: a judge that says everything
has said nothing. A reply is never searched for what it may have meant.

For an expectation the number is read from the judge's log-probabilities: at the token where its own
verdict line has the number, the chance of each number on offer, scaled to sum 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from treadle.judge.rubric import RESERVED, Scale
from treadle.models.endpoint.answers import Answer, Failure

LEAST_MASS = 0.5
"""Where the numbers on offer share less of the judge's probability, it wants to say something else."""
_DECORATION = r"[\s*_`>#.-]*"
_NUMBER = re.compile(r"[+-]?[0-9]{1,6}(?:\.[0-9]{1,6})?")
Logprobs = Sequence[tuple[str, float, dict[str, float]]]


@dataclass(frozen=True, slots=True)
class Said:
    """A word that a judge said, or why there is none."""

    word: str | None
    unscored: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """An expectation over the numbers on offer, with the chance of the likeliest; or why there is none."""

    value: float | None
    confidence: float | None = None
    unscored: str | None = None


def text_of(answer: Answer | Failure) -> Said:
    """Return what was replied, from behind any thinking aloud; a failure is unscored."""
    if isinstance(answer, Failure):
        return Said(None, f"{answer.reason}: {answer.detail}"[:300])
    return Said(answer.text.rpartition("</think>")[2])


def read_word(reply: str, code: str, offered: Sequence[str]) -> Said:
    """Read the one verdict of a reply."""
    found = _marks(reply, code)
    if len(found) != 1:
        return Said(None, _not_one(len(found)))
    word, is_alone = found[0]
    if not is_alone:
        return Said(None, "the verdict does not stand on a line of its own")
    known = {one.casefold(): one for one in offered}
    if word.casefold() not in known:
        return Said(None, f"the verdict {word[:40]!r} is not on offer")
    return Said(known[word.casefold()])


def read_number(reply: str, code: str, scale: Scale) -> tuple[float | None, str | None]:
    """Read the one number of a reply, or say why there is none."""
    found = _marks(reply, code)
    if len(found) != 1:
        return None, _not_one(len(found))
    return _number(*found[0], scale)


def read_dimensions(
    reply: str, code: str, names: Sequence[str], scale: Scale
) -> tuple[dict[str, float], str | None]:
    """Read one number a dimension; all or none."""
    by_name: dict[str, list[tuple[str, bool]]] = {name: [] for name in names}
    for inside, is_alone in _marks(reply, code):
        name, _, word = inside.partition("=")
        if name.strip() not in by_name:
            return {}, f"the dimension {name[:40]!r} is not asked for"
        by_name[name.strip()].append((word.strip(), is_alone))
    parts = {}
    for name, found in by_name.items():
        if len(found) != 1:
            return {}, f"{name}: {_not_one(len(found))}"
        value, problem = _number(*found[0], scale)
        if value is None:
            return {}, f"{name}: {problem}"
        parts[name] = value
    return parts, None


def read_expectation(reply: str, logprobs: Logprobs | None, code: str, scale: Scale) -> Expected:
    """Return the mean of the numbers on offer under the judge's log-probabilities."""
    value, problem = read_number(reply, code, scale)
    if value is None:
        return Expected(None, unscored=problem)
    if not logprobs:
        return Expected(None, unscored="the endpoint gave no log-probabilities")
    masses = _masses(logprobs, code, r"\s*(?=[0-9])", scale.digits, _digit)
    total = sum(masses.values())
    if not total >= LEAST_MASS:
        return Expected(
            None, unscored=f"the numbers on offer hold {total:.2f} of the judge's probability"
        )
    mean = sum(float(digit) * mass for digit, mass in masses.items()) / total
    return Expected(mean, max(masses.values()) / total)


def read_confidence(
    logprobs: Logprobs | None, code: str, word: str, offered: Sequence[str]
) -> float | None:
    """Return the judge's probability of the word that it said; None where it cannot be read."""
    read = partial(_word, offered=offered)
    mass = _masses(logprobs or (), code, r"\s*(?=\w)", offered, read).get(word, 0.0)
    return min(1.0, mass) or None


def _masses(
    logprobs: Logprobs, code: str, before: str, offered: Sequence[str],
    read: Callable[[str], str | None],
) -> dict[str, float]:  # fmt: skip
    """Return the probability of each verdict on offer, at the token where the verdict line has its own."""
    text = "".join(token for token, _, _ in logprobs)
    found = list(re.finditer(re.escape(f"[[{code}:") + before, text))
    if len(found) != 1:
        return {}
    start = 0
    for token, own, others in logprobs:
        if start <= found[0].end() < start + len(token):
            lead = token[: found[0].end() - start]
            masses = dict.fromkeys(offered, 0.0)
            for other, logprob in {**others, token: own}.items():
                said = read(other[len(lead) :]) if other.startswith(lead) else None
                if said in masses and logprob <= 1e-3:
                    masses[said] += math.exp(min(logprob, 0.0))
            return masses
        start += len(token)
    return {}


def _digit(text: str) -> str | None:
    """Return the number that a token begins a verdict with, such as `4` or `4]]`."""
    hit = re.fullmatch(r"\s*([0-9])(?:\][\]\s]*)?", text)
    return hit[1] if hit else None


def _word(text: str, offered: Sequence[str]) -> str | None:
    """Return the word that a token is or begins, such as `A`, `A]]` or the `t` of `tie`."""
    hit = re.fullmatch(r"\s*([\w -]*\w)(\][\]\s]*)?", text)
    if hit is None:
        return None
    part, is_whole = hit[1].casefold(), hit[2] is not None
    fits = [
        word for word in offered
        if word.casefold() == part or (not is_whole and word.casefold().startswith(part))
    ]  # fmt: skip
    return fits[0] if len(fits) == 1 else None


def _marks(reply: str, code: str) -> list[tuple[str, bool]]:
    """Return what stands in each verdict of this code, and whether it stands on its line alone.

    The words that only show the form are no verdicts.
    """
    found = []
    for line in reply.split("\n"):
        for hit in re.finditer(re.escape(f"[[{code}:") + r"([^\[\]]*)\]\]", line):
            if not any(word in hit[1] for word in RESERVED):
                around = line[: hit.start()] + line[hit.end() :]
                found.append((hit[1].strip(), bool(re.fullmatch(_DECORATION, around))))
    return found


def _not_one(count: int) -> str:
    if count == 0:
        return "no verdict with this call's code"
    return f"{count} verdicts where one was asked for"


def _number(word: str, is_alone: bool, scale: Scale) -> tuple[float | None, str | None]:
    if not is_alone:
        return None, "the verdict does not stand on a line of its own"
    if not _NUMBER.fullmatch(word):
        return None, f"the verdict {word[:40]!r} is no number"
    value = float(word)
    if not scale.offers(value):
        return None, f"{value:g} is not on offer: {scale.says}"
    return value, None
