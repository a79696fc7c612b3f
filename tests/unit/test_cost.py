"""What endpoints have cost, and how far an ask is: `treadle cost`, and the line in the terminal."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from command_line import treadle
from treadle.flywheel.progress import Bars, Kept, read_kept, told
from treadle.machinery.calls import CallBook, Outcome, Price, Request
from treadle.models.endpoint import Address, Chat, Endpoint
from treadle.models.endpoint.answers import Progress
from treadle.models.endpoint.fault_server import FaultServer
from treadle.workshop import asking_file

WORST, BILL = Price(100, 9_000), Price(40, 3_000)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs that asked two models; one try is open."""
    store = tmp_path / "runs" / ".store"
    store.mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "identity.json").write_text("{}")
    book = CallBook(store / "calls.sqlite")
    for payer, model, outcomes in (
        ("run a", "m", "oof"),
        ("run a", "n", "o"),
        ("run b", "m", "o?"),
    ):
        session = book.session(payer)
        for i, kind in enumerate(outcomes):
            request = Request(f"{payer}{model}{i}", "http://p/v1", model, "{}")
            number = session.reserve(request, WORST).result()
            if kind == "o":
                session.settle(number, WORST, Outcome(BILL, 2.0, 200, None, b"{}")).result()
            elif kind == "f":
                session.settle(number, WORST, Outcome(Price(0, 0), 1.0, 500, "bad")).result()
    book.close()
    return tmp_path / "runs"


def test_the_bill_of_all_runs_and_of_one(runs: Path) -> None:
    lines = json.loads(treadle("cost", "--json", cwd=runs.parent).stdout)["lines"]
    assert [(x["payer"], x["model"]) for x in lines] == [
        ("run a", "m"),
        ("run a", "n"),
        ("run b", "m"),
    ]
    assert [(x["tries"], x["answered"], x["open"]) for x in lines] == [
        (3, 2, 0),
        (1, 1, 0),
        (2, 1, 1),
    ]
    assert [x["tokens"] for x in lines] == [80, 40, 140]
    assert [round(x["usd"] * 1e9) for x in lines] == [6_000, 3_000, 12_000]
    assert [x["seconds"] for x in lines] == [5.0, 2.0, 2.0]
    one = json.loads(treadle("cost", "runs/b", "--json", cwd=runs.parent).stdout)["lines"]
    assert one == [lines[2]]
    for place in ("runs", "runs/.store"):
        shown = treadle("cost", place, cwd=runs.parent)
        assert shown.returncode == 0, shown.stderr
        assert "6 requests" in shown.stdout


def test_while_a_run_asks_its_forecast_is_told(runs: Path) -> None:
    Kept(asking_file(runs / ".store", "run a")).keep(
        Progress(
            calls=100, done=25, from_book=5, failed=1, in_flight=8, tokens=900, usd=0.2, seconds=3
        )
    )
    going_on = json.loads(treadle("cost", "runs/a", "--json", cwd=runs.parent).stdout)["going_on"]
    assert going_on["run a"]["forecast_usd"] == pytest.approx(0.2 + 0.2 / 20 * 75)
    shown = " ".join(treadle("cost", cwd=runs.parent).stdout.split())
    assert "25 of 100 calls" in shown
    assert "$0.2000 of about $0.9500" in shown
    assert not json.loads(treadle("cost", "runs/b", "--json", cwd=runs.parent).stdout)["going_on"]


def test_a_place_where_nobody_asked_is_told(tmp_path: Path) -> None:
    done = treadle("cost", cwd=tmp_path)
    assert done.returncode == 2
    assert "no endpoint was asked from there" in done.stderr
    assert not list(tmp_path.iterdir())


def test_figures_that_cannot_be_read_are_no_forecast(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"a": 1}'):
        (tmp_path / "a.json").write_text(text)
        assert read_kept(tmp_path / "a.json") is None
    kept = Kept(tmp_path / "b.json")
    kept.keep(Progress(calls=3))
    kept.keep(Progress(calls=4))  # too soon to be written
    assert read_kept(tmp_path / "b.json") == Progress(calls=3)
    kept.forget()
    kept.forget()
    assert read_kept(tmp_path / "b.json") is None


def test_an_ask_tells_how_far_it_is_and_what_it_will_cost(tmp_path: Path) -> None:
    calls = [Chat.of(f"question {i}", max_tokens=20) for i in range(30)]
    seen: list[Progress] = []
    book = CallBook(tmp_path / "calls.sqlite")
    with FaultServer(tmp_path, latency_s=0.05) as server:
        address = Address(server.url, "m", price={"prompt": 1, "reply": 2}, concurrency=4)
        with Endpoint(address, book.session("test")) as endpoint:
            endpoint.ask(calls[:10])
            endpoint.ask(calls, on_progress=lambda p: seen.append(copy.copy(p)))
    bill = book.spent("test").usd
    book.close()
    middle, last = seen[len(seen) // 2], seen[-1]
    assert 10 < middle.done < 30
    assert 0 < middle.usd < middle.forecast_usd
    assert last.done == last.calls == 30
    assert last.from_book == 10
    assert last.usd == last.forecast_usd
    assert 0 < last.usd < bill
    line = told(last)
    assert line.startswith("30 answered, 10 of them for nothing")
    assert "tokens/s, $0.0" in line
    screen = io.StringIO()
    with Bars(Console(file=screen, force_terminal=True, width=200)) as bars:
        bars.asking(last)
        bars._bars.refresh()
    assert "30/30" in screen.getvalue()
    assert "tokens/s" in screen.getvalue()
