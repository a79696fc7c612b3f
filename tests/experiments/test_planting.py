"""What is planted is what is declared, whatever the order of the rows."""

import random
from pathlib import Path

import pytest

from edited import RATES, edited_pool
from planting import (
    CLEAN,
    COPIES,
    COPY,
    LEAK,
    LEAKS,
    SHUFFLED,
    Planted,
    asked,
    pair,
    plant,
    replaced,
)
from treadle import audit_rows
from treadle.text.words import words


def made_rows(count: int, topic: str) -> list:
    rng = random.Random(topic)
    vocabulary = [topic + "".join(rng.choices("aeiklmnorst", k=5)) for _ in range(300)]

    def text(least: int) -> str:
        return " ".join(rng.choice(vocabulary) for _ in range(rng.randint(least, 40)))

    return [pair(text(6), text(24)) for _ in range(count)]


BASE = {"one": made_rows(260, "a"), "other": made_rows(140, "b")}
HIDDEN = {"sums": made_rows(60, "c")}


def planted(base=BASE, hidden=HIDDEN, **options) -> Planted:
    return plant(base, hidden, homes={"sums": "other"}, rows=200, items=60, **options)


@pytest.fixture(scope="module")
def whole() -> Planted:
    return planted()


def test_every_row_has_one_kind_and_each_kind_its_share(whole: Planted) -> None:
    assert sorted(whole.pool.ids) == sorted(whole.kinds)
    counts = {kind: len(whole.ids(kind)) for kind in (CLEAN, SHUFFLED, COPY, LEAK, "sums")}
    assert counts == {CLEAN: 150, SHUFFLED: 20, COPY: 10, LEAK: 10, "sums": 10}
    assert {whole.ways[key] for key in whole.ids(COPY)} == set(COPIES)
    assert {whole.ways[key] for key in whole.ids(LEAK)} == set(LEAKS)
    assert len(whole.targets["sums"]) == 30
    assert not set(whole.targets["sums"].ids) & set(whole.pool.ids)
    assert not set(whole.items.ids) & set(whole.ids(CLEAN))


def test_a_shuffled_row_has_the_reply_of_another_row_of_its_source(whole: Planted) -> None:
    rows = {row.id: row for row in whole.pool.rows()}
    for key in whole.ids(SHUFFLED):
        group = BASE[whole.sources[key]]
        (own,) = (row for row in group if asked(row) == asked(rows[key]))
        assert rows[key].reply != own.reply
        assert rows[key].reply in {row.reply for row in group}
        assert own.id not in rows


def test_a_copy_repeats_a_clean_row_and_a_leak_holds_an_item(
    whole: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # finished work is kept in `runs/` of the folder one is in
    rows = {row.id: row for row in whole.pool.rows()}
    for copy, source in whole.copies.items():
        assert whole.kinds[source] == CLEAN
        assert rows[copy].text != rows[source].text
    found = audit_rows(whole.pool, against={"items": whole.items})
    leaks = {key for key in whole.ids(LEAK) if whole.ways[key] != LEAKS[4]}
    assert leaks <= set(found["contamination"].rows["id"])
    assert len(whole.ids(LEAK)) - len(leaks) == 2
    one_word = {copy for copy in whole.copies if whole.ways[copy] == COPIES[0]}
    flagged = found["near_duplicates"].rows
    pairs = {*zip(flagged["id"], flagged["other"], strict=True)}
    assert all({(c, whole.copies[c]), (whole.copies[c], c)} & pairs for c in one_word)


def test_the_order_of_the_rows_changes_nothing_and_the_seed_does(whole: Planted) -> None:
    turned = planted(
        {name: rows[::-1] for name, rows in BASE.items()}, {"sums": HIDDEN["sums"][::-1]}
    )
    assert turned.pool.ids == whole.pool.ids
    assert (turned.kinds, turned.copies, turned.ways) == (whole.kinds, whole.copies, whole.ways)
    assert planted(seed=1).pool.ids != whole.pool.ids


def test_a_reply_that_is_right_for_the_next_row_too_is_not_called_shuffled() -> None:
    yes = [pair(asked(row), "Yes." if i % 2 else row.reply) for i, row in enumerate(BASE["one"])]
    found = plant({"one": yes, "other": BASE["other"]}, HIDDEN, homes={}, rows=200, items=60)
    right = {row.id for row in yes}
    assert 0 < len(found.ids(SHUFFLED)) < 20
    assert not right & set(found.ids(SHUFFLED))


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        plant({"one": BASE["one"][:100]}, HIDDEN, homes={}, rows=200)


def test_words_are_replaced_at_the_rate_asked_for_and_white_space_stays() -> None:
    text = "a b\n c  d e f g h i j"
    new = replaced(text, 0.3, ["zzz"], 0)
    assert words(new).count("zzz") == 3
    assert [c for c in new if c.isspace()] == [c for c in text if c.isspace()]
    assert replaced("one", 0.05, ["zzz"], 0) == "zzz"
    assert replaced("", 0.05, ["zzz"], 0) == ""


def test_edited_copies_and_leaks_change_ever_more_words_of_rows_used_once(whole: Planted) -> None:
    made = edited_pool(whole, 0)
    rows = {row.id: row for row in made.pool.rows()}
    assert len(set(made.copies.values())) == len(made.copies)
    for way, rate in RATES.items():
        copies = made.groups["near_duplicate", way]
        assert copies
        for key in copies:
            copy, row = rows[key], rows[made.copies[key]]
            assert asked(copy) == asked(row)
            pairs = zip(copy.reply.split(), row.reply.split(), strict=True)
            changed = sum(one != other for one, other in pairs)
            assert changed <= max(1, round(rate * len(row.reply.split())))
        for key in made.groups["contaminated", way]:
            assert key not in {item.id for item in whole.items.rows()}
