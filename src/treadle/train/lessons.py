"""What an arm is trained on: the tokens of its rows, and the order in which batches come.

Every train op takes its tokens and its order from here, so that arms differ in their rows alone.
Batches hold rows of similar length: padding is work that teaches nothing.

Not here: an op. Chat templates and loss masks (`data/template.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from treadle.data.row import from_frame
from treadle.data.template import Tokenizer, Tokens, tokenise
from treadle.errors import DataError, RecipeError

WINDOW = 32  # batches that are sorted by length together; more would make batches too alike


@dataclass(frozen=True, slots=True)
class Lessons:
    """Tokens of the rows, in the order of their ids."""

    row_ids: list[str]
    tokens: list[Tokens]

    @property
    def lengths(self) -> list[int]:
        return [len(row.ids) for row in self.tokens]

    def count(self, batches: Sequence[Sequence[int]]) -> dict[str, int]:
        """Return how many tokens these batches hold, and how many of them carry loss."""
        seen = [self.tokens[i] for batch in batches for i in batch]
        return {
            "steps": len(batches),
            "tokens": sum(len(row.ids) for row in seen),
            "trained_tokens": sum(int(row.trains[1:].sum()) for row in seen),
        }


def lessons(rows: pl.DataFrame, tokenizer: Tokenizer, *, max_tokens: int, where: str) -> Lessons:
    """Tokenise rows for training.

    Raises:
        DataError: no row, or rows without a single token that carries loss.
    """
    frame = rows.sort("id")
    tokens = tokenise(from_frame(frame), tokenizer, max_tokens=max_tokens)
    ids: list[str] = frame["id"].to_list()
    # The first token has nothing before it: it is never predicted, so it teaches nothing.
    empty = [name for name, row in zip(ids, tokens, strict=True) if not row.trains[1:].any()]
    if not ids:
        raise DataError(f"{where}: there is no row to train on. Keep at least one.")
    if empty:
        named = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        raise DataError(
            f"{where}: {len(empty)} of {len(ids)} rows have no token to learn within {max_tokens} "
            f"tokens: {named}. Drop them, mark an assistant turn as trained, or raise max_tokens."
        )
    return Lessons(ids, tokens)


def schedule(
    lengths: Sequence[int], *, batch_size: int, epochs: float, steps: int | None, seed: int
) -> list[list[int]]:
    """Return the rows of each training step.

    An epoch shows every row once. `steps`, where given, overrides `epochs`: epochs follow each
    other until there are that many batches, which makes arms of unequal size cost the same.

    Raises:
        RecipeError: an amount that is not positive.
    """
    amounts = {"batch_size": batch_size, "epochs": epochs, "steps": 1 if steps is None else steps}
    for name, amount in amounts.items():
        if amount <= 0:
            raise RecipeError(f"train: {name} must be positive, got {amount}.")
    per_epoch = -(-len(lengths) // batch_size)
    wanted = steps if steps is not None else max(1, round(epochs * per_epoch))
    batches: list[list[int]] = []
    epoch = 0
    while len(batches) < wanted:
        rng = np.random.Generator(np.random.PCG64([seed, epoch]))
        batches.extend(_epoch(lengths, batch_size, rng))
        epoch += 1
    return batches[:wanted]


def _epoch(lengths: Sequence[int], batch_size: int, rng: np.random.Generator) -> list[list[int]]:
    mixed = rng.permutation(len(lengths)).tolist()
    reach = WINDOW * batch_size
    batches: list[list[int]] = []
    for begin in range(0, len(mixed), reach):
        window = sorted(mixed[begin : begin + reach], key=lambda i: lengths[i])  # ties stay mixed
        batches.extend(window[i : i + batch_size] for i in range(0, len(window), batch_size))
    return [batches[i] for i in rng.permutation(len(batches)).tolist()]
