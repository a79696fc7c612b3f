"""The pairs that a judge is examined on: right is right, wrong is wrong, and nothing else tells them apart."""

import random
import re
from collections import Counter

import pytest

from treadle.judge.benchmark import changes, fresh, shells
from treadle.judge.benchmark.task import Draft, is_as_long, is_number, task
from treadle.judge.pairs import Pair


def told(pair: Pair, label: int) -> str:
    return pair.answer_1 if label == 1 else pair.answer_2


@pytest.mark.parametrize("family", fresh.FAMILIES)
def test_the_code_that_accepts_the_right_answer_refuses_every_wrong_one(family: str) -> None:
    rng = random.Random(0)
    for _ in range(200):
        made = task(family, fresh.FAMILIES[family], rng)
        assert made.is_right(made.right)
        assert len({made.right, *made.wrong}) == 4
        for wrong in (*made.wrong, made.neighbour):
            assert not made.is_right(wrong)
        assert all(is_as_long(wrong, made.right) for wrong in made.wrong)


def independent(request: str) -> str | None:
    """Answer some of the requests by reading them: no number of ours is used."""
    if found := re.match(r"Compute \((\d+) \+ (\d+)\) × (\d+) − (\d+) \+ (\d+)\.", request):
        a, b, k, c, d = map(int, found.groups())
        return str((a + b) * k - c + d)
    if found := re.match(r"Sort in ascending order: ([\d, ]+)\.", request):
        return ", ".join(map(str, sorted(map(int, found[1].split(", ")))))
    if found := re.match(r'Write the string "(\w+)" backwards', request):
        return "".join(reversed(found[1]))
    if found := re.match(r"Write the decimal number (\d+) in binary", request):
        return format(int(found[1]), "b")
    if found := re.match(r'How often does the letter "(\w)" come .*?: ([\w ]+)\?', request):
        return str(found[2].count(found[1]))
    if found := re.match(r"It is (\d+):(\d+)\. .*? later\?", request):
        more = re.search(r"(\d+) hours and (\d+) minutes", request)
        assert more is not None
        minutes = (int(found[1]) + int(more[1])) * 60 + int(found[2]) + int(more[2])
        return f"{minutes // 60 % 24:02}:{minutes % 60:02}"
    return None


def test_the_request_alone_gives_the_right_answer() -> None:
    checked = 0
    for one in fresh.draw("verifier", 600, seed=3):
        if (answer := independent(one.task.request)) is not None:
            assert answer == one.task.right, one.task.request
            checked += 1
    assert checked > 250


def test_labels_and_families_are_balanced_and_lengths_are_matched() -> None:
    drawn = fresh.draw("verifier", 600, seed=1)
    pairs = fresh.verifier(drawn)
    assert Counter(pair.label for pair in pairs) == {1: 300, 2: 300}
    families = Counter(one.task.family for one in drawn)
    assert len(families) >= 8
    assert max(families.values()) - min(families.values()) <= 1
    gaps = [len(told(p, p.label or 0)) - len(told(p, 3 - (p.label or 0))) for p in pairs]
    assert sum(map(abs, gaps)) / len(gaps) < 0.5
    assert len({pair.name for pair in pairs}) == 600


def test_another_seed_asks_other_things_and_the_same_seed_the_same() -> None:
    first, second = (fresh.verifier(fresh.draw("verifier", 200, seed)) for seed in (1, 2))
    assert first == fresh.verifier(fresh.draw("verifier", 200, 1))
    assert len({p.request for p in first} & {p.request for p in second}) < 10


def test_a_family_that_refuses_its_own_answer_is_a_bug_that_is_noticed() -> None:
    wrong = Draft("1 + 1?", "3", ("2", "4", "5"), "6", is_number(2))
    with pytest.raises(ValueError, match="fails its own check"):
        task("sum", lambda rng: wrong, random.Random(0))
    never = Draft("1 + 1?", "2", ("2.0", "2"), "6", is_number(2))
    with pytest.raises(ValueError, match="no draft had 3 wrong answers"):
        task("sum", lambda rng: never, random.Random(0))


@pytest.mark.parametrize("name", changes.CHANGES)
def test_a_change_keeps_the_label_the_answers_and_the_place_of_the_right_one(name: str) -> None:
    drawn = fresh.draw("verifier", 60, seed=5)
    differ = 0
    for one, plain, pair in zip(
        drawn, fresh.verifier(drawn), changes.changed(name, drawn, 5), strict=True
    ):
        assert (pair.name, pair.label) == (plain.name, plain.label)
        label = pair.label or 0
        assert one.task.right in told(pair, label)
        assert one.task.wrong[0] in told(pair, 3 - label)
        assert pair.request.startswith(plain.request)
        differ += pair != plain
        if name not in ("typos", "politeness"):
            assert told(pair, label) == told(plain, label)  # what tempts stands with the wrong one
    assert differ == 60


def test_lengths_make_right_and_wrong_answers_longer_equally_often() -> None:
    drawn = fresh.draw("verifier", 100, seed=1)
    longer = [len(told(p, p.label or 0)) > len(told(p, 3 - (p.label or 0))) for p in changes.lengths(drawn)]  # fmt: skip
    assert sum(longer) == 50


def test_shells_are_of_every_kind_and_most_must_be_read() -> None:
    pairs = shells.shells(fresh.draw("shells", 100, seed=1), 1)
    kinds = Counter(pair.name.split(":")[0] for pair in pairs)
    assert kinds == {"empty": 10, "key": 20, "letters": 30, "words": 30, "echo": 10}
    for pair in pairs:
        if pair.name.startswith("empty"):
            assert not told(pair, 3 - (pair.label or 0)).strip()


def test_ties_are_two_right_answers_and_adversarial_ones_shine() -> None:
    drawn = fresh.draw("ties", 60, seed=1)
    for one, pair in zip(drawn, fresh.ties(drawn, 1), strict=True):
        assert pair.label == 0
        assert one.task.right in pair.answer_1
        assert one.task.right in pair.answer_2
        assert len(pair.answer_2) > len(pair.answer_1)
    for one, pair in zip(drawn, fresh.adversarial(drawn, 1), strict=True):
        assert told(pair, pair.label or 0) == one.task.right
        assert len(told(pair, 3 - (pair.label or 0))) > len(one.task.right)


def test_a_group_holds_the_right_answer_against_three_wrong_ones() -> None:
    drawn = fresh.draw("groups", 5, seed=1)
    pairs = fresh.groups(drawn)
    assert len(pairs) == 20
    for pair in pairs:
        assert pair.label == (0 if pair.name.endswith("/1-2") else 1)
        if pair.label == 1:
            one = next(o for o in drawn if pair.name.startswith(f"{o.name}/"))
            assert pair.answer_1 == one.right
