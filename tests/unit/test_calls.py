"""The call book: nothing over the limit, nothing lost, nothing forgotten."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from treadle.errors import BudgetError, StoreError
from treadle.machinery.calls import (
    COLUMNS,
    MIGRATIONS,
    CallBook,
    Limits,
    Outcome,
    Price,
    Request,
)
from treadle.machinery.disk import Disk
from treadle.machinery.sealed_tables import SealedTables

ASK = Request("k1", "http://127.0.0.1:1", "m", "{}")
WORST = Price(100, 5_000)


def test_a_reply_is_found_again_by_another_session_and_after_reopening(tmp_path: Path) -> None:
    book = CallBook(tmp_path / "calls.sqlite")
    session = book.session("run-a")
    number = session.reserve(ASK, WORST).result()
    assert book.replies("k1") == []
    session.settle(number, WORST, Outcome(Price(7, 350), 0.1, 200, None, b"\xff\x00 raw")).result()
    book.close()
    again = CallBook(tmp_path / "calls.sqlite")
    assert again.replies("k1") == [b"\xff\x00 raw"]
    assert again.known(["k0", "k1"]) == {"k1": [b"\xff\x00 raw"]}
    assert again.spent("run-a").nano_usd == 350
    assert again.spent("run-b").requests == 0
    again.close()


def test_an_open_try_counts_at_its_worst_case_for_ever(tmp_path: Path) -> None:
    book = CallBook(tmp_path / "calls.sqlite")
    book.session("run").reserve(ASK, WORST).result()
    book.close()
    again = CallBook(tmp_path / "calls.sqlite")
    assert again.session("run").spent == again.spent("run")
    assert again.spent("run").nano_usd == 5_000
    assert again.costs()[0]["open"] == 1
    again.close()


def test_only_replies_with_status_200_are_given_back(tmp_path: Path) -> None:
    book = CallBook(tmp_path / "calls.sqlite")
    session = book.session("run")
    for status, body in ((500, b"no"), (None, None), (200, b"yes"), (200, b"later")):
        number = session.reserve(ASK, WORST).result()
        session.settle(number, WORST, Outcome(Price(0, 0), 0.0, status, None, body)).result()
    assert book.replies("k1") == [b"yes", b"later"]
    book.close()


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [(Limits(usd=0.00002), 4), (Limits(tokens=399), 3), (Limits(requests=7), 7)],
)
def test_a_thousand_races_at_the_cap_pass_it_by_nothing(
    tmp_path: Path, limits: Limits, allowed: int
) -> None:
    book = CallBook(tmp_path / "calls.sqlite")
    session = book.session("run", limits)

    def race(number: int) -> bool:
        try:
            session.reserve(Request(str(number), "p", "m", "{}"), WORST).result()
        except BudgetError:
            return False
        return True

    with ThreadPoolExecutor(32) as pool:
        won = sum(pool.map(race, range(1_000)))
    assert won == allowed
    assert book.spent("run").requests == allowed
    assert session.spent == book.spent("run")
    book.close()


def test_what_was_reserved_too_much_may_be_spent_again(tmp_path: Path) -> None:
    book = CallBook(tmp_path / "calls.sqlite")
    session = book.session("run", Limits(tokens=150))
    number = session.reserve(ASK, WORST).result()
    with pytest.raises(BudgetError, match=r"budget of 150 tokens .* raise budget\.tokens"):
        session.reserve(ASK, WORST).result()
    session.settle(number, WORST, Outcome(Price(50, 0), 0.0, 200, None, b"")).result()
    session.reserve(ASK, WORST).result()
    book.close()


def test_a_cost_above_the_worst_case_is_a_bug_that_is_told(tmp_path: Path) -> None:
    book = CallBook(tmp_path / "calls.sqlite")
    session = book.session("run")
    number = session.reserve(ASK, WORST).result()
    with pytest.raises(StoreError, match="this is a bug"):
        session.settle(number, WORST, Outcome(Price(101, 0), 0.0, 200, None, b""))
    book.close()


def test_a_reply_that_was_changed_on_disk_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    book = CallBook(path)
    session = book.session("run")
    number = session.reserve(ASK, WORST).result()
    session.settle(number, WORST, Outcome(Price(1, 1), 0.0, 200, None, b"score: 1")).result()
    book.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE try SET reply = ?", (b"score: 9",))
    with pytest.raises(StoreError, match="row 1 of table try was changed"):
        CallBook(path)


def test_the_secret_of_a_book_is_made_once_and_found_again(tmp_path: Path) -> None:
    book = CallBook(tmp_path / "calls.sqlite")
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: book.nonce_key(), range(40)))
    book.close()
    again = CallBook(tmp_path / "calls.sqlite")
    assert keys == {again.nonce_key()}
    again.close()
    other = CallBook(tmp_path / "other.sqlite")
    assert other.nonce_key() not in keys
    assert len(other.nonce_key()) == 32
    other.close()


def test_a_book_from_before_there_was_a_secret_gets_one(tmp_path: Path) -> None:
    old = SealedTables(
        tmp_path / "calls.sqlite",
        MIGRATIONS[:1],
        {name: COLUMNS[name] for name in ("payer", "try")},
        Disk(),
    )
    old.close()
    book = CallBook(tmp_path / "calls.sqlite")
    assert len(book.nonce_key()) == 32
    book.close()
