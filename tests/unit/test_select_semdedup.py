"""SemDeDup against the published formula on whole clusters, and its clusters on their own."""

import numpy as np
import pytest
from numpy.typing import NDArray

from treadle.context import Context
from treadle.data.selection import Budget
from treadle.geometry.clusters import spherical_k_means
from treadle.geometry.cosine import directions
from treadle.select.semdedup import semdedup
from vectors import clustered, cosine, exact_cosine, frame, places

EVERY = Budget("rows", 10_000)


def labels_and_nearness(
    points: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = Context(seed=5).rng("select.semdedup")
    found = spherical_k_means(directions(points), count, rng)
    return found.labels, found.nearness


def published(cos: NDArray[np.float64], members: list[int], eps: float) -> list[int]:
    """The upper triangle of the cosine matrix of a sorted cluster, and its column maxima."""
    inside = np.triu(cos[np.ix_(members, members)], k=1)
    inside[np.tril_indices(len(members))] = -2.0
    return [i for i, nearest in zip(members, inside.max(axis=0), strict=True) if nearest <= 1 - eps]


def far_from_kept(cos: NDArray[np.float64], members: list[int], eps: float) -> list[int]:
    kept: list[int] = []
    for i in members:
        if all(cos[i, j] <= 1 - eps for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("count", [1, 7, 40])
@pytest.mark.parametrize("prefer", ["hard", "easy"])
@pytest.mark.parametrize(("against", "rule"), [("earlier", published), ("kept", far_from_kept)])
def test_given_the_clusters_it_keeps_the_rows_of_the_formula(
    count: int, prefer: str, against: str, rule: object
) -> None:
    points = clustered(1500)
    labels, nearness = labels_and_nearness(points, count)
    cos, sign = exact_cosine(points), 1 if prefer == "hard" else -1
    kept: list[int] = []
    for cluster in range(count):
        members = np.flatnonzero(labels == cluster).tolist()
        members.sort(key=lambda i: (sign * nearness[i], i))
        kept += rule(cos, members, 0.05)  # type: ignore[operator]
    choose = semdedup(against=against, prefer=prefer, clusters=count)
    rows = frame(points)
    found = choose(rows, EVERY, Context(seed=5))
    assert 0 < len(kept) < 1500
    assert places(rows, found.ids) == sorted(kept, key=lambda i: (sign * nearness[i], i))
    assert set(found.left["reason"]) == {"near_copy"}
    few = choose(rows, Budget("rows", 9), Context(seed=5))
    assert few.ids == found.ids[:9]


def test_the_published_rule_drops_the_end_of_a_chain_and_the_other_keeps_it() -> None:
    degrees = np.radians([0, 17, 34])  # neighbours are at 0.956, the ends at 0.829
    points = np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)
    rows = frame(np.concatenate([points, [[-1.0, -3.0]]]).astype(np.float32))
    chain = semdedup(clusters=1)(rows, EVERY, Context())
    kept = semdedup(clusters=1, against="kept")(rows, EVERY, Context())
    assert len(chain.ids) == 2
    assert len(kept.ids) == 3
    assert "000001" not in kept.ids


def test_without_near_copies_all_rows_are_kept_the_unusual_first() -> None:
    points = np.random.default_rng(0).normal(size=(200, 30)).astype(np.float32)
    rows = frame(points)
    hard = semdedup(clusters=1)(rows, EVERY, Context()).ids
    easy = semdedup(clusters=1, prefer="easy")(rows, EVERY, Context()).ids
    assert len(hard) == 200
    assert hard == easy[::-1]
    mean = (points / np.linalg.norm(points, axis=1, keepdims=True)).sum(axis=0)
    assert places(rows, hard)[0] == int((cosine(np.vstack([points, mean]))[:-1, -1]).argmin())


def test_copies_and_scaled_copies_leave_one_each() -> None:
    points = clustered(60, width=20, centres=60)
    rows = frame(np.concatenate([points, points, 4 * points]))
    for against in ("earlier", "kept"):
        found = semdedup(eps=0.000001, against=against)(rows, EVERY, Context())
        assert sorted(places(rows, found.ids)) == list(range(60))


def test_clusters_find_separate_groups_and_leave_no_row_nearer_to_another_centroid() -> None:
    rng = np.random.default_rng(3)
    group = rng.integers(6, size=900)
    points = (np.eye(6, 12)[group] + 0.05 * rng.normal(size=(900, 12))).astype(np.float32)
    labels, _ = labels_and_nearness(points, 40)
    for cluster in np.unique(labels):
        assert len(np.unique(group[labels == cluster])) == 1
    noise = rng.normal(size=(900, 12)).astype(np.float32)
    labels, nearness = labels_and_nearness(noise, 10)
    unit = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    means = np.stack([unit[labels == c].mean(axis=0) for c in range(10)])
    near = unit @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    assert (near.argmax(axis=1) == labels).mean() > 0.9  # at a fixed point it would be all
    assert nearness.mean() > 1.3 * cosine(noise)[:10].mean(axis=1).max()


def test_clusters_know_nothing_of_the_number_of_blocks_or_of_missing_rows() -> None:
    grid = directions(clustered(30))
    rng = np.random.default_rng
    assert spherical_k_means(grid[:0], 3, rng(0)).labels.tolist() == []
    more = spherical_k_means(grid, 99, rng(0))
    assert len(np.unique(more.labels)) == 30
    assert more.nearness == pytest.approx(1, abs=1e-6)
