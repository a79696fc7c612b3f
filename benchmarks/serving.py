"""How many tokens a second does the embedded model write, served by llama.cpp and by transformers?

    python benchmarks/serving.py [--quick]

The same questions, so many at once, as many new tokens each (what stops early counts what it wrote).
transformers takes them as one batch, in the precision that is fast here; the server gets one thread
fewer than there are cores, or `--threads`. Whole calls are timed, call book included.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from table import head, line
from treadle.data.row import Message
from treadle.machinery.calls import CallBook
from treadle.models import load
from treadle.models.embedded_file import gguf_path
from treadle.models.endpoint import Address, Answer, Chat, Endpoint
from treadle.models.serving import Served
from treadle.models.serving.gguf_file import write_student

TEXT = "Tell me a long story about a ship and the number {}."


def served(server: Served, book: CallBook, at_once: int, tokens: int, name: str) -> float:
    """Return tokens a second over the endpoint."""
    calls = [
        Chat.of(TEXT.format(f"{i} {name}"), max_tokens=tokens, temperature=1.0, sample=i)
        for i in range(at_once)
    ]
    with Endpoint(Address(server.url, server.model), book.session("bench")) as endpoint:
        began = time.perf_counter()
        answers = endpoint.ask(calls)
        taken = time.perf_counter() - began
    return sum(a.reply_tokens for a in answers if isinstance(a, Answer)) / taken


def generated(student: Any, at_once: int, tokens: int) -> float:
    """Return tokens a second of transformers."""
    prompts = [[Message("user", TEXT.format(i))] for i in range(at_once)]
    began = time.perf_counter()
    replies = student.generate(prompts, max_new_tokens=tokens, temperature=1.0, seed=1)
    return sum(reply.tokens for reply in replies) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer tokens, and Q4_1 only")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 1) - 1))
    given = parser.parse_args()
    tokens = 32 if given.quick else 64
    head()
    student: Any = load("embedded")
    sizes = (1, 8, 16)
    plain = {n: generated(student, n, tokens) for n in sizes}
    with tempfile.TemporaryDirectory() as place:
        book = CallBook(Path(place) / "calls.sqlite")
        files = {"Q4_1 as shipped": str(gguf_path())}
        if not given.quick:
            files["Q8_0"] = f"{place}/student.gguf"
            write_student(
                load("embedded", precision="fp32").model, gguf_path(), Path(files["Q8_0"])
            )  # type: ignore[attr-defined]
        for name, file in files.items():
            with Served(file, context=512, threads=given.threads) as server:
                served(server, book, 1, 8, "warm up")
                for n in sizes:
                    ours = served(server, book, n, tokens, f"{name} {n}")
                    line(
                        f"{n} at once, {tokens} new tokens each, {name}, {given.threads} thread(s)",
                        f"{ours:.0f} tokens/s", f"{plain[n]:.0f} tokens/s (transformers, {student.precision})",
                        ours / plain[n],
                    )  # fmt: skip
        book.close()


if __name__ == "__main__":
    main()
