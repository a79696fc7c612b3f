"""Train the scripted student by counting: a whole arm in a fraction of a second, without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from treadle.context import Context
from treadle.errors import ModelError
from treadle.models.ngrams import UNIT, Counts, grams
from treadle.models.protocol import Scorable, Student
from treadle.models.scripted import COUNTS_FILE, ScriptedStudent
from treadle.op import train
from treadle.train.lessons import Lessons, lessons, schedule

Train = Callable[[pl.DataFrame, Student, int, Path, Context], dict[str, object]]


@train(reference="n-gram counts with Dirichlet smoothing (MacKay and Peto, 1995)", cost="one pass")
def ngram(
    *, epochs: float = 1, steps: int | None = None, batch_size: int = 8, max_tokens: int = 4096
) -> Train:
    """Add the n-grams of the trained tokens to the counts of the scripted student.

    For tests, teaching and dry runs: it turns a recipe's whole wheel in seconds. It learns words
    and phrases, never rules, so its gains say nothing about a real model. Each row counts for 0.9
    to 1.1 sightings, drawn from the training seed, so that seeds differ a little, as they do in
    earnest.

    Args:
        epochs: passes over the rows.
        steps: exactly this many batches, instead of `epochs`.
        batch_size: rows a step; the loss of a step is measured before its rows are counted.
        max_tokens: bytes of a row beyond this are cut off.

    Writes `counts.json`. Returns steps, tokens, trained_tokens and the loss of each step.

    Raises:
        ModelError: the student is not the scripted one.
        DataError: a row has no token that carries loss.
    """

    def run(
        rows: pl.DataFrame, student: Student, seed: int, folder: Path, context: Context
    ) -> dict[str, object]:
        if not isinstance(student, ScriptedStudent):
            raise ModelError(
                f"train.ngram: it can only train the scripted student, not {student.name!r}. "
                "Write `method: sft` in the recipe."
            )
        reach = min(max_tokens, student.max_tokens)
        taught = lessons(rows, student.tokenizer, max_tokens=reach, where="train.ngram")
        batches = schedule(
            taught.lengths, batch_size=batch_size, epochs=epochs, steps=steps, seed=seed
        )
        losses = []
        for batch in batches:
            context.tick()
            losses.append(_loss(student, taught, batch))
            student = student.with_counts(_learn(student.counts, taught, batch, seed))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / COUNTS_FILE).write_bytes(student.counts.to_json().encode())
        return {**taught.count(batches), "losses": losses}

    return run


def _loss(student: ScriptedStudent, taught: Lessons, batch: list[int]) -> float:
    found = student.score([Scorable(taught.tokens[i].ids, taught.tokens[i].trains) for i in batch])
    return float(
        -np.nanmean(np.concatenate([scores.logprobs for scores in found]), dtype=np.float64)
    )


def _learn(counts: Counts, taught: Lessons, batch: list[int], seed: int) -> Counts:
    parts, weights = [], []
    for i in batch:
        part = grams(taught.tokens[i].ids, taught.tokens[i].trains)
        parts.append(part)
        weights.append(np.full(len(part), _weight(seed, taught.row_ids[i]), np.int64))
    return counts.plus(np.concatenate(parts), np.concatenate(weights))


def _weight(seed: int, row_id: str) -> int:
    """Return 0.9 to 1.1 sightings, the same for a seed and a row on any machine."""
    digest = hashlib.sha256(f"{seed}/{row_id}".encode()).digest()
    return UNIT * 9 // 10 + int.from_bytes(digest[:4], "little") % (UNIT // 5 + 1)
