"""What a selection drops, against what a random choice would drop."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import polars as pl
import pytest

from treadle.data.shift import shift
from treadle.data.traits import IDENTITIES, fifths, is_usable, text_traits, value_traits


def line(found: dict[str, object], trait: str) -> dict[str, object]:
    lines = found["lines"]
    assert isinstance(lines, list)
    return next(one for one in lines if one["trait"] == trait)


def test_the_range_is_that_of_every_possible_choice() -> None:
    flags = np.array([True] * 4 + [False] * 6)
    counts = [sum(i < 4 for i in c) for c in itertools.combinations(range(10), 5)]
    assert sum(n == 0 for n in counts) / comb(10, 5) == pytest.approx(1 / 42)
    found = line(shift({"g": {"t": flags}}, np.arange(10) < 5), "t")
    assert (found["low"], found["high"]) == (min(counts), max(counts))
    assert found["kept"] == 4
    assert found["verdict"] == "as random", "4 of 4 happens once in 42"


def test_a_random_choice_raises_no_alarm_and_a_biased_one_does() -> None:
    rng = np.random.default_rng(0)
    traits = {f"t{i}": rng.random(2000) < 0.02 * (i + 1) for i in range(25)}
    alarms = 0
    for seed in range(40):
        kept = np.zeros(2000, dtype=bool)
        kept[np.random.default_rng(seed).permutation(2000)[:400]] = True
        lines = shift({"g": traits}, kept)["lines"]
        assert isinstance(lines, list)
        alarms += sum(one["verdict"] != "as random" for one in lines)
    assert alarms <= 6, "1,000 lines at 99.9%"
    kept = ~traits["t9"] & (rng.random(2000) < 0.25)
    found = shift({"g": traits}, kept)
    assert line(found, "t9")["verdict"] == "vanished"
    kept |= traits["t3"]
    assert line(shift({"g": traits}, kept), "t3")["verdict"] == "more"


def test_a_small_group_that_is_gone_by_chance_has_not_vanished() -> None:
    flags = np.zeros(100, dtype=bool)
    flags[:2] = True
    kept = np.zeros(100, dtype=bool)
    kept[50:80] = True
    assert line(shift({"g": {"t": flags}}, kept), "t")["verdict"] == "as random"


def test_nothing_and_everything_kept() -> None:
    flags = np.array([True, False, True])
    assert line(shift({"g": {"t": flags}}, np.ones(3, bool)), "t")["verdict"] == "as random"
    assert line(shift({"g": {"t": flags}}, np.zeros(3, bool)), "t")["verdict"] == "as random"
    assert shift({"g": {"t": np.zeros(0, bool)}}, np.zeros(0, bool))["lines"] == []


@pytest.mark.parametrize(
    ("text", "format_"),
    [
        ("Try this:\n```python\nprint(1)\n```", "code"),
        ("def f(x):\n    return x", "code"),
        ("First:\n- one\n- two", "list"),
        ("1. Boil water\n2. Add tea", "list"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "table"),
        ('{"a": 1}', "json"),
        ("So 3 + 4 = 7.", "mathematics"),
        ("See https://example.org", "link"),
        ("From there we went home; I will return soon.", "plain text"),
        ("", "plain text"),
    ],
)
def test_formats(text: str, format_: str) -> None:
    found = text_traits([text])["format"]
    assert format_ in [name for name, flags in found.items() if flags[0]]


def test_mentions_are_whole_words() -> None:
    found = text_traits(["Old women in Mexico", "gold, manifold, straightforward"])["mentions"]
    assert [name for name, flags in found.items() if flags[0]] == ["gender", "age"]
    assert not any(flags[1] for flags in found.values())
    assert set(found) == set(IDENTITIES)


def test_values_and_fifths() -> None:
    values = value_traits(pl.Series("source", ["a", "b", None, "a", "c"]), most=2)
    assert values["a"].tolist() == [True, False, False, True, False]
    assert sum(flags.astype(int) for flags in values.values()).tolist() == [1] * 5
    parts = fifths(pl.Series([1, 2, None, 3, 4]), ["short", "long"])
    assert parts["short"].tolist() == [True, True, False, False, False]
    assert parts["long"].tolist() == [False, False, False, True, True]
    assert fifths(pl.Series([None, None], dtype=pl.Int64), ["short", "long"]) == {}
    assert not is_usable(value_traits(pl.Series("x", ["a", "a"])))
