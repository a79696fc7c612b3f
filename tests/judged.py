"""A scripted judge for tests: its server, and a context whose judge it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from treadle import models
from treadle.context import Context
from treadle.judge.model import JudgeModel
from treadle.judge.scripted_judge import ScriptedJudge, write_gold
from treadle.machinery.calls import CallBook
from treadle.machinery.engine import LocalEngine
from treadle.machinery.ledger import Ledger
from treadle.machinery.store import Store
from treadle.models.endpoint import Address, Endpoint


@contextlib.contextmanager
def judged(
    folder: Path,
    *,
    gold: Sequence[Mapping[str, Any]] = (),
    licensed: bool = True,
    url: str | None = None,
    **knobs: Any,
) -> Iterator[Context]:
    """Yield a context with a judge that knows `gold`, and an engine.

    Without `licensed` it has no licence; `url` is where it answers, if not at the script's.
    """
    path = folder / "gold.jsonl"
    write_gold(path, list(gold))
    ledger, book = Ledger(folder / "ledger.sqlite"), CallBook(folder / "calls.sqlite")
    with contextlib.ExitStack() as stack:
        stack.callback(ledger.close)
        stack.callback(book.close)
        server = stack.enter_context(ScriptedJudge(gold=path, **knobs))
        patience = {"backoff_s": 0.01, "longest_wait_s": 0.05, "give_up_after_s": 0.3}
        address = Address(url or server.url, "scripted", concurrency=8, **patience)
        endpoint = stack.enter_context(Endpoint(address, book.session("tests")))
        played = {
            "student": models.load("scripted"),
            "embedder": models.load_embedder("hashed"),
            "judge": JudgeModel(endpoint, folder / "licences", is_unlicensed_allowed=licensed),
        }
        yield Context(seed=7, models=played, engine=LocalEngine(Store(folder / "store"), ledger))
