"""What was said of a pair, and what needs no judge to say it.

A plain rule comes before every judge: an answer that is none (`shells`) loses against one that is, two
such answers tie, and so do two answers that read the same. What is too long to be shown is unscored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from treadle.judge import asking
from treadle.judge.fence import shown
from treadle.judge.figures.verdicts import Verdicts
from treadle.judge.pairs import Item, Pair, Score, as_verdicts
from treadle.judge.shells import shell


@dataclass(frozen=True, slots=True)
class Ruling:
    """What was said of a pair in one order: 1, 2 or 0 for a tie; or why there is none.

    `rule` names the plain rule that decided, where nobody was asked. `confidence` is the judge's own
    probability of what it said, where the rubric asks for it.
    """

    verdict: int | None
    unscored: str | None = None
    rule: str | None = None
    confidence: float | None = None

    @property
    def swapped(self) -> Ruling:
        """The same, of a pair whose answers change places."""
        if self.verdict is None:
            return self
        return replace(self, verdict=(0, 2, 1)[self.verdict])


@dataclass(frozen=True, slots=True)
class Rulings:
    """Both orders of a pair."""

    first: Ruling
    second: Ruling


def by_rule(pair: Pair) -> Rulings | None:
    """Decide what needs no judge: texts that are too long, answers that are none, equal answers."""
    if problem := asking.too_long(pair.request, pair.answer_1, pair.answer_2):
        return Rulings(Ruling(None, problem), Ruling(None, problem))
    shells = (shell(pair.answer_1), shell(pair.answer_2))
    if shells[0] and shells[1]:
        ruling = Ruling(0, rule=f"{shells[0]}, {shells[1]}")
    elif shells[0]:
        ruling = Ruling(2, rule=shells[0])
    elif shells[1]:
        ruling = Ruling(1, rule=shells[1])
    elif shown(pair.answer_1).strip() == shown(pair.answer_2).strip():
        ruling = Ruling(0, rule="equal")
    else:
        return None
    return Rulings(ruling, ruling)


def compare_by_scores(
    pairs: Sequence[Pair],
    score: Callable[[list[Item]], list[Score]],
    *,
    of_requests: bool = False,
) -> Verdicts:
    """Let the answer with the higher score win; equal scores tie.

    Each answer is seen alone, so there is no order, and both verdicts of a pair are the same.
    `of_requests`: the two texts of a pair are requests, and are scored as such.
    """
    asking.refuse_twins([pair.name for pair in pairs], "pair")
    decided = [by_rule(pair) for pair in pairs]
    items = [
        Item(f"{pair.name}\n{number}", *((answer, "") if of_requests else (pair.request, answer)))
        for pair, ruling in zip(pairs, decided, strict=True)
        if ruling is None
        for number, answer in ((1, pair.answer_1), (2, pair.answer_2))
    ]
    scores = score(items)
    left = (_higher(*two) for two in zip(scores[::2], scores[1::2], strict=True))
    said = [next(left) if ruling is None else ruling.first.verdict for ruling in decided]
    return as_verdicts(pairs, [(one, one) for one in said])


def _higher(one: Score, other: Score) -> int | None:
    if one.value is None or other.value is None:
        return None
    return 0 if one.value == other.value else 1 if one.value > other.value else 2
