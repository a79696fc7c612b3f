"""An endpoint before a scripted judge, for tests of judges."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from treadle.judge.scripted_judge import ScriptedJudge, write_gold
from treadle.machinery.calls import CallBook, Limits
from treadle.models.endpoint import Address, Endpoint

QUICK: dict[str, Any] = {"backoff_s": 0.01, "longest_wait_s": 0.05, "deadline_s": 20.0, "tries": 2}


@contextlib.contextmanager
def endpoint_at(
    url: str, folder: Path, limits: Limits | None = None, **options: Any
) -> Iterator[Endpoint]:
    """An endpoint whose call book lies in `folder`."""
    book = CallBook(folder / "calls.sqlite")
    try:
        with Endpoint(
            Address(url, "scripted", **{**QUICK, **options}), book.session("test", limits)
        ) as endpoint:
            yield endpoint
    finally:
        book.close()


@contextlib.contextmanager
def scripted(
    folder: Path, gold: list[Mapping[str, Any]] | None = None, **knobs: Any
) -> Iterator[Endpoint]:
    """A scripted judge that knows `gold`, and an endpoint to it."""
    path = folder / "gold.jsonl"
    write_gold(path, gold or [])
    with (
        ScriptedJudge(gold=path, log=folder / "asked.txt", **knobs) as server,
        endpoint_at(server.url, folder) as endpoint,
    ):
        yield endpoint


def asked(folder: Path) -> int:
    """How many requests the scripted judge got, counted over there."""
    path = folder / "asked.txt"
    return len(path.read_bytes().splitlines()) if path.exists() else 0
