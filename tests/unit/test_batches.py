"""Batches of a provider: half the price, nothing paid twice, and a killed process waits on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

from treadle.errors import BudgetError, ModelError, RecipeError
from treadle.machinery.calls import CallBook, Limits
from treadle.models.endpoint import Address, Answer, Chat, Completion, Endpoint, Failure
from treadle.models.endpoint.answers import Progress
from treadle.models.endpoint.fault_server import FaultServer

HALF = {"prompt": 1.0, "reply": 2.0, "batch": 0.5}
QUICK: dict[str, Any] = {
    "batch": True, "batch_poll_s": 0.02, "backoff_s": 0.01, "longest_wait_s": 0.05, "price": HALF,
}  # fmt: skip
WIRES = ("openai", "anthropic")


class Grade(pydantic.BaseModel):
    score: int = pydantic.Field(ge=1, le=5)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[CallBook]:
    book = CallBook(tmp_path / "calls.sqlite")
    yield book
    book.close()


def opened(book: CallBook, url: str, limits: Limits | None = None, **more: Any) -> Endpoint:
    return Endpoint(Address(url, "m", **{**QUICK, **more}), book.session("test", limits))


def questions(count: int, **more: Any) -> list[Chat]:
    return [Chat.of(f"question {i}", max_tokens=50, **more) for i in range(count)]


@pytest.mark.parametrize("wire", WIRES)
def test_a_batch_gives_the_same_answers_as_calls_one_by_one_for_half_the_money(
    wire: Any, book: CallBook, tmp_path: Path
) -> None:
    with FaultServer(tmp_path, batch_polls=3) as server:
        with opened(book, server.url, wire=wire) as endpoint:
            batched = endpoint.ask(questions(20))
            again = endpoint.ask(questions(20))
        assert max(server.payments().values()) == 1
        other = CallBook(tmp_path / "other.sqlite")
        with opened(other, server.url, wire=wire, batch=False) as endpoint:
            single = endpoint.ask(questions(20))
    assert [a.text for a in batched if isinstance(a, Answer)] == [
        a.text for a in single if isinstance(a, Answer)
    ]
    assert len(batched) == len(single) == 20
    assert not any(a.is_from_book for a in batched if isinstance(a, Answer))
    assert all(a.is_from_book for a in again if isinstance(a, Answer))
    assert book.spent("test").tokens == other.spent("test").tokens
    assert book.spent("test").nano_usd * 2 == other.spent("test").nano_usd > 0
    other.close()


def test_calls_of_two_kinds_go_into_two_batches(book: CallBook, tmp_path: Path) -> None:
    calls = [*questions(3), Completion("go on", 20), *questions(4)]
    with FaultServer(tmp_path) as server, opened(book, server.url) as endpoint:
        answers = endpoint.ask(calls)
        assert sum(server.payments().values()) == 5, "equal calls are one"
    assert all(isinstance(a, Answer) for a in answers)
    assert answers[0] == answers[4]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("kind", ["expired", "500", "529"])
def test_what_a_batch_leaves_is_handed_in_once_more(
    kind: str, wire: Any, book: CallBook, tmp_path: Path
) -> None:
    with (
        FaultServer(tmp_path, plan=(kind,)) as server,
        opened(book, server.url, wire=wire) as endpoint,
    ):
        answers = endpoint.ask(questions(5))
        assert sum(server.payments().values()) == 5
    assert all(isinstance(a, Answer) for a in answers)
    assert [row["open"] for row in book.costs()] == [0]
    assert [row["tries"] for row in book.costs()] == [10]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("kind", "reason"), [("expired", "no_answer"), ("400", "refused")])
def test_what_stays_unanswered_is_that_requests_failure(
    kind: str, reason: str, wire: Any, book: CallBook, tmp_path: Path
) -> None:
    with FaultServer(tmp_path, share=0.5, kinds=(kind,), seed=1) as server:
        with opened(book, server.url, wire=wire) as endpoint:
            answers = endpoint.ask(questions(30))
        paid = sum(server.payments().values())
    failures = [a for a in answers if isinstance(a, Failure)]
    assert 0 < len(failures) < 25
    assert {f.reason for f in failures} == {reason}
    assert all("in a batch" in f.detail for f in failures)
    assert paid == 30 - len(failures)
    assert book.costs()[0]["open"] == 0


def test_a_reply_that_does_not_fit_is_repaired_outside_of_the_batch(
    book: CallBook, tmp_path: Path
) -> None:
    with FaultServer(tmp_path, plan=("wrong_schema",)) as server:
        with opened(book, server.url) as endpoint:
            answers = endpoint.ask(questions(4, schema=Grade))
        assert sum(server.payments().values()) == 8
    assert all(isinstance(a, Answer) and isinstance(a.value, Grade) for a in answers)


def test_a_budget_that_does_not_bear_the_whole_batch_sends_nothing(
    book: CallBook, tmp_path: Path
) -> None:
    with FaultServer(tmp_path) as server:
        for limits in (Limits(requests=19), Limits(usd=1e-4), Limits(tokens=500)):
            with (
                opened(book, server.url, limits) as endpoint,
                pytest.raises(BudgetError, match="does not allow a batch of 20 requests"),
            ):
                endpoint.ask(questions(20))
        assert not server.payments()
        assert book.spent("test").requests == 0
        with opened(book, server.url, Limits(requests=20)) as endpoint:
            assert len(endpoint.ask(questions(20))) == 20


FAILED = ("failed", "has refused batch batch_0.*line 1 is bad", 0)
ON_BOTH_WIRES = (
    ("refused", "takes no batch: HTTP 400: no batches for this model", 0),
    ("down", "takes no batch: HTTP 503", 0),
    ("forgotten", "The batch is kept: run the same command again", 3),
)


@pytest.mark.parametrize(
    ("fault", "said", "open_tries", "wire"),
    [  # Anthropic's batches do not fail as a whole
        (*FAILED, "openai"), *((*case, wire) for case in ON_BOTH_WIRES for wire in WIRES)
    ],
)  # fmt: skip
def test_a_batch_that_fails_as_a_whole_is_told(
    fault: str, said: str, open_tries: int, wire: Any, book: CallBook, tmp_path: Path
) -> None:
    with (
        FaultServer(tmp_path, batch_fault=fault) as server,
        opened(book, server.url, wire=wire, tries=2) as endpoint,
        pytest.raises(ModelError, match=said),
    ):
        endpoint.ask(questions(3))
    assert book.costs()[0]["open"] == open_tries
    assert (book.spent("test").nano_usd > 0) == bool(open_tries)


PROGRAM = """
import sys
from pathlib import Path
from treadle.machinery.calls import CallBook
from treadle.models.endpoint import Address, Answer, Chat, Endpoint
book = CallBook(Path(sys.argv[1]))
address = Address(sys.argv[2], "m", wire=sys.argv[3], batch=True, batch_poll_s=0.05,
                  price={"prompt": 1.0, "reply": 2.0, "batch": 0.5})
calls = [Chat.of(f"question {i}", max_tokens=50) for i in range(25)]
def shown(progress):
    if progress.seconds:
        print("waiting", flush=True)
with Endpoint(address, book.session("test")) as endpoint:
    answers = endpoint.ask(calls, on_progress=shown)
print("answered", sum(isinstance(a, Answer) for a in answers), flush=True)
"""


@pytest.mark.parametrize("wire", WIRES)
def test_a_process_that_is_killed_while_it_waits_waits_on_and_pays_nothing_again(
    wire: Any, book: CallBook, tmp_path: Path
) -> None:
    with FaultServer(tmp_path, batch_polls=12) as server:
        command = [sys.executable, "-c", PROGRAM, str(book.path), server.url, wire]
        for _ in range(2):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting\n"
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
            assert book.costs()[0]["open"] == 25
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.splitlines()[-1] == "answered 25"
        assert sum(server.payments().values()) == 25
    assert book.costs()[0]["tries"] == 25
    assert book.costs()[0]["open"] == 0


def test_who_gives_up_waiting_loses_nothing(book: CallBook, tmp_path: Path) -> None:
    def on_progress(progress: Progress) -> None:
        if progress.seconds:  # it was asked after once
            raise KeyboardInterrupt

    with FaultServer(tmp_path, batch_polls=20) as server:
        with opened(book, server.url) as endpoint:
            with pytest.raises(KeyboardInterrupt):
                endpoint.ask(questions(5), on_progress=on_progress)
            assert book.costs()[0]["open"] == 5
            answers = endpoint.ask(questions(5))
        assert sum(server.payments().values()) == 5
    assert all(isinstance(a, Answer) for a in answers)


def test_the_share_of_the_price_comes_from_the_table_or_is_said() -> None:
    table = Address("https://api.openai.com/v1", "gpt-4o-mini")
    assert (table.batch_price.prompt, table.token_price.prompt) == (75, 150)
    full = Address("https://a.example/v1", "m", price={"prompt": 1, "reply": 2})
    assert full.batch_price == full.token_price
    assert Address("http://127.0.0.1:1/v1", "m").batch_price.reply == 0
    for share in (-0.5, 1.5, True, "half"):
        wrong = Address(
            "https://a.example/v1", "m", price={"prompt": 1, "reply": 2, "batch": share}
        )  # type: ignore[dict-item]
        with pytest.raises(RecipeError, match="batch must be a share"):
            _ = wrong.batch_price
