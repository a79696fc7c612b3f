"""Budgets in floating-point operations (FLOPs), what choosing costs included.

    compare: {methods: {ifd: {by: ifd}}, train_for: [2e15 FLOPs]}
    select: {by: ifd, keep: 2e15 FLOPs}       # of one selection: as many tokens as are left to train on

The question of compute-constrained data selection (Yin and Rush, arXiv:2410.16208): a method that reads
the whole pool with the student to choose from it could have trained on random rows instead. So every
arm may spend the same in all. What its method has computed to choose is taken off, and the rest is
training: random rows train longest, and a method that spends everything on choosing trains nothing.

Choosing is counted by the tokens that models really read (`models.meter`): passes over the pool and the
target for every measure that the method needs, in full even where methods share them, and the students
that it trains on the way. Training is 6 · weights · tokens, or 4 with an adapter. Work without a model
(word counts, lengths, clustering, search) counts as nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from treadle import op as registry
from treadle.data.pool import Pool
from treadle.data.selection import Budget
from treadle.errors import DataError
from treadle.flywheel.features import plan, user_columns
from treadle.models.meter import TRAIN_ADAPTER, TRAIN_ALL
from treadle.models.scripted import PARAMETERS as NOMINAL
from treadle.op import BoundOp
from treadle.train.lessons import schedule

PARAMETERS = {"embedded": 134_515_008, "proxy": 110_000, "scripted": 0}


@dataclass(frozen=True, slots=True)
class Training:
    """How long the arms of a comparison are trained: as `trainer` says, or as far as `flops` reach."""

    trainer: BoundOp
    flops: float | None = None

    def trainers(
        self, lengths: Sequence[Sequence[int]], choosing: Sequence[int], parameters: int
    ) -> tuple[BoundOp, ...]:
        """Return the trainer of each seed; none if any of them could not train a single step.

        Args:
            lengths: tokens of the rows of each seed, in the order of their ids.
            choosing: FLOPs of choosing them.
        """
        if self.flops is None:
            return (self.trainer,) * len(lengths)
        found = []
        for seed, (rows, spent) in enumerate(zip(lengths, choosing, strict=True)):
            left = (self.flops - spent) / flops_a_token(self.trainer, parameters)
            steps = affordable_steps(rows, self.trainer, seed, left)
            if not steps:
                return ()
            found.append(with_steps(self.trainer, steps))
        return tuple(found)


def measuring(
    selectors: Sequence[BoundOp],
    pool: Pool,
    options: Mapping[str, Mapping[str, Any]],
    of_rows: Mapping[str, int],
    of_target: Mapping[str, int],
) -> int:
    """Return the FLOPs of all that these selectors want to know of the rows, and of the target's.

    What methods share counts in full for each: alone it would have had to pay for it.

    Args:
        of_rows: FLOPs by measure, as `Features.flops`; `of_target` those of the target's rows.
    """
    needs = [name for bound in selectors for name in bound.needs]
    own = {frame.columns[1] for frame in user_columns(pool, needs)}
    target = [name for bound in selectors for name in bound.target]
    asked = [
        (of_rows, plan([n for n in needs if n not in own], options)),
        (of_target, plan(target, options)),
    ]
    return sum(flops.get(b.op.name, 0) for flops, bounds in asked for b in bounds)


def in_tokens(budget: Budget, spent: int, trainer: BoundOp, parameters: int) -> Budget:
    """Turn a selection's budget in FLOPs into the tokens that are left to train on.

    Raises:
        DataError: choosing has spent it.
    """
    epochs = float(trainer.options.get("epochs", 1))
    tokens = int((budget.amount - spent) / (flops_a_token(trainer, parameters) * epochs))
    if tokens < 1:
        raise DataError(
            f"select.keep: choosing took {spent:.3g} of {budget.amount:.3g} FLOPs, which leaves no token "
            "to train on. Allow more, or choose by something cheaper."
        )
    return Budget("tokens", tokens)


def with_steps(trainer: BoundOp, steps: int) -> BoundOp:
    """Return a trainer that does so many steps, whatever its epochs.

    Raises:
        RecipeError: it has no such option.
    """
    return registry.get("train", trainer.op.name).bind({**trainer.options, "steps": steps})


def flops_a_token(trainer: BoundOp, parameters: int) -> int:
    """Return what training on one token takes: less where the weights are frozen under an adapter."""
    return (TRAIN_ADAPTER if trainer.options.get("lora") else TRAIN_ALL) * parameters


def affordable_steps(lengths: Sequence[int], trainer: BoundOp, seed: int, tokens: float) -> int:
    """Return how many steps of training hold at most so many tokens.

    The batches are those that the train ops will draw for this seed, so the budget is kept to the
    token and the rest is less than one batch.
    """
    batch_size = int(trainer.options.get("batch_size", 1))
    if tokens < min(lengths):
        return 0
    epochs = int(tokens // sum(lengths)) + 1
    steps = epochs * -(-len(lengths) // batch_size)
    batches = schedule(lengths, batch_size=batch_size, epochs=1, steps=steps, seed=seed)
    spent = np.cumsum([sum(lengths[i] for i in batch) for batch in batches])
    return int(np.searchsorted(spent, tokens, side="right"))


def parameters_of(student: str) -> int | None:
    """Return the number of parameters, or None where only loading the model could tell."""
    if student in PARAMETERS:
        return PARAMETERS[student]
    folder = Path(student).expanduser()
    if folder.is_dir():
        return sum(f.stat().st_size for f in folder.glob("*.safetensors")) // 2 or None
    return None


def counted_parameters(student: str) -> int:
    """Return the number of parameters that FLOPs are counted by; 0 where nobody knows it yet."""
    return parameters_of(student) or (NOMINAL if student == "scripted" else 0)


def lengths_of(ids: Sequence[str], rows: pl.DataFrame) -> list[int]:
    """Return the tokens of these rows in training, in the order of their ids."""
    chosen = rows.filter(pl.col("id").is_in(ids)).sort("id")
    return [int(length) for length in chosen["length_total"]]
