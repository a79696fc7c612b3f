"""Plans of batches against brute force: every sequence once, shared prefixes real, cuts cheapest."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from treadle.models import batching
from treadle.models.protocol import Scorable


@st.composite
def sequences(draw: st.DrawFn) -> list[Scorable]:
    """Sequences that begin alike in one of three ways, some of them altogether equal."""
    starts = [[7] * 12, [7] * 9 + [1] * 6, [2] * 20]
    found = []
    for _ in range(draw(st.integers(1, 30))):
        ids = draw(st.sampled_from(starts)) + draw(st.lists(st.integers(0, 2), max_size=12))
        first = draw(st.integers(0, len(ids) - 1))
        found.append(Scorable(np.array(ids, dtype=np.int32), np.arange(len(ids)) >= first))
    return found


def key(sequence: Scorable) -> tuple[bytes, bytes]:
    return sequence.ids.tobytes(), sequence.wanted.tobytes()


@given(sequences(), st.randoms())
def test_unique_forgets_the_order_and_finds_every_sequence_again(given_, random) -> None:
    distinct, places = batching.unique(given_)
    assert [key(distinct[place]) for place in places] == [key(s) for s in given_]
    mixed = list(given_)
    random.shuffle(mixed)
    assert [key(s) for s in batching.unique(mixed)[0]] == [key(s) for s in distinct]


@given(sequences(), st.integers(1, 400))
def test_a_plan_holds_every_sequence_once_and_shares_only_what_is_shared(given_, budget) -> None:
    distinct, _ = batching.unique(given_)
    plan = batching.plan(distinct, budget=budget, shares=True)
    assert sorted(i for batch in plan for i in batch.members) == list(range(len(distinct)))
    for batch in plan:
        heads = {distinct[i].ids[: batch.shared].tobytes() for i in batch.members}
        assert len(heads) == 1
        for i in batch.members:
            wanted = np.flatnonzero(distinct[i].wanted[1:]) + 1
            assert batch.shared < len(distinct[i].ids)
            assert not len(wanted) or batch.shared < wanted[0], "its prediction lies outside"
        longest = max(len(distinct[i].ids) for i in batch.members) - batch.shared
        assert longest * len(batch.members) <= budget or len(batch.members) == 1
    apart = batching.plan(distinct, budget=budget, shares=False)
    assert {batch.shared for batch in apart} == {0}


@given(sequences())
def test_each_shared_prefix_is_the_one_that_saves_most_of_what_is_left(given_) -> None:
    limits = [batching._prefix_limit(s) for s in given_]
    left = set(range(len(given_)))
    for members, shared in batching._families(given_, shares=True):
        best = 0
        for i in left:
            for depth in range(1, limits[i] + 1):
                head = given_[i].ids[:depth]
                alike = [j for j in left if limits[j] >= depth
                         and np.array_equal(given_[j].ids[:depth], head)]  # fmt: skip
                best = max(best, depth * (len(alike) - 1))
        assert shared * (len(members) - 1) == best or (
            shared == 0 and best < max(batching.LEAST_SAVED_TOKENS, 30 * batching.SHORTEST_PREFIX)
        )
        left -= set(members)
    assert not left


@given(st.lists(st.integers(1, 90), max_size=9), st.integers(1, 300))
def test_the_cuts_are_the_cheapest_within_the_budget(lengths, budget) -> None:
    lengths = sorted(lengths)
    found = batching.cuts(lengths, budget)
    assert [i for a, b in found for i in range(a, b)] == list(range(len(lengths)))

    def cost(slices) -> float:
        total = 0.0
        for a, b in slices:
            padded = lengths[b - 1] * (b - a)
            if padded > budget and b - a > 1:
                return float("inf")
            total += padded + batching.BATCH_PRICE
        return total

    inner = range(1, len(lengths))
    options = [
        list(zip([0, *marks], [*marks, len(lengths)], strict=True))
        for size in range(len(lengths))
        for marks in combinations(inner, size)
    ]
    assert cost(found) == min((cost(option) for option in options), default=0.0)
