"""The rule: what is enough to accept a selection, what rolls it back, and what is too weak for either.

A selection is accepted only if it beats every control and the model before training, each with a
one-sided test at level alpha. All tests must succeed, so alpha needs no splitting (an
intersection-union test): the chance to accept a selection that is not better than any one of them
stays at alpha, however many controls there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from treadle.data.verdict import Decision
from treadle.gate.pairs import Pair

RANDOM = "random"
FEWEST_SEEDS = 3
MOST_UNSCORED = 0.1

Doubt = Literal["one_seed", "one_source", "unscored", "few_seeds"]


def doubts(pairs: Iterable[Pair]) -> list[Doubt]:
    """Return why these comparisons say less than their p-values do, the gravest first.

    one_seed: luck of training cannot be told from a difference. one_source: items that succeed and
    fail together were counted as if each stood alone. unscored: what has no score may be what one
    of the arms fails at. few_seeds: the test holds its level, but no claim is made without three
    random selections beside it; it prevents acceptance only.
    """
    found: set[Doubt] = set()
    for pair in pairs:
        one = pair.comparison
        seeds = min(one.seeds, pair.other_seeds) if one.against == RANDOM else one.seeds
        if one.seeds == 1:
            found.add("one_seed")
        elif seeds < FEWEST_SEEDS:
            found.add("few_seeds")
        if one.clusters == 1:
            found.add("one_source")
        if pair.unscored > MOST_UNSCORED * pair.items:
            found.add("unscored")
    order: tuple[Doubt, ...] = ("one_seed", "one_source", "unscored", "few_seeds")
    return [doubt for doubt in order if doubt in found]


def rivals(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs that decide."""
    return [pair for pair in pairs if pair.comparison.role != "reference"]


def lost(pairs: Iterable[Pair], alpha: float) -> list[Pair]:
    """Return the guards (the model before training, the random control) that were found better."""
    return [
        pair
        for pair in rivals(pairs)
        if pair.comparison.role == "incumbent" or pair.comparison.against == RANDOM
        if pair.comparison.p_worse <= alpha
    ]


def condemning(pairs: Iterable[Pair], alpha: float) -> list[Pair]:
    """Return the lost guards whose comparison is strong enough to roll back."""
    return [pair for pair in lost(pairs, alpha) if set(doubts([pair])) <= {"few_seeds"}]


def decide(pairs: Sequence[Pair], alpha: float) -> Decision:
    """Apply the rule (see `paired`)."""
    if condemning(pairs, alpha):
        return "roll_back"
    deciding = rivals(pairs)
    is_better = all(pair.comparison.p_better <= alpha for pair in deciding)
    return "accept" if is_better and not doubts(deciding) else "hold"
