"""The licence refuses every bad knob of a scripted judge, and passes the clean one."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from treadle.errors import DataError
from treadle.judge.figures.powers import examine
from treadle.judge.figures.verdicts import UNSCORED, Verdicts, read_verdicts

Rng = np.random.Generator


def pairs(rng: Rng, items: int, right: float, **sway: float) -> Verdicts:
    """Verdicts of a judge that is right on a share of pairs, and swayed on others."""
    label = rng.integers(1, 3, size=items)
    length = rng.integers(50, 150, size=(2, items))
    own = rng.integers(1, 3, size=items)
    base = np.where(rng.random(items) < right, label, 3 - label)
    longer = np.where(length[0] > length[1], 1, 2)
    base = np.where(rng.random(items) < sway.get("longer", 0), longer, base)
    base = np.where(rng.random(items) < sway.get("own", 0), own, base)
    by_place = rng.random(items) < sway.get("primacy", 0)
    names = tuple(map(str, range(items)))
    first, second = np.where(by_place, 1, base), np.where(by_place, 2, base)
    return Verdicts(names, label, first, second, length[0], length[1], own)


def groups(rng: Rng, right: float) -> Verdicts:
    """Groups of the right answer and two wrong ones, which the judge holds for equal."""
    names = [f"{group}/{edge}" for group in range(150) for edge in ("0-1", "0-2", "1-2")]
    label = np.tile([1, 1, 0], 150)
    said = np.where(rng.random(450) < right, label, 3 - label) * (label > 0)
    return Verdicts(tuple(names), label, said, said)


def sets_of(
    seed: int, right: float = 0.97, shells: float = 0.0, flips: float = 0.0, **sway: float
) -> dict[str, Verdicts]:
    rng = np.random.default_rng(seed)
    plain = pairs(rng, 600, right, **sway)

    def again(share: float) -> Verdicts:
        flipped = rng.random(len(plain)) < share
        sides = [np.where(flipped, 3 - side, side) for side in (plain.first, plain.second)]
        return replace(plain, first=sides[0], second=sides[1])

    return {
        "verifier": plain,
        "adversarial": pairs(rng, 300, right, **sway),
        "people": pairs(rng, 600, right, **sway),
        "shells": pairs(rng, 400, 1 - shells),
        "ties": replace(plain, label=0 * plain.label),
        "groups": groups(rng, right),
        "changed:padding": again(flips),
        "again": again(flips / 2),
    }


def test_a_clean_judge_may_gate() -> None:
    """Right on 97% of pairs: at 600 pairs chance alone keeps such a judge from its power in 1 of 20."""
    powers = [examine(sets_of(seed)).power for seed in range(60)]
    assert powers.count("gate") >= 54
    assert set(powers) <= {"gate", "filter"}


BAD = {
    "right": ({"right": 0.68}, "accuracy", "gate"),
    "place": ({"primacy": 0.2}, "position bias", "break_ties"),
    "length": ({"longer": 0.25}, "length gap", "filter"),
    "own": ({"own": 0.2}, "self-preference", "gate"),
    "shells": ({"shells": 0.03}, "shells", "break_ties"),
    "noise": ({"flips": 0.15}, "robustness to padding", "filter"),
}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("knob", BAD)
def test_each_bad_knob_is_refused_by_its_bar(knob: str, seed: int) -> None:
    sway, bar, power = BAD[knob]
    report = examine(sets_of(seed, **sway))  # type: ignore[arg-type]
    assert bar in [one.bar.name for one in report.standing_in_the_way(power)]  # type: ignore[arg-type]
    assert report.power != "gate"


def test_what_was_not_measured_is_not_passed() -> None:
    for missing in sets_of(0):
        sets = sets_of(0)
        del sets[missing]
        assert examine(sets).power != "gate"
    assert examine({}).power == "nothing"


def test_a_judge_that_answers_nothing_has_no_power() -> None:
    silent = {
        name: replace(v, first=np.full(len(v), UNSCORED), second=np.full(len(v), UNSCORED))
        for name, v in sets_of(0).items()
    }
    assert examine(silent).power == "nothing"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pair": ["a"], "label": [1], "first": [1]}, "no column second"),
        (
            {"pair": ["a", "a"], "label": [1, 1], "first": [1, 1], "second": [1, 1]},
            "more than once",
        ),
        ({"pair": ["a"], "label": [1], "first": [3], "second": [1]}, "'a' has first 3"),
        ({"pair": ["a"], "label": [None], "first": [1], "second": [1]}, "without a name or label"),
        ({"pair": ["a"], "label": ["x"], "first": [1], "second": [1]}, "verdicts.jsonl"),
    ],
)
def test_a_file_of_verdicts_with_a_mistake_is_refused(
    columns: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_verdicts(pl.DataFrame(columns), where="verdicts.jsonl")
