"""In which direction would training on a row push the student? The raw material of influence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from treadle.context import Context
from treadle.data.randomness import derived_rng
from treadle.data.row import from_frame
from treadle.data.template import tokenise
from treadle.errors import DataError, ModelError
from treadle.models.protocol import Differentiable, Epsilon, Scale, Scorable, Targets
from treadle.op import measure

LEAST_ROWS = 32
"""Rows of the warm-up, where the pool has so many: the share of a small pool would be too few."""


def warm_up(rows: pl.DataFrame, options: Mapping[str, Any], context: Context) -> bytes:
    """Train an adapter on a sample of the pool and return its states (safetensors)."""
    student = _student(context)
    sample = _sample(rows, student, options)
    return student.warm_up(
        sample,
        lora=options["lora"],
        epochs=options["epochs"],
        checkpoints=options["checkpoints"],
        learning_rate=options["learning_rate"],
        seed=options["seed"],
        targets=options["targets"],
        tick=context.tick,
    )


@measure(
    reference="arXiv:2402.04333 (LESS)",
    cost="a forward and a backward pass a row and checkpoint; before, share x epochs of a training",
    models=("student",),
    fit=warm_up,
    passes=lambda options: options["checkpoints"] + options["share"] * options["epochs"],
)
def gradient(
    *,
    checkpoints: Annotated[int, Field(ge=1, le=4)] = 1,
    share: Annotated[float, Field(gt=0, le=1)] = 0.05,
    epochs: Annotated[int, Field(ge=1)] = 4,
    lora: Annotated[int, Field(ge=1)] = 8,
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4,
    width: Annotated[int, Field(ge=16)] = 1024,
    epsilon: Epsilon = "outside",
    scale: Scale = "unit",
    targets: Targets = "all-linear",
    max_tokens: Annotated[int, Field(ge=2)] = 1024,
    seed: int = 0,
) -> Callable[[pl.DataFrame, Context], pl.DataFrame]:
    """Measure the gradient of each row's loss for an adapter of the student, sketched to a short vector.

    First an adapter is trained a little on a share of the pool; its states are the `checkpoints`.
    Then, at each, the gradient of the row's mean loss over its trained tokens is taken. Columns:
    `gradient`, the step that Adam would take for this row, and `gradient_plain`, the gradient
    itself. Both are count-sketched, scaled to length 1 at each checkpoint, weighted and joined, so
    that the inner product of a row's `gradient` with a target row's `gradient_plain` is LESS's
    influence: Σ over checkpoints of weight · cosine, with weights that are mean learning rates and
    add up to 1. High: a step on the row lowers the loss of the target.

    Directions are compared and not lengths, because short replies have the longest gradients. CLUES
    compares lengths as well: with `scale: length` the inner product is the mean over checkpoints of
    learning rate · ⟨Adam's step, gradient⟩. `targets: attention` and `epsilon: inside` are its and
    LESS's choices.
    Known failures: a loss that is already near 0 leaves the direction to noise; the sketch is off
    by about 1 / sqrt(width), which drowns cosines that are smaller; Adam's step holds nine parts of
    memory to one of the row, so that rows differ less in `gradient` than in `gradient_plain`
    (`influence` with `on: gradient_plain` compares those on both sides); what is true of a step at this moment need not be true of a long training.

    By default it differs from LESS's script: adapters on all linear layers (as in `train.sft`, not
    attention alone) of rank 8, one checkpoint, no dropout or clipping in the warm-up, count-sketch instead of
    a dense projection to 8,192, sums in fp32 over a student of any precision. The scripted student has no adapter: its gradient is that of a
    table of logits by preceding token, without warm-up or Adam, so that both columns are equal.
    Values of one row may differ in their last bits with the rows that it is batched with.

    Args:
        checkpoints: states of the adapter at which gradients are taken; each costs a pass.
        share: of the pool's rows that warm the adapter up; at least 32 rows where there are so many.
        epochs: passes over them; 4 over 5% cost a fifth of one checkpoint's pass.
        lora: rank of the adapter.
        learning_rate: at the first step; it falls in a straight line to 0.
        width: numbers of a sketch; the columns hold `checkpoints` times as many.
        epsilon: `outside` is Adam with bias correction; `inside` is LESS's code, sqrt(v + 1e-8)
            without correction, which for small gradients is close to plain momentum.
        scale: `unit`, or `length` for vectors as long as the gradients are.
        targets: the layers that the adapter sits on: `all-linear`, or those in `attention`.
        max_tokens: rows are cut off here at the right.
        seed: of the sample, the adapter's start and the sketch.

    Raises:
        ModelError: the student has no gradients, or its layers do not show single rows.
        DataError: no row of the pool has a token that carries loss.
    """

    def run(batch: pl.DataFrame, context: Context) -> pl.DataFrame:
        assert context.fitted is not None
        student = _student(context)
        limit = min(max_tokens, student.max_tokens)
        rows = tokenise(from_frame(batch), student.tokenizer, max_tokens=limit)
        found = student.gradients(
            [Scorable(row.ids, row.trains) for row in rows],
            context.fitted,
            width=width,
            epsilon=epsilon,
            seed=seed,
            scale=scale,
            tick=context.tick,
        )
        columns = {"gradient": found.adam, "gradient_plain": found.plain}
        return pl.DataFrame([_column(name, values) for name, values in columns.items()])

    return run


def _student(context: Context) -> Differentiable:
    student = context.model("student")
    if not isinstance(student, Differentiable):
        raise ModelError(
            f"measure.gradient: the student {student.name!r} has no weights whose gradient could be "
            "taken. Use a local model, such as `student: embedded`."
        )
    return student


def _sample(
    rows: pl.DataFrame, student: Differentiable, options: Mapping[str, Any]
) -> list[Scorable]:
    """Return the sequences of the warm-up: rows with a trained token, in an order drawn by lot."""
    frame = rows.sort("id")
    wanted = max(LEAST_ROWS, math.ceil(options["share"] * frame.height))
    limit = min(options["max_tokens"], student.max_tokens)
    found: list[Scorable] = []
    for i in derived_rng(options["seed"], "warm-up").permutation(frame.height).tolist():
        if len(found) == wanted:
            break
        try:
            (row,) = tokenise(from_frame(frame[i : i + 1]), student.tokenizer, max_tokens=limit)
        except DataError:  # a row that cannot be read is named when it is measured
            continue
        if row.trains[1:].any():
            found.append(Scorable(row.ids, row.trains))
    if not found:
        raise DataError(
            f"measure.gradient: none of the pool's {frame.height} rows has a token that carries loss "
            f"within {limit} tokens. Mark an assistant turn as trained, or raise max_tokens."
        )
    return found


def _column(name: str, values: NDArray[np.float32]) -> pl.Series:
    """A row with a NaN in it has no gradient: missing, not NaN."""
    column = pl.Series(name, values, dtype=pl.Array(pl.Float32, values.shape[1]))
    is_known = pl.Series("known", ~np.isnan(values).any(axis=1), dtype=pl.Boolean)
    return pl.DataFrame([column, is_known]).select(pl.when("known").then(name).alias(name))[name]
