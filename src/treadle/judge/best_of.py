"""The best of several answers to one request: by scores, or by pairs in a knock-out.

    best_by_scores(judge, [Group("a", "2+2?", ("4", "5", "22", ""))])      # [Best((0,))]
    best_by_pairs(judge, groups)                                           # n - 1 pairs a group

Scores cost one call an answer and tie often on coarse scales: all that are best are returned, for
whoever chooses one of them chooses without the judge. In a knock-out answers meet in an order that is
drawn from the group's content, and where a pair ties, or cannot be read, a draw decides who goes on:
`coins` counts how often, so that a best answer owed to coins can be told from one that won.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from treadle.judge.asking import refuse_twins
from treadle.judge.pairs import Compares, Item, Pair, Scores, nothing, unseen
from treadle.models.endpoint.answers import Progress


@dataclass(frozen=True, slots=True)
class Group:
    """Answers to one request. `name` is unique among the groups that are judged together."""

    name: str
    request: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Best:
    """Which answers are best, by place; none where no answer could be scored."""

    places: tuple[int, ...]
    coins: int = 0


def best_by_scores(
    judge: Scores,
    groups: Sequence[Group],
    *,
    sample: int = 0,
    tick: Callable[[], None] = nothing,
    on_progress: Callable[[Progress], None] = unseen,
) -> list[Best]:
    """Return the answers with the highest score; what is unscored is not among them."""
    refuse_twins([group.name for group in groups], "group")
    items = [
        Item(f"{group.name}\n{place}", group.request, answer)
        for group in groups
        for place, answer in enumerate(group.answers)
    ]
    scores = iter(judge.score(items, sample=sample, tick=tick, on_progress=on_progress))
    found = []
    for group in groups:
        values = {place: next(scores).value for place in range(len(group.answers))}
        known = {place: value for place, value in values.items() if value is not None}
        top = max(known.values(), default=0.0)
        found.append(Best(tuple(place for place, value in known.items() if value == top)))
    return found


def best_by_pairs(
    judge: Compares,
    groups: Sequence[Group],
    *,
    sample: int = 0,
    tick: Callable[[], None] = nothing,
    on_progress: Callable[[Progress], None] = unseen,
) -> list[Best]:
    """Let the answers of each group meet in pairs until one is left; all groups at once, round by round."""
    refuse_twins([group.name for group in groups], "group")
    left = [_drawn(group) for group in groups]
    coins = [0] * len(groups)
    number = 0
    while any(len(places) > 1 for places in left):
        number += 1
        meetings = [
            (g, one, other)
            for g, places in enumerate(left)
            for one, other in zip(places[::2], places[1::2], strict=False)
        ]
        pairs = [
            Pair(f"{groups[g].name}\n{number}\n{one}-{other}", groups[g].request,
                 groups[g].answers[one], groups[g].answers[other])
            for g, one, other in meetings
        ]  # fmt: skip
        settled = judge.compare(pairs, sample=sample, tick=tick, on_progress=on_progress).settled
        won: list[list[int]] = [[] for _ in groups]
        for (g, one, other), verdict in zip(meetings, settled.tolist(), strict=True):
            coins[g] += verdict not in (1, 2)
            # The order was drawn, so who stands first there is a coin already.
            won[g].append(other if verdict == 2 else one)
        left = [
            winners + (places[-1:] if len(places) % 2 else [])
            for winners, places in zip(won, left, strict=True)
        ]
    return [Best(tuple(places), coin) for places, coin in zip(left, coins, strict=True)]


def _drawn(group: Group) -> list[int]:
    """Return the places in an order that follows from the answers, not from how they were listed."""

    def draw(place: int) -> str:
        text = json.dumps(
            [group.request, group.answers[place], group.answers[:place].count(group.answers[place])]
        )
        return hashlib.sha256(text.encode()).hexdigest()

    return sorted(range(len(group.answers)), key=draw)
