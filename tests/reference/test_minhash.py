"""MinHash against exact set arithmetic, the formulas of banding, and datasketch."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from datasketch import MinHash
from datasketch.lsh import _optimal_param
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from treadle.text.minhash import (
    Banding,
    Entries,
    band_hashes,
    bucket_pairs,
    overlap,
    plan,
    set_hashes,
    shared,
    signatures,
)
from treadle.text.words import Ragged, mix, sorted_sets

K = 128


def sets_of(groups: list[set[int]]) -> Ragged:
    """The sets of small numbers, spread over all 64 bits as shingles are."""
    owners = [i for i, group in enumerate(groups) for _ in group]
    values = [value for group in groups for value in sorted(group)]
    hashes = mix(np.array(values, np.uint64) + np.uint64(1))
    return sorted_sets(np.array(owners, np.int64), hashes, len(groups))


def couples(count: int, shared: int, alone: int) -> list[set[int]]:
    """`count` pairs of sets, next to each other, that share `shared` and own `alone` values each."""
    fresh = itertools.count()
    groups = []
    for _ in range(count):
        both = [next(fresh) for _ in range(shared)]
        for _ in range(2):
            groups.append({*both, *(next(fresh) for _ in range(alone))})
    return groups


def agreement(signed: NDArray[np.uint32]) -> NDArray[np.float64]:
    rates: NDArray[np.float64] = (signed[0::2] == signed[1::2]).mean(axis=1)
    return rates


def datasketch_agreement(groups: list[set[int]]) -> NDArray[np.float64]:
    hashes = [MinHash(num_perm=K) for _ in groups]
    for one, group in zip(hashes, groups, strict=True):
        one.update_batch([str(value).encode() for value in sorted(group)])
    return np.array([a.jaccard(b) for a, b in zip(hashes[0::2], hashes[1::2], strict=True)])


@pytest.mark.parametrize(("shared", "alone"), [(10, 45), (30, 20), (60, 15), (80, 10), (95, 2)])
def test_estimates_are_as_near_the_exact_jaccard_as_datasketch_and_the_binomial_allow(
    shared: int, alone: int
) -> None:
    exact = shared / (shared + 2 * alone)
    groups = couples(120, shared, alone)
    spread = math.sqrt(exact * (1 - exact) / K)
    for rates in (agreement(signatures(sets_of(groups), K)), datasketch_agreement(groups)):
        assert np.abs(rates - exact).max() < 4.5 * spread + 1 / K
        assert abs(rates.mean() - exact) < 3.5 * spread / math.sqrt(len(rates))
        assert 0.75 < rates.std() / spread < 1.25


@pytest.mark.parametrize("permutations", [128, 240])
@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9])
def test_without_a_recall_to_reach_the_bands_are_those_of_datasketch_and_text_dedup(
    threshold: float, permutations: int
) -> None:
    found = plan(threshold, permutations, recall=0)
    assert (found.bands, found.rows) == _optimal_param(threshold, permutations, 0.5, 0.5)


@pytest.mark.parametrize("threshold", [0.05, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_bands_reach_the_recall_that_they_are_chosen_for(threshold: float) -> None:
    found = plan(threshold, K)
    assert found.used <= K
    assert found.recall(threshold) == 1 - (1 - threshold**found.rows) ** found.bands
    assert found.recall(threshold) >= 0.99


def test_where_no_banding_reaches_the_recall_the_best_one_is_taken() -> None:
    assert plan(0.01, 16) == Banding(bands=16, rows=1)


@pytest.mark.parametrize(("shared", "alone"), [(33, 33), (50, 25), (60, 15), (80, 10), (90, 5)])
def test_the_share_of_pairs_that_meet_in_a_band_is_the_analytic_one(
    shared: int, alone: int
) -> None:
    banding = plan(0.8, K)
    expected = banding.recall(shared / (shared + 2 * alone))
    keys = band_hashes(signatures(sets_of(couples(2_000, shared, alone)), banding.used), banding)
    met = (keys[0::2] == keys[1::2]).any(axis=1).mean()
    # The values of a signature are not perfectly independent, so a little more than sampling error.
    assert abs(met - expected) < 4 * math.sqrt(expected * (1 - expected) / 2_000) + 0.002


def test_equal_values_in_different_bands_do_not_meet() -> None:
    signed = np.full((1, 12), 7, dtype=np.uint32)
    assert len(set(band_hashes(signed, Banding(4, 3))[0].tolist())) == 4


def test_signatures_of_a_set_do_not_depend_on_its_neighbours_or_on_chunks() -> None:
    rng = np.random.default_rng(0)
    groups = [set(rng.integers(0, 10**9, size).tolist()) for size in (0, 1, 40_000, 0, 3, 70_000)]
    together = signatures(sets_of(groups), 16)
    for i, group in enumerate(groups):
        assert (signatures(sets_of([group]), 16)[0] == together[i]).all()


def test_a_signature_is_the_least_hash_under_each_permutation() -> None:
    values = sets_of([{1, 2, 3}]).values.tolist()
    for i in range(8):
        factor = int(mix(np.array([2 * i + 1], np.uint64))[0]) | 1
        offset = int(mix(np.array([2 * i + 2], np.uint64))[0])
        least = min((factor * x + offset) % 2**64 for x in values) >> 32
        assert int(signatures(sets_of([{1, 2, 3}]), 8)[0, i]) == least


groups_of_numbers = st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=12)


@given(groups_of_numbers, st.data())
def test_overlap_is_the_exact_intersection_and_union(
    groups: list[set[int]], data: st.DataObject
) -> None:
    place = st.integers(0, len(groups) - 1)
    pairs = data.draw(st.lists(st.tuples(place, place), min_size=1))
    left, right = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    shared, union = overlap(sets_of(groups), left, right)
    assert shared.tolist() == [len(groups[a] & groups[b]) for a, b in pairs]
    assert union.tolist() == [len(groups[a] | groups[b]) for a, b in pairs]


def test_overlap_counts_the_largest_hash_and_sets_of_very_different_size() -> None:
    top = np.iinfo(np.uint64).max
    values = np.concatenate([np.array([5, top], np.uint64), np.arange(70_000, dtype=np.uint64)])
    sets = Ragged(values, np.array([0, 1, 2, 70_002]))
    left, right = np.array([0, 1, 1, 0]), np.array([1, 1, 2, 2])
    shared, union = overlap(sets, left, right)
    assert shared.tolist() == [0, 1, 0, 1]
    assert union.tolist() == [2, 1, 70_001, 70_000]


@given(groups_of_numbers)
def test_sets_have_equal_hashes_only_if_they_are_equal(groups: list[set[int]]) -> None:
    hashes = set_hashes(sets_of(groups)).tolist()
    for (a, one), (b, other) in itertools.combinations(enumerate(groups), 2):
        assert (hashes[a] == hashes[b]) == (one == other)


def entries_of(rows: list[tuple[int, int, int]]) -> Entries:
    """Entries of (bucket, item, twin); `second` depends on the twin alone, as in real use."""
    buckets, items, twins = zip(*rows, strict=True) if rows else ((), (), ())
    seeds = np.array(twins, np.uint64)
    return Entries(np.array(buckets, np.uint64), np.array(items, np.int64), seeds, mix(seeds))


def naive_pairs(rows: list[tuple[int, int, int]]) -> set[tuple[int, int]]:
    """Within a bucket: all pairs of earliest twins, and each later twin with the earliest."""
    found = set()
    for bucket in {row[0] for row in rows}:
        first: dict[int, int] = {}
        for _, item, twin in sorted((b, i, t) for b, i, t in rows if b == bucket):
            if twin in first:
                found.add((first[twin], item))
            else:
                found |= {(other, item) for other in first.values()}
                first[twin] = item
    return found


@settings(max_examples=200)
@given(st.sets(st.tuples(st.integers(0, 4), st.integers(0, 25)), max_size=60), st.integers(1, 26))
def test_uncrowded_buckets_give_all_pairs_of_different_sets(
    places: set[tuple[int, int]], kinds: int
) -> None:
    rows = [(bucket, item, item % kinds) for bucket, item in sorted(places)]
    found = bucket_pairs(entries_of(rows), leaders=30)
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == naive_pairs(rows)
    assert found.capped_buckets == 0
    assert found.left_out == 0


@given(st.integers(1, 60), st.integers(1, 10))
def test_a_crowded_bucket_compares_with_its_leaders_and_counts_the_rest(
    size: int, leaders: int
) -> None:
    found = bucket_pairs(entries_of([(9, item, item) for item in range(size)]), leaders)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert pairs == {(a, b) for b in range(size) for a in range(min(b, leaders))}
    assert found.left_out == size * (size - 1) // 2 - len(pairs)
    assert found.capped_buckets == (1 if size > leaders + 1 else 0)


def test_rows_beyond_the_leaders_are_compared_where_the_second_hash_agrees() -> None:
    size, leaders = 20, 3
    items = np.arange(size)
    second = np.where(np.isin(items, [10, 15, 19]), 1, 100 + items).astype(np.uint64)
    entries = Entries(np.zeros(size, np.uint64), items, mix(items.astype(np.uint64)), second)
    found = bucket_pairs(entries, leaders)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    led = {(a, b) for b in range(size) for a in range(min(b, leaders))}
    assert pairs - led == {(10, 15), (10, 19), (15, 19)}
    assert found.left_out == 190 - len(pairs)


def test_many_rows_in_the_same_buckets_cost_memory_for_distinct_pairs_only() -> None:
    size, buckets, leaders = 5_000, 18, 64
    items = np.tile(np.arange(size), buckets)
    places = np.repeat(np.arange(buckets, dtype=np.uint64), size)
    entries = Entries(places, items, mix(items.astype(np.uint64)), np.zeros(len(items), np.uint64))
    tracemalloc.start()
    found = bucket_pairs(entries, leaders)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.first) == sum(min(item, 2 * leaders) for item in range(size))
    assert peak < 100 * (len(items) + len(found.first))


def test_ten_thousand_equal_sets_in_thirty_buckets_make_one_pair_each() -> None:
    rows = [(bucket, item, 1) for bucket in range(30) for item in range(10_000)]
    found = bucket_pairs(entries_of(rows), leaders=64)
    assert found.first.tolist() == [0] * 9_999
    assert found.second.tolist() == list(range(1, 10_000))


@pytest.mark.parametrize("total", [0, 1, 2, 1_000])
def test_entries_that_share_their_bucket_are_found(total: int) -> None:
    buckets = np.random.default_rng(0).integers(0, 700, total).astype(np.uint64)
    found = shared(buckets)
    assert found.tolist() == [buckets.tolist().count(bucket) > 1 for bucket in buckets.tolist()]
