"""What an op is handed besides its rows: models, a derived seed, the engine, progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from treadle.data.randomness import derived_rng
from treadle.data.sealed_index import SealedIndex
from treadle.errors import ModelError, RecipeError
from treadle.machinery.engine import Engine
from treadle.op import BoundOp


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Context:
    """The small world of an op.

    `tick` is to be called at least once a batch or training step: it raises BudgetError when the
    wall-time budget has run out. `sealed` is the published index of the evaluation sets (hashes and
    n-grams, never items). `target` holds rows of the capability that the user cares about, with the
    features that a selector asked for; `fitted` what a measure's `fit` found in the whole pool.
    """

    seed: int = 0
    models: Mapping[str, Any] = field(default_factory=dict)
    engine: Engine | None = None
    sealed: SealedIndex | None = None
    target: pl.DataFrame | None = None
    fitted: bytes | None = None
    tick: Callable[[], None] = _nothing

    def model(self, role: str) -> Any:
        """Return the model that plays `role` (`student`, `embedder`).

        Raises:
            ModelError: the recipe names none.
        """
        if role not in self.models:
            raise ModelError(f"this step needs a model as {role}, and none is configured.")
        return self.models[role]

    @property
    def target_rows(self) -> pl.DataFrame:
        """The target rows, for an op that cannot do without.

        Raises:
            RecipeError: none were given.
        """
        if self.target is None:
            raise RecipeError(
                "this selector looks for rows like those of a target, and none is given. Write "
                "`data: {target: dev.jsonl}` (or --target dev.jsonl) with examples of the capability."
            )
        return self.target

    def for_task(self) -> Context:
        """Return what a cached task may see: models, engine and clock.

        The rest is not part of a task's id; who wants it puts it into the task's options or inputs
        and back into the context.
        """
        return replace(self, seed=0, sealed=None, target=None, fitted=None)

    def fingerprint(self, bound: BoundOp) -> str:
        """Hash what an op's result depends on besides its rows: code, options, declared models."""
        return "/".join([bound.fingerprint, *(self.model(r).fingerprint for r in bound.models)])

    def rng(self, *names: object) -> np.random.Generator:
        """Return a generator derived from the run's seed and these names, on any machine alike."""
        return derived_rng(self.seed, *names)
