"""What does the call path to an endpoint cost beside a bare loop of httpx2?

    python benchmarks/endpoint.py [--quick]

Throughput at 200 ms of latency, overhead a call without latency (both commits of each call included),
and the time in which finished calls are found again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import httpx2

from table import head, line
from treadle.machinery.calls import CallBook, Outcome, Price
from treadle.models.endpoint import Address, Chat, Endpoint
from treadle.models.endpoint.fault_server import FaultServer


def calls_of(count: int, name: str) -> list[Chat]:
    return [Chat.of(f"{name} {i}", max_tokens=50) for i in range(count)]


async def bare(url: str, calls: list[Chat], concurrency: int) -> list[float]:
    """Post the same bodies and read the replies; return seconds a call."""
    waiting = iter(calls)
    taken: list[float] = []
    limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx2.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:

        async def work() -> None:
            for call in waiting:
                began = time.perf_counter()
                reply = await client.post(f"{url}/chat/completions", json=call.body("m", "openai"))
                reply.json()["choices"][0]["message"]["content"]
                taken.append(time.perf_counter() - began)

        await asyncio.gather(*(work() for _ in range(concurrency)))
    return taken


def ours(url: str, calls: list[Chat], concurrency: int, folder: Path) -> float:
    """Ask for the same; return seconds in all."""
    book = CallBook(folder / f"{time.monotonic_ns()}.sqlite")
    with Endpoint(Address(url, "m", concurrency=concurrency), book.session("bench")) as endpoint:
        began = time.perf_counter()
        endpoint.ask(calls)
        taken = time.perf_counter() - began
    book.close()
    return taken


def throughput(folder: Path, count: int, concurrency: int) -> None:
    with FaultServer(folder, latency_s=0.2) as server:
        plain, own = [], []
        for turn in range(3):
            began = time.perf_counter()
            asyncio.run(bare(server.url, calls_of(count, f"bare {turn}"), concurrency))
            plain.append(time.perf_counter() - began)
            own.append(ours(server.url, calls_of(count, f"ours {turn}"), concurrency, folder))
    ratio = statistics.median(o / p for o, p in zip(own, plain, strict=True))
    line(
        f"{count:,} calls, {concurrency} at once, 200 ms each", f"{min(own):.2f} s",
        f"{min(plain):.2f} s (bare loop)", 1 / ratio,
        bar="at least 0.8x", met=None if count < 2_000 else ratio <= 1.25,
    )  # fmt: skip


def overhead(folder: Path, count: int) -> None:
    """One call at a time: what two commits and all the rest add."""
    with FaultServer(folder) as server:
        plain = asyncio.run(bare(server.url, calls_of(count, "one bare"), 1))
        book = CallBook(folder / "overhead.sqlite")
        own = []
        with Endpoint(Address(server.url, "m"), book.session("bench")) as endpoint:
            for call in calls_of(count, "one ours"):
                began = time.perf_counter()
                endpoint.ask([call])
                own.append(time.perf_counter() - began)
        book.close()
    bare_ms, ours_ms = (statistics.median(times) * 1e3 for times in (plain, own))
    added = ours_ms - bare_ms
    line(
        f"one call at a time, p50 of {count}", f"{ours_ms:.2f} ms", f"{bare_ms:.2f} ms (bare loop)",
        bar="at most 3 ms more", met=added <= 3,
    )  # fmt: skip
    line("a commit alone, p50 (fsync)", f"{commit_ms(folder):.2f} ms")


def commit_ms(folder: Path) -> float:
    """Return what SQLite takes to put a row on this disk."""
    db = sqlite3.connect(folder / "commit.sqlite", isolation_level=None)
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (a)")
    taken = []
    for _ in range(100):
        began = time.perf_counter()
        db.execute("INSERT INTO t VALUES (1)")
        taken.append(time.perf_counter() - began)
    db.close()
    return statistics.median(taken) * 1e3


def resume(folder: Path, count: int) -> None:
    """Find finished calls again, the book opened and checked included."""
    calls = calls_of(count, "done")
    path = folder / "resume.sqlite"
    address = Address("http://127.0.0.1:9/v1", "m")
    book = CallBook(path)
    session = book.session("bench")
    reply = json.dumps({"choices": [{"message": {"content": "answer " * 40}, "finish_reason": "stop"}],
                        "usage": {"prompt_tokens": 20, "completion_tokens": 40}}).encode()  # fmt: skip
    with Endpoint(address, session) as endpoint:
        requests = [endpoint._request(call, endpoint._body(call)) for call in calls]
    worst, done = Price(1_000, 0), Outcome(Price(60, 0), 0.2, 200, None, reply)
    for start in range(0, count, 5_000):
        tries = [session.reserve(request, worst) for request in requests[start : start + 5_000]]
        for one in [session.settle(number.result(), worst, done) for number in tries]:
            one.result()
    book.close()
    began = time.perf_counter()
    book = CallBook(path)
    opened = time.perf_counter() - began
    with Endpoint(address, book.session("bench")) as endpoint:
        answers = endpoint.ask(calls)
    taken = time.perf_counter() - began
    assert len(answers) == count
    book.close()
    size = path.stat().st_size / 2**20
    line(
        f"{count:,} finished calls found again", f"{taken:.1f} s",
        f"{opened:.1f} s of it to open and check {size:.0f} MB",
        bar="under 5 s at 100,000", met=None if count < 100_000 else taken < 5,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls")
    scale = 10 if parser.parse_args().quick else 1
    head()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        throughput(folder, 2_000 // scale, 64)
        overhead(folder, 300 // scale)
        resume(folder, 100_000 // scale)


if __name__ == "__main__":
    main()
