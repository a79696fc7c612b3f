"""Pools, models and a context for the conformance suite. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from treadle import models
from treadle.context import Context
from treadle.data.pool import Pool
from treadle.data.row import Message, Origin, Row
from treadle.data.sealed_index import SealedIndex
from treadle.judge.model import JudgeModel
from treadle.judge.scripted_judge import ScriptedJudge
from treadle.machinery.calls import CallBook
from treadle.machinery.engine import LocalEngine
from treadle.machinery.ledger import Ledger
from treadle.machinery.store import Store
from treadle.models.endpoint import Address, Endpoint

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heath",
    "inlet",
    "juniper",
    "kelp",
    "larch",
    "moss",
]


def ordinary_rows(count: int, seed: int = 0) -> list[Row]:
    """Return rows of made-up text, some with a user's column."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        prompt = " ".join(rng.choice(WORDS, rng.integers(3, 12))) + f" {i}?"
        answer = " ".join(rng.choice(WORDS, rng.integers(1, 40)))
        origin = Origin("made.jsonl", i + 1, f"user-{i}", f'{{"quality": {i % 7}}}')
        turns = (Message("user", prompt), Message("assistant", answer, trains=True))
        rows.append(Row("chat", turns, origins=(origin,)))
    return rows


@pytest.fixture(scope="session")
def pool() -> Pool:
    return Pool.of(ordinary_rows(120))


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JudgeModel]:
    """A scripted judge, without a licence: no licence is held to a contract here."""
    folder = tmp_path_factory.mktemp("judge")
    book = CallBook(folder / "calls.sqlite")
    with ScriptedJudge() as server:
        address = Address(server.url, "scripted", concurrency=8)
        with Endpoint(address, book.session("conformance")) as endpoint:
            yield JudgeModel(endpoint, folder / "licences", is_unlicensed_allowed=True)
    book.close()


@pytest.fixture
def context(tmp_path: Path, pool: Pool, judge: JudgeModel) -> Iterator[Context]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield Context(
        seed=7,
        models={
            "student": models.load("scripted"),
            "embedder": models.load_embedder("hashed"),
            "judge": judge,
        },
        engine=LocalEngine(Store(tmp_path / "store"), ledger),
        sealed=SealedIndex.build({"held": Pool.of(ordinary_rows(10, seed=99))}),
    )
    ledger.close()


@pytest.fixture
def results() -> pl.DataFrame:
    """Per-item results of a small experiment with every arm."""
    rng = np.random.default_rng(3)
    records = []
    difficulty = rng.normal(2, 0.5, 40)
    for arm, gain, seeds in (
        ("selected", 0.1, 3), ("random", 0.0, 3), ("longest", -0.05, 3), ("full", 0.2, 1),
        ("before", -0.5, 1),
    ):  # fmt: skip
        for seed in range(seeds):
            value = difficulty - gain + rng.normal(0, 0.05, 40)
            records += [
                (arm, seed, f"item-{i}", f"item-{i}", -float(v), float(v))
                for i, v in enumerate(value)
            ]
    names = ["arm", "seed", "item", "source", "score", "value"]
    return pl.DataFrame(records, schema=names, orient="row")
