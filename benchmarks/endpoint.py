"""What does the call path to an endpoint cost beside a bare loop of httpx2? Run: python benchmarks/endpoint.py

Throughput at 200 ms of latency, overhead a call without latency (both commits of each call included),
and the time in which finished calls are found again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import httpx2

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
        ratios = []
        for turn in range(3):
            began = time.perf_counter()
            asyncio.run(bare(server.url, calls_of(count, f"bare {turn}"), concurrency))
            plain = time.perf_counter() - began
            own = ours(server.url, calls_of(count, f"ours {turn}"), concurrency, folder)
            ratios.append(own / plain)
            print(
                f"  {count} calls, {concurrency} at once, 200 ms: bare {plain:.2f} s, ours {own:.2f} s"
            )
    print(f"  ratio of times, median: {statistics.median(ratios):.2f} (bar: 1.25 at most)")


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
    p50 = [statistics.median(times) * 1e3 for times in (plain, own)]
    print(f"  one at a time, p50: bare {p50[0]:.2f} ms, ours {p50[1]:.2f} ms, "
          f"overhead {p50[1] - p50[0]:.2f} ms (bar: 3)")  # fmt: skip


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
    print(f"  {count:,} finished calls found again: {taken:.1f} s, of which {opened:.1f} s to open and "
          f"check a book of {path.stat().st_size / 2**20:.0f} MB (bar: 5 at 100,000)")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls")
    scale = 10 if parser.parse_args().quick else 1
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        throughput(folder, 2_000 // scale, 64)
        overhead(folder, 300 // scale)
        resume(folder, 100_000 // scale)


if __name__ == "__main__":
    main()
