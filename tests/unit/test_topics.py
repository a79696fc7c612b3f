"""Topics by direction, named by their words; and who stands for the dropped rows."""

from __future__ import annotations

import numpy as np

from treadle.geometry.cosine import directions
from treadle.geometry.topics import nearest_kept, topic_traits

THEMES = ("whale ocean harpoon", "enzyme protein molecule", "violin sonata orchestra")


def planted(rows: int) -> tuple[np.ndarray, list[str], np.ndarray]:
    rng = np.random.default_rng(3)
    theme = rng.integers(3, size=rows)
    points = np.eye(3, 8)[theme] + rng.normal(0, 0.1, (rows, 8))
    texts = [f"tell about this please {' '.join(rng.choice(THEMES[t].split(), 2))}" for t in theme]
    return points, texts, theme


def test_planted_themes_are_found_and_named_by_their_words() -> None:
    points, texts, theme = planted(80)
    positions = np.arange(80) + 5
    found = topic_traits(
        directions(points), positions, ["other"] * 5 + texts, np.random.default_rng(0)
    )
    assert len(found) == 3
    for name, flags in found.items():
        inside = theme[np.flatnonzero(flags) - 5]
        assert len(set(inside.tolist())) == 1
        assert set(name.split(", ")) == set(THEMES[inside[0]].split())
    assert np.sum([*found.values()], axis=0).tolist() == [0] * 5 + [1] * 80


def test_too_few_rows_have_no_topics() -> None:
    points, texts, _ = planted(40)
    assert topic_traits(directions(points), np.arange(40), texts, np.random.default_rng(0)) == {}


def test_the_nearest_kept_row_is_the_one_of_the_obvious_loop() -> None:
    points, _, _ = planted(60)
    kept = np.arange(60) % 7 == 0
    nearest, cosine = nearest_kept(directions(points), kept)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    near = np.where(kept, unit @ unit.T, -2.0)
    assert nearest.tolist() == near.argmax(axis=1).tolist()
    np.testing.assert_allclose(cosine, near.max(axis=1), atol=1e-6)
    assert (nearest[kept] == np.flatnonzero(kept)).all()
