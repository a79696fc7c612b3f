"""The real stages under the hostile engine: near duplicates, measures and selection, 5,000 rows.

Rows are conserved, findings, features and selections are byte for byte those of the local engine.
Work is computed once and replayed (`hostility.Remembering`); every attempt runs the whole protocol.
"""

from __future__ import annotations

import hashlib
import random
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from crash.hostility import Memory, hostile_hits
from treadle import op as registry
from treadle.audit.near_duplicates import near_duplicates
from treadle.audit.similar_pairs import Settings, similar_pairs
from treadle.context import Context
from treadle.data.pool import Pool, to_parquet
from treadle.data.row import Message, Row
from treadle.data.selection import Budget
from treadle.flywheel.arms import choose
from treadle.flywheel.features import measure_pool
from treadle.machinery.engine import Engine
from treadle.machinery.hostile import FAULTS
from treadle.models import scripted
from treadle.text.minhash import plan

ROWS = 5_000
WORDS = [
    a + b for a in ("ka", "lo", "mi", "ne", "pu", "ro") for b in ("da", "fi", "gu", "ta", "so")
]


@cache
def pool() -> Pool:
    """Return short rows; every eighth is another row with one word changed."""
    chance, texts = random.Random(0), list[tuple[str, str]]()
    while len(texts) < ROWS:
        ask = " ".join(chance.choices(WORDS, k=chance.randrange(2, 6)))
        reply = " ".join(chance.choices(WORDS, k=chance.randrange(8, 12)))
        texts.append((ask, reply))
        if len(texts) % 8 == 0:
            texts.append((ask, f"{reply} {chance.choice(WORDS)}"))
    made = (
        Row("chat", (Message("user", ask), Message("assistant", reply, trains=True)))
        for ask, reply in texts
    )
    return Pool.of(made)


SMALL = Settings(
    0.8, 2, 64, plan(0.8, 128), shard_rows=600, part_entries=1 << 14, block_pairs=1 << 8
)
FIND = near_duplicates()


def wheel(engine: Engine) -> list[str]:
    """Audit, measure and select; return the hash of each result."""
    context = Context(seed=3, engine=engine, models={"student": scripted.load()})
    rows = pool()
    findings = FIND(rows, context)
    pairs = similar_pairs(engine, rows, SMALL, "small shards", context.tick)
    clean = rows.without(findings.rows["id"])
    features = measure_pool(clean, ["length", "ifd"], {}, context)
    assert features.frame.height == len(clean) == len(rows) - findings.rows.height
    top = registry.get("select", "top").bind({"by": "ifd"})
    chosen = choose("top", top, features.frame, Budget("share", 0.3), context)
    assert chosen.chosen.height + chosen.left.height == len(clean)
    frames: list[pl.DataFrame] = [
        findings.rows,
        pairs.edges,
        features.frame,
        features.failed,
        chosen.chosen,
        chosen.left,
    ]
    return [hashlib.sha256(to_parquet(frame)).hexdigest() for frame in frames]


@pytest.mark.slow
def test_two_hundred_hostile_turns_of_the_real_stages_give_the_local_bytes(
    fast_path: Path,
) -> None:
    memory: Memory = {}
    hits = hostile_hits(wheel, range(200), fast_path, memory)
    assert {fault for fault in FAULTS if hits[fault] < 10} == {"overruled"}
    assert len(memory) > 50


@pytest.mark.slow
def test_the_real_stages_give_the_same_bytes_when_every_attempt_computes_anew(
    fast_path: Path,
) -> None:
    assert hostile_hits(wheel, range(1), fast_path)["doubled"]
