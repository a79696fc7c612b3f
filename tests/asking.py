"""A measure that asks a judge, as a plugin, and turns of the wheel that use it."""

from __future__ import annotations

from pathlib import Path

from turns import QUICK, write_turn

PLUGIN = '''\
"""Lets a judge say a number for each row."""

import polars as pl

from treadle import op
from treadle.judge.pairs import Identity
from treadle.models.endpoint import Answer, Chat


@op.measure(reference="a test", cost="one call a row", models=("judge",))
def said(*, max_tokens: int = 20):
    """Measure how long the judge's answer is."""

    def score(batch, context):
        judge = context.model("judge")
        address = judge.endpoint.address
        judge.require(Identity(address.base, address.model, "score", "p", "said", "r"), "filter")
        calls = [Chat.of(f"How good is {key}?", max_tokens=max_tokens) for key in batch["id"]]
        answers = judge.endpoint.ask(calls, tick=context.tick, on_progress=context.asking)
        lengths = [len(a.text) if isinstance(a, Answer) else None for a in answers]
        return pl.DataFrame({"said": lengths}, schema={"said": pl.Float64})

    return score
'''


def write_asking_turn(folder: Path, url: str, *, more: str = "", rows: int = 40) -> Path:
    """Write data, the plugin, and a recipe that selects by what a judge says."""
    text = QUICK.replace("{by: ifd, diverse: k_center, keep: 30%}", "{by: said, keep: 30%}")
    (folder / "plugin.py").write_text(PLUGIN)
    return write_turn(folder, f"{text}judge: {{url: '{url}', model: m{more}}}\n", rows=rows)
