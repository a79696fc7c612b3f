"""An endpoint that is wrong in some way ends a command with one clear paragraph, whatever is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import treadle
from treadle.machinery.calls import CallBook
from treadle.models.endpoint import Address, Answer, Chat, Endpoint, Failure
from treadle.models.endpoint.fault_server import FaultServer
from turns import write_turn


def measured(folder: Path, url: str, more: str = "") -> tuple[int, str]:
    judge = f"{{url: '{url}', model: m, tries: 2, backoff_s: 0.01, longest_wait_s: 0.05{more}}}"
    done = treadle(
        "measure", "pool.jsonl", "-f", "judged_quality", "--judge", judge, "--unlicensed", "--model",
        "scripted", cwd=folder,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("401", "answers 401: it does not accept the key (model 'm')"),
        ("402", "the account has no credit left"),
        ("403", "the key may not use this model"),
        ("404", "there is no such model or path (model 'm')"),
        ("html", "could be used; the last: malformed: not JSON"),
        ("empty_choices", "could be used; the last: malformed: it holds no choices"),
        ("not_an_object", "a JSON list where an object belongs"),
        ("400", "could be used; the last: refused: HTTP 400: fault 400"),
        ("500", "could be used; the last: no_answer: after 2 tries: HTTP 500"),
        ("redirect", "it redirects to http://127.0.0.1:9/elsewhere, and redirects are off"),
    ],
)
def test_an_endpoint_that_gives_nothing_usable_is_told(
    tmp_path: Path, kind: str, said: str
) -> None:
    write_turn(tmp_path, rows=20)
    with FaultServer(tmp_path, share=1.0, kinds=(kind,)) as server:
        code, told = measured(tmp_path, server.url)
        assert sum(server.payments().values()) <= 2 * (10 + 32), "it stops early"
    assert code == 1
    assert said in told
    assert "Is that the address of an API" in told or "answers 4" in told


def test_a_wrong_address_is_told(tmp_path: Path) -> None:
    write_turn(tmp_path, rows=8)
    code, told = measured(tmp_path, "http://127.0.0.1:9/v1")
    assert code == 1
    assert "http://127.0.0.1:9/v1 cannot be reached" in told
    assert "Is the address right, and the server up?" in told


def test_absurd_bills_end_at_the_budget_and_not_above(tmp_path: Path) -> None:
    write_turn(tmp_path, rows=20)
    with FaultServer(tmp_path, share=1.0, kinds=("huge_usage",)) as server:
        judge = f"{{url: '{server.url}', model: m, price: {{prompt: 1, reply: 1}}}}"
        done = treadle(
            "measure", "pool.jsonl", "-f", "judged_quality", "--judge", judge, "--budget",
            "{usd: 0.01}", "--unlicensed", "--model", "scripted", cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 4
    assert "raise budget.usd" in done.stderr
    book = CallBook(tmp_path / "runs" / ".store" / "calls.sqlite")
    assert 0 < book.spent("single stages").usd <= 0.01
    book.close()


def test_one_answer_shows_that_the_address_is_right(tmp_path: Path) -> None:
    """So what fails then is each request's own failure, however many there are."""
    book = CallBook(tmp_path / "calls.sqlite")
    quick = {"tries": 1, "concurrency": 1}
    with FaultServer(tmp_path, share=0.9, kinds=("400",), seed=5) as server:
        address = Address(server.url, "m", **quick)  # type: ignore[arg-type]
        with Endpoint(address, book.session("test")) as endpoint:
            calls = [Chat.of(f"question {i}", max_tokens=5) for i in range(60)]
            answers = endpoint.ask(calls)
    book.close()
    assert sum(isinstance(a, Answer) for a in answers) >= 1
    assert sum(isinstance(a, Failure) for a in answers) >= 40
