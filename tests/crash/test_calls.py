"""Killed at random moments, a client pays again for what was in flight and for nothing else."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from treadle.machinery.calls import CallBook
from treadle.models.endpoint import Address, Answer, Chat, Endpoint
from treadle.models.endpoint.fault_server import FaultServer

KILLS = int(os.environ.get("TREADLE_KILLS", "20"))
IN_FLIGHT = 4


def work(folder: Path, url: str) -> None:
    """Ask for a few replies, and write them down at the end."""
    book = CallBook(folder / "calls.sqlite")
    address = Address(url, "m", concurrency=IN_FLIGHT, backoff_s=0.01, deadline_s=5.0)
    calls = [Chat.of(f"question {i}", max_tokens=20) for i in range(16 * KILLS)]
    with Endpoint(address, book.session("run")) as endpoint:
        answers = endpoint.ask(calls)
    texts = [answer.text if isinstance(answer, Answer) else answer.reason for answer in answers]
    (folder / "texts.json").write_text(json.dumps(texts))
    book.close()


def committed(path: Path) -> list[str]:
    """The keys whose reply is on disk."""
    if not path.exists():
        return []
    with sqlite3.connect(path) as db:
        try:
            found = db.execute("SELECT key FROM try WHERE status = 200").fetchall()
        except sqlite3.OperationalError:  # killed before it had tables
            return []
    db.close()
    return [key for (key,) in found]


@pytest.mark.crash
def test_no_committed_reply_is_paid_for_again_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    for folder in (unbroken, broken):
        folder.mkdir()
    with FaultServer(unbroken, latency_s=0.05) as server:
        work(unbroken, server.url)
    draw = random.Random(5)
    kills, paid_when_committed = 0, {}
    with FaultServer(broken, latency_s=0.05) as server:
        while not (broken / "texts.json").exists():
            process = subprocess.Popen([sys.executable, __file__, str(broken), server.url])
            until = time.monotonic() + draw.uniform(0.3, 0.7)
            while process.poll() is None and time.monotonic() < until and kills < KILLS:
                time.sleep(0.005)
            if kills < KILLS and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            assert process.wait() in (0, -signal.SIGKILL)
            payments = server.payments()
            for key in committed(broken / "calls.sqlite"):
                paid_when_committed.setdefault(key, payments[key])
        payments = server.payments()
    assert kills >= KILLS // 2
    assert (broken / "texts.json").read_bytes() == (unbroken / "texts.json").read_bytes()
    assert {key: payments[key] for key in paid_when_committed} == paid_when_committed
    assert sum(payments.values()) - len(payments) <= IN_FLIGHT * kills


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2])
