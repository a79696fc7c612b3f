"""Several answers to one request, compared pair by pair: transitivity, and the best of four.

A pair of such a set is named `group/a-b`, where `a` and `b` number the answers that it calls 1 and 2;
answer 0 is the right one.

    sort:17/0-1     label 1     the right answer against a wrong one
    sort:17/1-2     label 0     two wrong ones
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations

import numpy as np

from treadle.judge.figures.proportions import Figure, share
from treadle.judge.figures.verdicts import UNSCORED, Verdicts

Edges = dict[tuple[int, int], int]
"""For answers (a, b): 1 where a was found better, -1 where b was, 0 for a tie."""


def group_name(group: str, one: int, other: int) -> str:
    """The name of a pair of a group."""
    return f"{group}/{one}-{other}"


def intransitivity(verdicts: Verdicts) -> Figure:
    """The share of triples in which a beats b, b beats c, and c beats a.

    A tie contradicts nothing: it may mean "equal" or "too close to tell", and these do not add up.
    Triples with an unscored verdict are left out.
    """
    found = []
    for edges in _edges(verdicts).values():
        answers = sorted({answer for pair in edges for answer in pair})
        for triple in combinations(answers, 3):
            if all((a, b) in edges for a, b in combinations(triple, 2)):
                found.append(_is_circular(edges, triple))
    return share(np.array(found, dtype=bool))


def best_of_accuracy(verdicts: Verdicts) -> Figure:
    """The share of groups whose right answer beats every other one, in both orders. Chance among four: 0.25.

    An unscored verdict is no win.
    """
    found = []
    for edges in _edges(verdicts, keeps_unscored=True).values():
        rivals = {b if a == 0 else a for a, b in edges if 0 in (a, b)}
        found.append(bool(rivals) and all(edges[0, rival] == 1 for rival in rivals))
    return share(np.array(found, dtype=bool))


def _edges(verdicts: Verdicts, *, keeps_unscored: bool = False) -> Mapping[str, Edges]:
    sides = {1: 1, 2: -1}
    groups: dict[str, Edges] = defaultdict(dict)
    for name, said in zip(verdicts.pair, verdicts.settled.tolist(), strict=True):
        group, _, ends = name.rpartition("/")
        one, _, other = ends.partition("-")
        if said == UNSCORED and not keeps_unscored:
            continue
        side = sides.get(said, 0)
        groups[group][int(one), int(other)] = side
        groups[group][int(other), int(one)] = -side
    return groups


def _is_circular(edges: Edges, triple: tuple[int, int, int]) -> bool:
    a, b, c = triple
    return abs(edges[a, b] + edges[b, c] + edges[c, a]) == 3
