"""What an op is handed besides its rows: models, a derived seed, the engine, progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from treadle.data.randomness import derived_rng
from treadle.data.sealed_index import SealedIndex
from treadle.errors import ModelError, RecipeError
from treadle.machinery.engine import Engine
from treadle.models.endpoint.answers import Progress
from treadle.op import BoundOp

Learn = Callable[[Sequence[str]], pl.DataFrame]


def _nothing() -> None:
    return None


def _unseen(progress: Progress) -> None:
    return None


@dataclass(frozen=True)
class Context:
    """The small world of an op.

    `tick` is to be called at least once a batch or training step: it raises BudgetError when the
    wall-time budget has run out. `asking` is told how far an ask of an endpoint is. `sealed` is the published index of the evaluation sets (hashes and
    n-grams, never items). `features` holds what an audit wanted to know of the rows, by `id`, and
    `items` what it wanted to know of the evaluation items, by `set` and number (`item`). `target` holds rows of the capability that the user cares about, with the
    features that a selector asked for; `fitted` what a measure's `fit` found in the whole pool;
    `learn` is how a selector asks a student that was trained on the way (`after_training`).
    """

    seed: int = 0
    models: Mapping[str, Any] = field(default_factory=dict)
    engine: Engine | None = None
    sealed: SealedIndex | None = None
    features: pl.DataFrame | None = None
    items: pl.DataFrame | None = None
    target: pl.DataFrame | None = None
    fitted: bytes | None = None
    learn: Learn | None = None
    tick: Callable[[], None] = _nothing
    asking: Callable[[Progress], None] = _unseen

    def model(self, role: str) -> Any:
        """Return the model that plays `role` (`student`, `embedder`, `judge`, `teacher`).

        Raises:
            ModelError: the recipe names none.
        """
        if role not in self.models:
            hint = ""
            if role in ("judge", "teacher"):
                hint = (
                    f" Write `{role}: {{url: http://127.0.0.1:8080/v1, model: embedded}}` in the "
                    f"recipe, or give --{role}; `treadle serve-model` starts such a server."
                )
            raise ModelError(f"this step needs a model as {role}, and none is configured.{hint}")
        return self.models[role]

    @property
    def features_of_rows(self) -> pl.DataFrame:
        """The features that an audit declares.

        Raises:
            RecipeError: nobody measured them.
        """
        if self.features is None:
            raise RecipeError(
                "this audit reads features of the rows, and none were measured. Use it in a recipe, "
                "with `treadle audit --also` or with `treadle.audit_rows`."
            )
        return self.features

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

    def after_training(self, ids: Sequence[str]) -> pl.DataFrame:
        """Return what a copy of the student, trained on these rows, makes of all rows.

        The columns are `id` and the features that the selector declares (`learns`), null where a
        row has none; there is a line for each row that the selector was given, in the order of ids.

        A selector is run again from its beginning with every answer, so up to this call it must do
        the same each time: what it draws comes from `rng`.

        Raises:
            RecipeError: nobody here can train a student.
        """
        if self.learn is None:
            raise RecipeError(
                "this selector trains a student on the way, and here nobody can train one. Use it "
                "in a recipe or with `treadle select`."
            )
        return self.learn(ids)

    def for_task(self) -> Context:
        """Return what a cached task may see: models, engine and clock.

        The rest is not part of a task's id; who wants it puts it into the task's options or inputs
        and back into the context.
        """
        return replace(
            self, seed=0, sealed=None, features=None, items=None, target=None, fitted=None,
            learn=None,
        )  # fmt: skip

    def fingerprint(self, bound: BoundOp) -> str:
        """Hash what an op's result depends on besides its rows: code, options, declared models."""
        return "/".join([bound.fingerprint, *(self.model(r).fingerprint for r in bound.models)])

    def rng(self, *names: object) -> np.random.Generator:
        """Return a generator derived from the run's seed and these names, on any machine alike."""
        return derived_rng(self.seed, *names)
